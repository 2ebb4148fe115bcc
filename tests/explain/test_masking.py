"""Patches, orders and masked copies, pixel by pixel."""

import itertools

import pytest
import torch

from contextseg.explain.masking import Patches, instead, masked, orders, steps

PATCHES = Patches((20, 27), 8, (9, 17), 2)  # 3 x 4 patches, the last ones cut off


def by_pixels(patch):
    """The pixels of a patch, one by one."""
    row, column = divmod(patch, 4)
    return [(y, x) for y in range(20) for x in range(27) if y // 8 == row and x // 8 == column]


def test_patches_near_the_pixel_stay():
    gaps = {patch: min(max(abs(y - 9), abs(x - 17)) for y, x in by_pixels(patch)) for patch in range(12)}
    assert PATCHES.free().tolist() == [patch for patch, gap in gaps.items() if gap > 2]
    assert Patches((20, 27), 8, (9, 17), 0).free().tolist() == [patch for patch in range(12) if patch != 6]


def test_a_patch_has_the_mean_of_the_map_and_its_own_pixels():
    values = torch.rand(20, 27)
    means = PATCHES.means(values)
    for patch in range(12):
        marked = PATCHES.pixels(torch.arange(12) == patch)
        assert [tuple(place) for place in marked.nonzero().tolist()] == by_pixels(patch)
        if patch % 4 < 3 and patch < 8:  # not cut off
            torch.testing.assert_close(means[patch], values[marked].mean())


def test_orders_begin_with_the_highest_and_with_the_nearest():
    values = torch.zeros(5, 9)
    values[4, 8] = 1  # of the last patch
    found = orders(PATCHES, {"map": values}, seed=3)
    assert list(found) == ["map", "nearest", "random"]
    assert found["map"][0] == 11
    gaps = PATCHES.gaps().norm(dim=1)[found["nearest"]]
    assert (gaps.diff() >= 0).all()
    for order in found.values():
        assert sorted(order.tolist()) == PATCHES.free().tolist()
    assert torch.equal(orders(PATCHES, {}, seed=3)["random"], found["random"])
    assert not torch.equal(orders(PATCHES, {}, seed=4)["random"], found["random"])


def test_deletion_masks_the_first_and_insertion_all_others():
    order = torch.tensor([5, 0, 11, 3, 8])
    deleted, hidden = steps(order, PATCHES, 2)
    for step, share in enumerate((0, 2, 5)):
        assert deleted[step].nonzero().flatten().tolist() == sorted(order[:share].tolist())
        assert hidden[step].nonzero().flatten().tolist() == sorted(order[share:].tolist())


@pytest.mark.parametrize("how", ["mean", "blur"])
def test_only_marked_pixels_change(how):
    image = torch.randint(0, 256, (3, 20, 27), dtype=torch.uint8)
    other = instead(image, how, 8)
    marks = torch.stack([PATCHES.pixels(torch.arange(12) == patch) for patch in (0, 11)])
    copies = masked(image, other, marks)
    for copy, (y, x) in itertools.product(range(2), [(0, 0), (10, 10), (19, 26)]):
        source = other if marks[copy, y, x] else image
        assert copies[copy, :, y, x].tolist() == source[:, y, x].tolist()
    assert (other.float().mean((1, 2)) - image.float().mean((1, 2))).abs().max() < 20
    assert other.float().std((1, 2)).max() < image.float().std((1, 2)).min() / 2  # details are gone
