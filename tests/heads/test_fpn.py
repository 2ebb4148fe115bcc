"""FPN, the baseline of AGLN: its steps pixel by pixel, the maps that it uses, its parameters."""

import pytest
import slow
import torch
from slow_pyramid import conv_block, fused

from contextseg import create_model
from contextseg.errors import ConfigError
from contextseg.heads.fpn import FPNHead
from contextseg.layers.feature_pyramid import levels
from contextseg.layers.resize import resize

K = 3
SIZES = ((5, 6), (3, 4), (2, 2), (1, 2))  # fine to coarse, not all of them halves


def maps(widths=(3, 4, 5, 6), sizes=SIZES, dtype=torch.float32):
    return [torch.randn(2, c, *s, dtype=dtype, requires_grad=True) for c, s in zip(widths, sizes, strict=True)]


def slow_fpn(head, features):
    """Section IV-A.5 for one image: laterals, sums from coarse to fine, an output per stage, one map of all."""
    e1, e2, e3, e4 = (conv_block(conv, x) for conv, x in zip(head.laterals.convs, features, strict=True))
    up = [e4]
    for encoder in (e3, e2, e1):
        up.append(encoder + resize(up[-1][None], encoder.shape[-2:])[0])
    return fused(head, up)


@pytest.mark.parametrize("lateral_kernel", [1, 3])
def test_fpn_is_its_steps(lateral_kernel):
    head = slow.prepare(FPNHead((3, 4, 5, 6), K, channels=4, lateral_kernel=lateral_kernel))
    features = maps(dtype=torch.float64)
    expected = torch.stack([slow_fpn(head, image) for image in zip(*features, strict=True)])
    slow.assert_same(head(features).logits, expected, [*features, *head.parameters()])


@pytest.mark.parametrize("classes", [19, 59, 150])
def test_it_has_the_parameters_of_table_viii(classes):
    """54.32 M with the 59 classes of PASCAL Context."""
    with torch.device("meta"):
        network = create_model("fpn", backbone="resnet101s", num_classes=classes)
    trunk, head = (sum(p.numel() for p in part.parameters()) for part in (network.backbone, network.head))
    assert trunk == 42_623_936
    assert trunk + head == 54_324_219 + 513 * (classes - 59)
    assert network.backbone.strides == (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("strides", "finest", "used"),
    [
        ((4, 8, 16, 32), 4, 4),
        ((4, 8, 16, 32), 8, 3),
        ((4, 8, 16, 32), 32, 2),  # two at least
        ((2, 4, 8, 16, 32), 4, 4),
        ((2, 4, 8, 16, 32), 2, 4),  # four at most
        ((4, 8, 8, 8), 4, 4),  # dilated
        ((2, 4, 8), 4, 2),  # tiny
        ((2, 4, 8), 2, 3),
        ((1, 2), 4, 2),
    ],
)
def test_the_maps_in_use_go_by_stride(strides, finest, used):
    assert levels(strides, finest) == used
    widths = range(3, 3 + len(strides))
    features = maps(widths, [(64 // s, 64 // s) for s in strides])
    head = FPNHead(widths, K, strides=strides, channels=4, finest_stride=finest).eval()
    logits = head(features).logits
    assert logits.shape == (2, K, 64 // strides[-used], 64 // strides[-used])
    reached = torch.autograd.grad(logits.sum(), features, allow_unused=True)
    assert [gradient is not None for gradient in reached] == [False] * (len(strides) - used) + [True] * used


def test_strides_and_maps_are_counted_from_the_end():
    assert len(FPNHead((3, 4), K, channels=4).laterals.convs) == 2
    assert len(FPNHead((3, 4, 5), K, strides=(2, 4, 8, 16), channels=4, finest_stride=8).laterals.convs) == 2


@pytest.mark.parametrize(
    ("widths", "settings", "message"),
    [
        ((8,), {}, r"needs two maps or more and gets 1; use neck=none"),
        ((8, 8), {"lateral_kernel": 2}, r"head.lateral_kernel=2: give an odd number"),
        ((8, 8), {"lateral_kernel": 0}, r"head.lateral_kernel=0: give an odd number"),
    ],
)
def test_what_makes_no_pyramid_is_refused(widths, settings, message):
    with pytest.raises(ConfigError, match=message):
        FPNHead(widths, K, **settings)


def test_maps_that_do_not_go_from_fine_to_coarse_are_refused():
    with pytest.raises(ConfigError, match=r"strides \[4, 8, 16, 8\]; use neck=none"):
        FPNHead((8, 8, 8, 8), 5, strides=(4, 8, 16, 8))
