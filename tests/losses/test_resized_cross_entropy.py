"""The loss by strips is the loss of the whole map, with the same gradient, and keeps neither."""

import pytest
import torch
from torch.nn import functional as F

from contextseg.commands.complexity.memory import Alive
from contextseg.losses import resized_cross_entropy as module
from contextseg.losses.functional import ohem_cross_entropy
from contextseg.losses.resized_cross_entropy import pixel_losses, resized_cross_entropy, rows_read

VOID = 255
SIZES = [
    ((5, 6), (33, 41)),
    ((9, 7), (9, 50)),
    ((1, 1), (4, 3)),
    ((12, 10), (5, 3)),
    ((6, 6), (6, 6)),
    ((2, 3), (1, 1)),
]


def whole(logits, target, weights, align_corners):
    large = F.interpolate(logits.double(), target.shape[1:], mode="bilinear", align_corners=align_corners)
    return (F.cross_entropy(large, target, ignore_index=VOID, reduction="none") * weights).sum()


def case(small, large, classes=4):
    logits = torch.randn(2, classes, *small, requires_grad=True)
    target = torch.randint(0, classes, (2, *large))
    target[torch.rand(target.shape) < 0.2] = VOID
    return logits, target, torch.rand(target.shape)


def value_and_gradient(function, logits, *given):
    logits.grad = None
    value = function(logits, *given)
    (3 * value).backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("strip", [1, 500, 2**18])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_value_and_gradient_are_those_of_the_whole_map(small, large, strip, align_corners, monkeypatch):
    monkeypatch.setitem(module.STRIP, "cpu", strip)
    given = (*case(small, large), align_corners)
    expected, slope = value_and_gradient(whole, *given)
    found, found_slope = value_and_gradient(resized_cross_entropy, *given)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found_slope, slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_losses_of_pixels(small, large, align_corners, monkeypatch):
    monkeypatch.setitem(module.STRIP, "cpu", 500)
    logits, target, _ = case(small, large)
    resized = F.interpolate(logits.detach(), large, mode="bilinear", align_corners=align_corners)
    expected = F.cross_entropy(resized, target, ignore_index=VOID, reduction="none")
    torch.testing.assert_close(pixel_losses(logits, target, align_corners), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("small", range(1, 40, 3))
def test_the_rows_of_a_strip_hold_all_that_it_reads(small, align_corners):
    for large in (1, 2, 7, 33, 64, 97):
        shares = module.matrix(small, large, align_corners, torch.device("cpu")).T  # (large, small)
        for first in range(large):
            last = min(first + 3, large)
            read = rows_read(first, last, small, large, align_corners)
            left_out = shares[first:last].clone()
            left_out[:, read] = 0
            assert not left_out.any()


def test_ohem_selects_and_learns_as_on_the_whole_map():
    logits, target, _ = case((5, 6), (33, 41))
    weights = torch.tensor([0.5, 2.0, 1.0, 0.3])

    def slow(logits):
        large = F.interpolate(logits, target.shape[1:], mode="bilinear")
        return ohem_cross_entropy(large, target, 0.1, 200, weights)

    expected, slope = value_and_gradient(slow, logits)
    found, found_slope = value_and_gradient(lambda x: ohem_cross_entropy(x, target, 0.1, 200, weights), logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_slope, slope, rtol=1e-4, atol=1e-6)


def test_half_precision_is_computed_in_float32():
    """Under autocast too, which would make the two products half ones."""
    logits, target, weights = case((5, 6), (33, 41))
    half = logits.detach().bfloat16().requires_grad_()
    expected, slope = value_and_gradient(whole, half.detach().float().requires_grad_(), target, weights, False)
    with torch.autocast("cpu", torch.bfloat16):
        found, found_slope = value_and_gradient(resized_cross_entropy, half, target, weights)
    assert (found.dtype, found_slope.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(found_slope.float(), slope, rtol=1e-2, atol=1e-3)


def test_the_large_map_never_exists():
    """150 classes at 512 x 512 are 157 MB; logits at 64 x 64, their gradient, and a strip are 2.5 MB or less each."""
    logits = torch.zeros(1, 150, 64, 64, requires_grad=True)
    target, weights = torch.zeros(1, 512, 512, dtype=torch.long), torch.ones(1, 512, 512)
    given = [tensor.untyped_storage() for tensor in (logits, target, weights)]
    with Alive(given) as alive:
        resized_cross_entropy(logits, target, weights).backward()
    assert logits.grad is not None
    assert 2.4e6 < alive.peak < 20e6
    assert alive.now < 10e6
