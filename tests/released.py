"""What the tests of released graphs share: networks by their configuration, and blocks written with plain functions."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from contextseg.classes import ClassSet
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.segmenter import Segmenter


def released(num_classes: int, *overrides: str, device: str = "cpu") -> Segmenter:
    """The network that a command line composes, at the width of the released code unless it says otherwise."""
    cfg = compose(["width=null", *overrides])
    names = tuple(f"class {index}" for index in range(num_classes))
    classes = ClassSet("classes", names, tuple((index, 0, 0) for index in range(num_classes)))
    {name: term.reads for name, term in build.loss(cfg).term.items()}
    with torch.device(device):
        return build.network(cfg, classes)[0]


def parameters(*overrides: str, classes: Sequence[int] = (19, 59, 60, 150)) -> tuple[int, ...]:
    """The parameters for each number of classes, auxiliary head included; those with a side of K grow with K."""
    network = released(classes[0], *overrides, device="meta")
    per_class = sum(p.numel() for p in network.parameters() if classes[0] in p.shape) // classes[0]
    fixed = sum(p.numel() for p in network.parameters()) - per_class * classes[0]
    return tuple(fixed + per_class * number for number in classes)


def randomise(network: nn.Module) -> nn.Module:
    """Norms with statistics and weights of their own, a gate that is open, no dropout; float64."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.2, 0.7)  # so that nothing explodes in a deep network
            module.running_var.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.3)
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
        if isinstance(gate := getattr(module, "gate", None), nn.Parameter):
            gate.data.fill_(0.7)
    return network.double()


class Plain:
    """Forward passes from the tensors of a network, by name, with torch.nn.functional only."""

    def __init__(self, network: nn.Module, training: bool = False):
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self.training = training

    def turn(self, name, *sizes):
        """Bring the input channels of a weight, blocks of these sizes, into the reverse order: the released one."""
        blocks = self.tensors[name].split(sizes, dim=1)
        self.tensors[name] = torch.cat(blocks[::-1], dim=1)

    def conv(self, name, x, **settings):
        weight = self.tensors[f"{name}.weight"]
        dilation = settings.get("dilation", 1)
        settings.setdefault("padding", dilation * (weight.shape[-1] // 2))
        return F.conv2d(x, weight, self.tensors.get(f"{name}.bias"), **settings)

    def norm(self, name, x):
        weight, bias, mean, var = (
            self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return F.batch_norm(x, mean, var, weight, bias, self.training)

    def block(self, name, x, slope=0.0, **settings):
        """conv -> BN -> (leaky) ReLU."""
        return F.leaky_relu(self.norm(f"{name}.1", self.conv(f"{name}.0", x, **settings)), slope)

    def resnet(self, image, first_dilations):
        """A deep-stem ResNet at stride 8 that pools with ceil: normalised image -> the maps of stages 3 and 4.

        first_dilations: of the first blocks of stages 3 and 4.
        """
        stem, x = "backbone.network.", image
        for conv, norm, stride in (("conv1.0", "conv1.1", 2), ("conv1.3", "conv1.4", 1), ("conv1.6", "bn1", 1)):
            x = F.relu(self.norm(stem + norm, self.conv(stem + conv, x, stride=stride)))
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        maps = []
        for stage, dilation in enumerate((1, 1, 2, 4), 1):
            block = 0
            while f"{stem}layer{stage}.{block}.conv1.weight" in self.tensors:
                name, first = f"{stem}layer{stage}.{block}.", block == 0
                stride = 2 if first and stage == 2 else 1
                rate = first_dilations[stage - 3] if first and stage > 2 else dilation
                y = F.relu(self.norm(name + "bn1", self.conv(name + "conv1", x)))
                y = F.relu(self.norm(name + "bn2", self.conv(name + "conv2", y, stride=stride, dilation=rate)))
                y = self.norm(name + "bn3", self.conv(name + "conv3", y))
                if first:
                    x = self.norm(name + "downsample.1", self.conv(name + "downsample.0", x, stride=stride))
                x, block = F.relu(x + y), block + 1
            maps.append(x)
        return maps[2:]


def close(a, b):
    """Equal but for softmaxes, which our layers take in float32."""
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
