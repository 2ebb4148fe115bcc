"""Rows of a resized map are those of the whole, however one goes through it; and the softmax of rows."""

import pytest
import torch

from contextseg.layers.resize import resize
from contextseg.layers.resized_rows import ResizedRows, taps
from contextseg.layers.softmax import softmax_

SIZES = [(37, 50), (9, 7), (1, 5), (4, 13), (9, 20), (70, 7)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("height", [9, 1])
def test_rows_are_those_of_the_whole(size, align_corners, height):
    x = torch.randn(2, 3, height, 7).to(memory_format=torch.channels_last)
    whole, asked = resize(x, size, align_corners), []
    resized = ResizedRows(lambda rows: asked.append(rows) or x[..., rows, :], size, align_corners, height)
    for start in range(0, size[0], 3):
        rows = slice(start, min(start + 3, size[0]))
        found = resized(rows)
        assert found.is_contiguous()
        torch.testing.assert_close(found, whole[..., rows, :])
        found.zero_()  # is the caller's
    lines = [line for rows in asked for line in range(rows.start, rows.stop)]
    assert lines == sorted(set(lines))  # each once


def test_rows_in_any_order():
    x = torch.randn(1, 2, 9, 7)
    resized, whole = ResizedRows(x, (37, 11)), resize(x, (37, 11))
    for start in (20, 5, 5, 30, 4):
        torch.testing.assert_close(resized(slice(start, start + 6)), whole[..., start : start + 6, :])
    assert torch.equal(ResizedRows(x, (9, 7))(slice(2, 5)), x[..., 2:5, :])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("length", "size"), [(5, 9), (9, 5), (4, 4), (1, 3), (64, 512), (3, 1)])
def test_taps_are_the_weights_of_the_resize(length, size, align_corners):
    line = torch.randn(length)
    above, below, weight = taps(length, size, align_corners)
    first, second = torch.tensor(above), torch.tensor(below)
    found = line[first] * (1 - weight) + line[second] * weight
    torch.testing.assert_close(found, resize(line.view(1, 1, -1, 1), (size, 1), align_corners).view(-1))


def test_softmax_in_place():
    logits = 50 * torch.randn(2, 11, 3, 5)
    expected = logits.softmax(1)
    found = softmax_(logits)
    torch.testing.assert_close(found, expected)
    assert found.data_ptr() == logits.data_ptr()
