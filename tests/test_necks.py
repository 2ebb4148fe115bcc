"""Necks, and HRNet with the neck that makes its one map."""

import pytest
import torch

from contextseg import build
from contextseg.backbones.timm_features import TimmBackbone
from contextseg.config import compose
from contextseg.necks.concat import Concat
from contextseg.necks.none import NoNeck


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


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
    cfg = compose(["head=ocr", "backbone=hrnet_w18", "neck=concat", "width=16"])
    network = build.module(cfg, build.datamodule(cfg)).segmenter
    assert network.aux_head is None
    output = network(torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8))
    assert output.logits.shape[-2:] == output.extras["aux_logits"].shape[-2:] == (16, 24)
    (output.logits.sum() + output.extras["aux_logits"].sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("hrnet_w18", (18, 36, 72, 144), (4, 8, 16, 32)),
        ("hrnet_w48", (48, 96, 192, 384), (4, 8, 16, 32)),
        ("mobilenetv2", (24, 32, 96, 320), (4, 8, 8, 8)),
    ],
)
def test_backbones_of_the_ocr_paper(name, channels, strides):
    cfg = compose(["head=ocr", f"backbone={name}"])
    with torch.device("meta"):
        backbone = build.instantiate(cfg.backbone, "backbone")
    assert (backbone.channels, backbone.strides) == (channels, strides)
