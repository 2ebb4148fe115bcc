"""Necks, and HRNet with the neck that makes its one map."""

import pytest
import slow
import torch
from selected import quick

from contextseg.backbones.timm_features import TimmBackbone
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.necks.concat import Concat
from contextseg.necks.jpu import JPU
from contextseg.necks.none import NoNeck


def slow_bilinear(x, h, w):
    """(C, h', w') -> (C, h, w), pixel centres at half-integers, one pixel at a time."""

    def corners(position, length):
        position = min(max(position, 0), length - 1)
        low = min(int(position), length - 1)
        return low, min(low + 1, length - 1), position - low

    out = torch.zeros(len(x), h, w, dtype=x.dtype)
    for i in range(h):
        for j in range(w):
            top, bottom, s = corners((i + 0.5) * x.shape[1] / h - 0.5, x.shape[1])
            left, right, t = corners((j + 0.5) * x.shape[2] / w - 0.5, x.shape[2])
            upper = (1 - t) * x[:, top, left] + t * x[:, top, right]
            lower = (1 - t) * x[:, bottom, left] + t * x[:, bottom, right]
            out[:, i, j] = (1 - s) * upper + s * lower
    return out


@pytest.mark.parametrize("sizes", [[(5, 6)], [(5, 6), (3, 3)], [(4, 8), (2, 4), (1, 2), (1, 1)]])
def test_concat_stacks_all_maps_at_the_finest_size(sizes):
    channels = [3 * (i + 1) for i in range(len(sizes))]
    features = [torch.randn(2, c, *size, dtype=torch.float64) for c, size in zip(channels, sizes, strict=True)]
    neck = Concat(channels, (4, 8, 16, 32)[: len(channels)])
    (found,) = neck(features)
    assert neck.channels == (sum(channels),) == found.shape[1:2]
    assert neck.strides == (4,)
    expected = torch.stack([torch.cat([slow_bilinear(x[b], *sizes[0]) for x in features]) for b in range(2)])
    torch.testing.assert_close(found, expected)


def test_no_neck_is_the_identity():
    features = [torch.randn(1, 3, 4, 4)]
    assert NoNeck([3], [8])(features) is features


# JPU, from its definition


