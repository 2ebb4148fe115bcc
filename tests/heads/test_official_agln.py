"""AGLN as released: its numbers under the names of its state dict, restated here, and its parameters."""

import pytest
import torch
from fake_release import random_tensors
from selected import quick
from torch.nn import functional as F

from contextseg import create_model
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.commands.convert.command import configuration, weights
from contextseg.commands.convert.graph import graphs, match
from contextseg.engine import build

K = 12
R50 = graphs()["agln_resnet50s"]
SCALARS = ("alpha", "beta", "gamma")


class Released:
    """The released network, from its state dict `w` alone."""

    def __init__(self, w, training):
        self.w, self.training = w, training

    def conv(self, x, name, stride=1):
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def norm(self, x, name):
        weight, bias, mean, var = (self.w[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        return F.batch_norm(x, mean.clone(), var.clone(), weight, bias, self.training, eps=1e-5)

    def block(self, x, name, stride=1):
        return F.relu(self.norm(self.conv(x, f"{name}.0", stride), f"{name}.1"))

    def up(self, x, like):
        return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)

    def bottleneck(self, x, name, stride):
        y = F.relu(self.norm(self.conv(x, f"{name}.conv1"), f"{name}.bn1"))
        y = F.relu(self.norm(self.conv(y, f"{name}.conv2", stride), f"{name}.bn2"))
        y = self.norm(self.conv(y, f"{name}.conv3"), f"{name}.bn3")
        if f"{name}.downsample.0.weight" in self.w:
            x = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return F.relu(x + y)

    def encode(self, x):
        x = self.conv(x, "pretrained.conv1.0", 2)
        x = self.conv(F.relu(self.norm(x, "pretrained.conv1.1")), "pretrained.conv1.3")
        x = self.conv(F.relu(self.norm(x, "pretrained.conv1.4")), "pretrained.conv1.6")
        x = F.max_pool2d(F.relu(self.norm(x, "pretrained.bn1")), 3, 2, 1)
        maps = []
        for layer, blocks in enumerate((3, 4, 6, 3), 1):
            for i in range(blocks):
                x = self.bottleneck(x, f"pretrained.layer{layer}.{i}", 2 if layer > 1 and i == 0 else 1)
            maps.append(x)
        return maps

    def gather(self, x, name):
        attention = self.conv(x, f"{name}.conv_atten").flatten(2).softmax(-1)
        return torch.einsum("bcp,bnp->bcn", self.conv(x, f"{name}.conv_feat").flatten(2), attention)

    def fuse(self, b, a, descriptors, name):
        shares = self.conv(a, f"{name}.sdm.conv_de").softmax(1)
        m = self.conv(torch.einsum("bcn,bnhw->bchw", descriptors, shares), f"{name}.sdm.out_conv")
        energy = torch.einsum("bihw,bjhw->bij", a, b)
        least_alike = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
        refined = torch.einsum("bij,bjhw->bihw", least_alike, b) * m.sigmoid()
        alpha, beta, gamma = (self.w[f"{name}.{scalar}"] for scalar in SCALARS)
        return self.block(a + alpha * m + beta * (gamma * refined + b), f"{name}.conv_fusion")

    def __call__(self, image):
        *finer, e4 = self.encode(image)
        x = self.block(e4, "head.e4conv")
        stages, descriptors = [self.up(x, finer[0])], {}
        for i, source in ((2, "d4"), (1, "d3"), (0, "d2")):
            encoder = self.block(finer[i], f"head.fpn_lateral.{i}")
            descriptors[source] = self.gather(x, f"head.sab_{source}")
            x = self.up(x, encoder)
            for name, vectors in descriptors.items():
                x = self.fuse(encoder, x, vectors, f"head.cfb_{name}.{i}")
            stages.append(self.up(self.block(x, f"head.fpn_out.{i}"), finer[0]))
        x = self.block(torch.cat(stages, 1), "head.conv5")
        return self.conv(F.dropout(x, 0.1, self.training), "head.conv5.4")


@pytest.fixture(scope="module")
def tensors():
    found = random_tensors(R50, K)
    for name in found:
        if name.endswith(SCALARS):
            found[name].fill_(0.7)
    return found


@pytest.fixture(scope="module")
def network(tensors):
    network, _ = build.network(configuration(R50), class_set("context_scenes"), pretrained=False)
    network.load_state_dict(weights(match(R50, tensors), network))
    return network.double()


@pytest.mark.parametrize("training", quick([False, True], ["True"]))
@torch.no_grad()
def test_it_computes_what_the_released_code_computes(network, tensors, training):
    network.train(training)
    tensors = {name: value.double() for name, value in tensors.items()}
    image = torch.randint(0, 256, (2, 3, 65, 97), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.manual_seed(0)
    expected = Released(tensors, training)((image.double() / 255 - mean) / std)
    torch.manual_seed(0)
    logits = network(image).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("option", ["inverted", "align_corners"])
@torch.no_grad()
def test_options_without_weights_change_the_numbers(network, option):
    """The others would not take the released weights."""
    network.eval()
    image = torch.randint(0, 256, (1, 3, 65, 97), dtype=torch.uint8)
    expected = network(image).logits
    parts = [module for module in network.head.modules() if hasattr(module, option)]
    for module in parts:
        setattr(module, option, False)
    found = network(image).logits
    for module in parts:
        setattr(module, option, True)
    assert (found - expected).std() > 0.01 * expected.std()


@pytest.mark.parametrize(
    ("head", "backbone", "count"),
    [
        ("fpn", "resnet101s", 54_303_699),
        ("agln_official", "resnet101s", 58_585_893),
        ("agln_official", "resnet50s", 39_593_765),
    ],
)
@pytest.mark.parametrize("classes", quick([19, 59], ["59"]))
def test_it_has_the_parameters_of_the_released_network(head, backbone, count, classes):
    node = compose([f"head={head}", "experiment=none"]).head
    settings = {key: value for key, value in node.items() if key != "_target_" and value is not None}
    with torch.device("meta"):
        network = create_model(head.partition("_")[0], backbone=backbone, num_classes=classes, **settings)
    assert sum(parameter.numel() for parameter in network.parameters()) == count + 513 * (classes - 19)
