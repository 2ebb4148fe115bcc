"""EncNet and FastFCN as released: the head of each under its released names, written down with plain functions."""

import pytest
import torch
from fake_release import random_tensors
from selected import quick
from torch.nn import functional as F

from contextseg.classes import class_set
from contextseg.commands.convert.command import configuration
from contextseg.commands.convert.graph import graphs, match
from contextseg.engine import build

K = 12
SIZES = ((10, 12), (5, 6), (5, 6), (5, 6))


class Released:
    """The released layers, from a state dict alone, in evaluation mode."""

    def __init__(self, tensors):
        self.w = {name: value.double() for name, value in tensors.items()}

    def conv(self, x, name, dilation=1, **settings):
        weight = self.w[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, self.w.get(f"{name}.bias"), padding=padding, dilation=dilation, **settings)

    def norm(self, x, name):
        weight, bias, mean, var = (self.w[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
        return F.batch_norm(x, mean, var, weight, bias)

    def block(self, x, name):
        return F.relu(self.norm(self.conv(x, f"{name}.0"), f"{name}.1"))

    def module(self, x):
        """EncModule: features and the scores of the classes."""
        name = "head.encmodule.encoding"
        pixels = self.block(x, name).flatten(2).mT  # (B, N, C)
        codewords, scale = self.w[f"{name}.3.codewords"], self.w[f"{name}.3.scale"]
        differences = pixels[:, :, None] - codewords  # (B, N, D, C)
        shares = (scale * differences.square().sum(-1)).softmax(-1)  # (B, N, D)
        encoded = F.relu(self.norm((shares[..., None] * differences).sum(1), f"{name}.4")).mean(1)
        gates = F.linear(encoded, self.w["head.encmodule.fc.0.weight"], self.w["head.encmodule.fc.0.bias"]).sigmoid()
        scores = F.linear(encoded, *(self.w[f"head.encmodule.selayer.{k}"] for k in ("weight", "bias")))
        return F.relu(x + x * gates[..., None, None]), scores

    def jpu(self, maps):
        """The maps before the last, and JPU's."""
        *_, c3, c4, c5 = maps
        up = [
            F.interpolate(self.block(x, f"jpu.conv{n}"), c3.shape[-2:], mode="bilinear", align_corners=True)
            for n, x in ((5, c5), (4, c4), (3, c3))
        ]
        x = torch.cat(up, 1)
        branches = []
        for index, rate in enumerate((1, 2, 4, 8), 1):
            y = self.norm(
                self.conv(x, f"jpu.dilation{index}.0.conv1", rate, groups=x.shape[1]), f"jpu.dilation{index}.0.bn"
            )
            y = self.norm(self.conv(y, f"jpu.dilation{index}.0.pointwise"), f"jpu.dilation{index}.1")
            branches.append(F.relu(y))
        return [*maps[:-1], torch.cat(branches, 1)]

    def __call__(self, maps):
        aux = self.conv(self.block(maps[2], "auxlayer.conv5"), "auxlayer.conv5.4")
        if "jpu.conv5.0.weight" in self.w:
            maps = self.jpu(maps)
        x = self.block(maps[-1], "head.conv5")
        if "head.connect.0.0.weight" in self.w:
            sides = [self.block(maps[index + 1], f"head.connect.{index}") for index in range(2)]
            x = self.block(torch.cat([x, *sides], 1), "head.fusion")
        x, scores = self.module(x)
        return self.conv(x, "head.conv6.1"), scores, aux


@torch.no_grad()
@pytest.mark.parametrize(
    "name", quick(["encnet_resnet50s", "encnet_resnet50s_lateral", "fastfcn_resnet50s"], ["encnet_resnet50s_lateral"])
)
def test_the_head_is_the_released_one(name):
    graph = graphs()[name]
    tensors = {key: value for key, value in random_tensors(graph, K).items() if not key.startswith("pretrained")}
    with torch.device("meta"):
        network = build.network(configuration(graph), class_set("context_scenes"), pretrained=False)[0]
    state = {graph.ours(name): graph.tensor(name, value) for name, value in match(graph, tensors).used.items()}
    for part in (network.neck, network.head, network.aux_head):
        part.to_empty(device="cpu").double().eval()
    for key in ("neck", "head", "aux_head"):
        own = {k.removeprefix(f"{key}."): v for k, v in state.items() if k.startswith(f"{key}.")}
        getattr(network, key).load_state_dict(own)
    sizes = ((16, 20), (8, 10), (4, 5), (2, 3)) if name.startswith("fastfcn") else SIZES
    torch.manual_seed(0)
    maps = [
        torch.randn(2, c, *size, dtype=torch.float64) for c, size in zip((256, 512, 1024, 2048), sizes, strict=True)
    ]
    output = network.head(network.neck(maps))
    logits, scores, aux = Released(tensors)(maps)
    assert logits.std() > 1e-2
    torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.extras["class_probability"], scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.aux_head(maps).logits, aux, rtol=1e-5, atol=1e-6)