def slow_block(x, convolution, norm):
    """Convolution and batch norm (running statistics) of (C, h, w), one place and one channel at a time."""
    weight, reach = convolution.weight, convolution.kernel_size[0] // 2 * convolution.dilation[0]
    padded = torch.nn.functional.pad(x, [reach] * 4)
    depthwise = convolution.groups > 1
    out = torch.zeros(len(weight), *x.shape[1:], dtype=x.dtype)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            seen = padded[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
            seen = seen[:, :: convolution.dilation[0], :: convolution.dilation[0]]
            for c, kernel in enumerate(weight):
                out[c, i, j] = (kernel * (seen[c] if depthwise else seen)).sum()
    mean, scale = norm.running_mean, norm.weight / (norm.running_var + norm.eps).sqrt()
    return (out - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def slow_jpu(neck, maps, size):
    """Maps (C_i, h_i, w_i) that are joined, at most at stride 8 -> (4 C, h, w)."""
    stacked = torch.cat(
        [
            slow_bilinear(slow_block(x, conv[0], conv[1]).clamp(min=0), *size)
            for x, conv in zip(maps, neck.lateral, strict=True)
        ]
    )
    branches = []
    for (depth, depth_norm, _), (point, point_norm, _) in neck.dilated:
        y = slow_block(slow_block(stacked, depth, depth_norm), point, point_norm)  # no ReLU in between
        branches.append(y.clamp(min=0))
    return torch.cat(branches)


@pytest.mark.parametrize(
    ("strides", "sizes", "joined"),
    [
        ((4, 8, 16, 32), [(9, 10), (5, 5), (3, 3), (2, 2)], 3),
        ((8, 16, 32), [(4, 3), (2, 2), (1, 1)], 3),
        ((4, 8, 8, 8), [(8, 6), (4, 3), (4, 3), (4, 3)], 3),
        ((2, 4, 8), [(15, 20), (8, 10), (4, 5)], 2),
        ((4, 8), [(7, 6), (4, 3)], 2),
        ((4, 16), [(9, 8), (3, 2)], 2),
    ],
)
def test_jpu_is_its_definition(strides, sizes, joined):
    channels = [2 * (i + 1) for i in range(len(sizes))]
    neck = slow.prepare(JPU(channels, strides, channels=2))
    features = [torch.randn(2, c, *size, dtype=torch.float64) for c, size in zip(channels, sizes, strict=True)]
    found = neck(features)
    assert neck.channels == (*channels[:-1], 8)
    assert neck.strides == (*strides[:-1], 8)
    assert all(one is other for one, other in zip(found[:-1], features[:-1], strict=True))
    taken = features[-joined:]
    if strides[-joined] == 4:  # means of 2 x 2 places, of what is left of them at the border
        x = taken[0]
        rows, columns = (range(0, length, 2) for length in x.shape[-2:])
        cells = [torch.stack([x[..., i : i + 2, j : j + 2].mean((-2, -1)) for j in columns], -1) for i in rows]
        taken = [torch.stack(cells, -2), *taken[1:]]
    size = taken[0].shape[-2:]
    expected = torch.stack([slow_jpu(neck, [x[b] for x in taken], size) for b in range(2)])
    torch.testing.assert_close(found[-1], expected)


def test_jpu_sees_as_far_as_it_says():
    """19 x 19 places of the last map of `tiny`, each of the four branches 1 + its dilation to a side."""
    neck = JPU((2, 3), (4, 8), channels=2).eval()
    x = torch.randn(1, 3, 25, 25, requires_grad=True)
    (y,) = neck([torch.randn(1, 2, 50, 50), x])[1:]
    for branch, rate in enumerate((1, 2, 4, 8)):
        (gradient,) = torch.autograd.grad(y[0, 2 * branch : 2 * branch + 2, 12, 12].sum(), x, retain_graph=True)
        rows, columns = gradient[0].any(0).nonzero().T
        for reached in (rows, columns):
            assert (reached.min(), reached.max()) == (12 - rate - 1, 12 + rate + 1)


@pytest.mark.parametrize("in_channels", [(512, 1024, 2048), (256, 512, 1024, 2048)])
def test_parameters_of_jpu(in_channels):
    with torch.device("meta"):
        neck = JPU(in_channels, (4, 8, 16, 32)[-len(in_channels) :])
    assert sum(parameter.numel() for parameter in neck.parameters()) == 19_735_552
    assert neck.channels[-1] == 2048


def test_jpu_of_one_map_is_refused():
    with pytest.raises(ConfigError, match="neck=jpu joins two maps or three, got 1; use neck=none"):
        JPU([3], [8])


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_the_command_line_gives_jpu_at_stride_8(size):
    cfg = compose(["head=fcn", "backbone=resnet18", "neck=jpu", "backbone.output_stride=32", "width=8"])
    network = build.module(cfg, build.datamodule(cfg)).segmenter
    assert network.backbone.strides == (4, 8, 16, 32)
    output = network(torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8))
    assert output.logits.shape[-2:] == tuple(-(-length // 8) for length in size)
    output.logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.neck.parameters())


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 20)])
def test_hrnet_takes_any_image_size(size):
    backbone = TimmBackbone("hrnet_w18_small").eval()
    assert (backbone.channels, backbone.strides) == ((16, 32, 64, 128), (4, 8, 16, 32))
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        maps = backbone(image)
        normalised = (image - backbone.mean) / backbone.std
        padded = torch.zeros(1, 3, *(-(-length // 32) * 32 for length in size))
        padded[..., : size[0], : size[1]] = normalised
        whole = backbone.network(padded)
    for x, full, stride in zip(maps, whole, backbone.strides, strict=True):
        h, w = (-(-length // stride) for length in size)
        assert x.shape[-2:] == (h, w)
        torch.testing.assert_close(x, full[..., :h, :w])


def test_the_command_line_gives_hrnet_at_stride_4():
    cfg = compose(["head=ocr", "backbone=hrnet_w18", "backbone.model=hrnet_w18_small", "neck=concat", "width=16"])
    network = build.module(cfg, build.datamodule(cfg)).segmenter
    assert network.aux_head is None
    output = network(torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8))
    assert output.logits.shape[-2:] == output.extras["aux_logits"].shape[-2:] == (16, 24)
    (output.logits.sum() + output.extras["aux_logits"].sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    quick(
        [
            ("hrnet_w18", (18, 36, 72, 144), (4, 8, 16, 32)),
            ("hrnet_w48", (48, 96, 192, 384), (4, 8, 16, 32)),
            ("mobilenetv2", (24, 32, 96, 320), (4, 8, 8, 8)),
        ],
        ["('hrnet_w18', (18, 36, 72, 144), (4, 8, 16, 32))"],
    ),
)
def test_backbones_of_the_ocr_paper(name, channels, strides):
    cfg = compose(["head=ocr", f"backbone={name}"])
    with torch.device("meta"):
        backbone = build.instantiate(cfg.backbone, "backbone")
    assert (backbone.channels, backbone.strides) == (channels, strides)


@pytest.mark.parametrize("stride", [0, 3])
def test_jpu_refuses_a_stride_that_does_not_fit(stride):
    with pytest.raises(ConfigError, match=rf"neck.stride={stride} does not fit maps of stride"):
        JPU((8, 8, 8, 8), (4, 8, 16, 32), stride=stride)
