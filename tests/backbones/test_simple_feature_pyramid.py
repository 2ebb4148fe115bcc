"""The simple feature pyramid, from its definition."""

import math

import pytest
import slow
import torch
from torch import nn

from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.necks.sfp import SimpleFeaturePyramid


def slow_norm(x, norm):
    """Layer norm of the channels of (C, h, w), one place at a time."""
    out = torch.zeros_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            place = x[:, i, j]
            scaled = (place - place.mean()) / (place.var(unbiased=False) + norm.eps).sqrt()
            out[:, i, j] = scaled * norm.weight + norm.bias
    return out


def slow_up(x, layer):
    """Transposed 2x2 convolution with stride 2: each place becomes four."""
    out = torch.zeros(layer.weight.shape[1], 2 * x.shape[1], 2 * x.shape[2], dtype=x.dtype)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = x[:, i // 2, j // 2] @ layer.weight[:, :, i % 2, j % 2] + layer.bias
    return out


def slow_pool(x):
    """Maxima of 2x2 places, of what is left of them at the border."""
    rows, columns = range(0, x.shape[1], 2), range(0, x.shape[2], 2)
    return torch.stack([torch.stack([x[:, i : i + 2, j : j + 2].amax((1, 2)) for j in columns], -1) for i in rows], -2)


def slow_conv(x, layer):
    """A convolution without bias that keeps the size, one place at a time."""
    reach = layer.kernel_size[0] // 2
    padded = nn.functional.pad(x, [reach] * 4)
    out = torch.zeros(len(layer.weight), *x.shape[1:], dtype=x.dtype)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            seen = padded[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
            out[:, i, j] = (layer.weight * seen).sum((1, 2, 3))
    return out


def slow_scale(x, part, stride, wanted):
    """(C, h, w) at `stride` -> at `wanted`, with the layers of one part."""
    layers = list(part)
    for step in range(abs(int(math.log2(stride / wanted)))):
        if wanted > stride:
            x, layers = slow_pool(x), layers[1:]
            continue
        if step:
            x, layers = nn.functional.gelu(slow_norm(x, layers[0])), layers[2:]
        x, layers = slow_up(x, layers[0]), layers[1:]
    first, first_norm, second, second_norm = layers
    return slow_norm(slow_conv(slow_norm(slow_conv(x, first), first_norm), second), second_norm)


@pytest.mark.parametrize(
    ("pyramid", "source", "stride"), [((4, 8, 16, 32), "last", 16), ((8, 64), "each", 16), ((4,), "last", 32)]
)
def test_the_pyramid_is_its_definition(pyramid, source, stride):
    strides = (stride,) * 3
    neck = slow.prepare(SimpleFeaturePyramid((8, 8, 8), strides, channels=3, pyramid=pyramid, source=source))
    maps = [torch.randn(2, 8, 3, 2, dtype=torch.float64) for _ in strides]
    found = neck(maps)
    assert (neck.channels, neck.strides) == ((3,) * len(pyramid), pyramid)
    for number, (x, wanted) in enumerate(zip(found, pyramid, strict=True)):
        taken = maps[number - len(pyramid)] if source == "each" else maps[-1]
        expected = torch.stack([slow_scale(one, neck.scales[number], stride, wanted) for one in taken])
        torch.testing.assert_close(x, expected)
        assert x.shape[-2:] == tuple(math.ceil(places * stride / wanted) for places in (3, 2))


def test_parameters_of_the_papers_pyramid():
    """Of ViT-B: 768 channels become 256; counted from Section 3 and its appendix."""
    with torch.device("meta"):
        neck = SimpleFeaturePyramid((768,), (16,))
    up = 768 * 384 * 4 + 384, 384 * 192 * 4 + 192
    end = lambda width: width * 256 + 256 * 256 * 9 + 4 * 256  # noqa: E731
    expected = (sum(up) + 2 * 384 + end(192)) + (up[0] + end(384)) + end(768) + end(768)
    assert sum(parameter.numel() for parameter in neck.parameters()) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strides": (14, 14)}, r"no stride 4 from maps of stride 14, .* backbone\.patch=16"),
        ({"pyramid": (8, 4)}, r"neck\.pyramid=\[8, 4\]: give strides, each larger"),
        ({"pyramid": (4, 8, 16), "source": "each"}, "3 strides need as many maps, got 2"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SimpleFeaturePyramid((8, 8), **{"strides": (16, 16)} | settings)


def test_the_command_line_gives_a_vit_four_strides():
    words = [
        "head=ocr",
        "backbone=timm",
        "backbone.model=test_vit",
        "backbone.output_stride=32",
        "neck=sfp",
        "width=16",
    ]
    cfg = compose([*words, "neck.pyramid=[4,8]"])
    network = build.module(cfg, build.datamodule(cfg)).segmenter
    output = network(torch.randint(0, 256, (2, 3, 65, 97), dtype=torch.uint8))
    assert output.logits.shape[-2:] == (10, 14)  # 5 x 7 patches
    (output.logits.sum() + output.extras["aux_logits"].sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
