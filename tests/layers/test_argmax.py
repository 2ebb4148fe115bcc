"""The arg-max over classes, of scores and of small logits, against torch's of the full map."""

import pytest
import torch

from contextseg.layers import argmax as fast
from contextseg.layers.argmax import argmax, argmax_resized
from contextseg.layers.resize import resize

SIZES = [(6, 9), (23, 31), (4, 4), (99, 130)]


@pytest.fixture(params=[2**19, 300])
def strip(request, monkeypatch):
    monkeypatch.setattr(fast, "STRIP", request.param)
    monkeypatch.setattr(fast, "CHUNK", 7)
    monkeypatch.setattr(fast, "COLUMNS", 5)


@pytest.mark.usefixtures("strip")
@pytest.mark.parametrize("classes", [1, 5, 40, 255])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("align_corners", [False, True])
def test_argmax_resized_differs_in_no_pixel(classes, memory_format, align_corners):
    logits = torch.randn(2, classes, 6, 9).to(memory_format=memory_format)
    for size in SIZES:
        labels = argmax_resized(logits, size, align_corners)
        assert labels.dtype == torch.uint8
        assert torch.equal(labels.long(), resize(logits.contiguous(), size, align_corners).argmax(1))


@pytest.mark.usefixtures("strip")
def test_argmax_resized_gives_a_tie_to_the_lowest_class():
    logits = torch.randint(0, 2, (2, 40, 5, 5)).float()
    for size in [(5, 5), (10, 10)]:
        assert torch.equal(argmax_resized(logits, size).long(), resize(logits, size).argmax(1))


@pytest.mark.usefixtures("strip")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("step", [0.1, 1e-6])
def test_what_only_rounding_decides_goes_to_a_greatest_class(step, align_corners):
    """torch's own last bits depend on how many classes it resizes at once."""
    logits = 1 + step * torch.randint(0, 2, (2, 40, 5, 5))
    for size in [(5, 5), (13, 22)]:
        full = resize(logits, size, align_corners)
        found = full.gather(1, argmax_resized(logits, size, align_corners).long()[:, None])
        assert (full.amax(1, keepdim=True) - found).max() < 1e-6


@pytest.mark.parametrize("height", [1, 2])
def test_argmax_resized_of_a_line(height):
    logits = torch.randn(1, 5, height, 1)
    assert torch.equal(argmax_resized(logits, (7, 3)).long(), resize(logits, (7, 3)).argmax(1))


def test_argmax_resized_of_what_is_infinite_or_has_more_digits():
    logits = torch.randn(1, 20, 6, 9)
    assert torch.equal(argmax_resized(logits.double(), (23, 31)), argmax_resized(logits, (23, 31)))
    logits[:, 3, :, 4] = torch.inf
    logits[:, 5:] = -torch.inf
    full = resize(logits, (12, 18))  # 0 times infinity, which is no number, is the greatest for torch
    known = ~full.isnan().any(1)
    assert torch.equal(argmax_resized(logits, (12, 18)).long()[known], full.argmax(1)[known])


def test_the_first_of_equals_wins():
    scores = torch.randint(0, 3, (2, 30, 6, 7)).float()
    scores[:, :, 0] = -torch.inf
    scores[:, 4:9, 1, 1] = torch.inf
    scores[1, 17, 2, 2] = torch.nan
    for part in (scores, scores[:1]):
        assert torch.equal(argmax(part.clone()).long(), part.argmax(1))


@pytest.mark.parametrize("function", [argmax, lambda logits: argmax_resized(logits, (4, 4))])
def test_more_classes_than_uint8_labels_hold_are_refused(function):
    with pytest.raises(ValueError, match="256 classes"):
        function(torch.zeros(1, 256, 2, 2))
