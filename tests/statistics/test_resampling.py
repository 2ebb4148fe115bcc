"""Intervals and tests: by hand on three images, and by simulation where the truth is known. Neither torch nor a run."""

import itertools
import math

import numpy as np
import pytest

from contextseg.errors import ConfigError
from contextseg.statistics import ImageCounts, Resampling, difference, interval
from contextseg.statistics.bootstrap import mean_of_redrawn, two_sided
from contextseg.statistics.image_counts import file_of
from contextseg.statistics.scores import scores
from contextseg.statistics.sequences import in_sequences

# image, truth, prediction, pixels: class 1 is in the last image only
TINY = [(0, 0, 0, 3), (1, 0, 0, 1), (1, 0, 1, 1), (2, 1, 1, 2), (2, 1, 0, 2)]


def counts(cells, names=("a", "b", "c"), num_classes=2, block=None):
    return ImageCounts(tuple(names), num_classes, np.array(cells, dtype=np.int64), block)


def miou_by_hand(images):
    """mIoU of a list of images of `TINY`, pixel by pixel."""
    pixels = [(truth, guess) for i in images for image, truth, guess, n in TINY if image == i for _ in range(n)]
    found = []
    for c in range(2):
        union = [pixel for pixel in pixels if c in pixel]
        if union:
            found.append(100 * union.count((c, c)) / len(union))
    return sum(found) / len(found)


# by hand


def test_all_27_resamples_of_three_images():
    """Exactly: every draw of three out of three has the mIoU counted pixel by pixel, absent classes left out."""
    tiny = counts(TINY)
    for images in itertools.product(range(3), repeat=3):
        weights = np.bincount(images, minlength=3)
        found = scores(np.tensordot(weights, tiny.totals, 1))
        assert found[0] == pytest.approx(miou_by_hand(images), abs=1e-12)
    assert miou_by_hand([0, 0, 0]) == 100  # class 1 is in neither truth nor prediction
    assert miou_by_hand([1, 1, 1]) == 25  # predicted only: IoU 0, and counts


def test_resamples_follow_the_exact_distribution():
    """Shares of the sampled values are within 5 binomial deviations of the 27 cases, and so is the interval."""
    exact = np.array([miou_by_hand(images) for images in itertools.product(range(3), repeat=3)])
    drawn = Resampling(resamples=27_000).scores(counts(TINY))[:, 0]
    for value in np.unique(exact.round(9)):
        share = np.mean(exact.round(9) == value)
        assert np.sum(drawn.round(9) == value) == pytest.approx(
            27_000 * share, abs=5 * math.sqrt(27_000 * share * (1 - share))
        )
    found = interval([counts(TINY)], Resampling(resamples=27_000))["miou"]
    assert found.value == pytest.approx(miou_by_hand([0, 1, 2]))
    # 1 of 27 cases, 3.7 %, is the lowest and another one the highest value: both ends lie on them
    assert (found.low, found.high) == (pytest.approx(exact.min()), pytest.approx(exact.max()))


def test_pixel_accuracy_by_hand():
    assert interval([counts(TINY)], Resampling(resamples=10))["pix_acc"].value == pytest.approx(100 * 6 / 9)


def test_every_resample_has_as_many_images():
    names = [f"a_{i}" for i in range(7)] + [f"b_{i}" for i in range(4)]
    some = counts([(i, 0, 0, 1) for i in range(11)], names, block=3)
    for length in (1, 2, 3, 11, 20):
        rows = np.concatenate(list(Resampling(resamples=20_000, block=length).weights(some)))
        assert rows.shape == (20_000, 11)
        assert (rows.sum(1) == 11).all()
        # all frames are equally likely, in short sequences as in long ones
        error = rows.std(0) / math.sqrt(20_000)
        assert (abs(rows.mean(0) - 1) < 5 * error).all(), length


def test_blocks_are_frames_in_a_row_of_one_sequence():
    """One block as long as all images: a run of frames that goes round within its sequence."""
    names = ["b_2", "a_10", "b_1", "a_9", "a_8", "alone"]
    order, begin, frames = in_sequences(names)
    assert [names[i] for i in order] == ["b_1", "b_2", "a_8", "a_9", "a_10", "alone"]
    assert begin.tolist() == [0, 0, 2, 2, 2, 5]
    assert frames.tolist() == [2, 2, 3, 3, 3, 1]
    some = counts([(i, 0, 0, 1) for i in range(6)], names, block=6)
    rows = {tuple(row) for row in np.concatenate(list(Resampling(resamples=500).weights(some)))}
    assert rows == {(3, 0, 3, 0, 0, 0), (0, 2, 0, 2, 2, 0), (0, 0, 0, 0, 0, 6)}
    pairs = np.concatenate(list(Resampling(resamples=200, block=2).weights(some)))
    assert set(pairs[:, 5]) <= {0, 2, 4, 6}, "a sequence of one frame is drawn twice by a block of two"


def test_an_odd_number_is_cut():
    some = counts([(i, 0, 0, 1) for i in range(5)], [f"a_{i}" for i in range(5)], block=2)
    rows = np.concatenate(list(Resampling(resamples=300).weights(some)))
    assert (rows.sum(1) == 5).all()


def test_one_seed_one_answer():
    how = Resampling(resamples=1000)
    assert (how.scores(counts(TINY)) == how.scores(counts(TINY))).all()
    assert (how.scores(counts(TINY)) != Resampling(resamples=1000, seed=1).scores(counts(TINY))).any()


def test_p_by_hand():
    assert two_sided(np.array([1.0, 2, 3, -1])) == 2 * (1 + 1) / 5
    assert two_sided(np.array([1.0] * 99)) == 2 / 100
    assert two_sided(np.zeros(10)) == 1
    assert math.isnan(two_sided(np.array([1.0, np.nan]))), "a resample of void images tells nothing"


def test_a_run_does_not_differ_from_itself():
    found = difference([counts(TINY)], [counts(TINY)], Resampling(resamples=200))["miou"]
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_difference_in_every_image_is_certain():
    """A pair is far more certain than its two intervals: the images are the same."""
    rng = np.random.default_rng(0)
    right = rng.integers(20, 80, 60)
    names = [str(i) for i in range(60)]
    better, worse = (
        counts([(i, 0, c, n) for i, r in enumerate(right) for c, n in ((0, r + d), (1, 100 - r - d))], names)
        for d in (2, 0)
    )
    how = Resampling(resamples=1000)
    found = difference([better], [worse], how)["pix_acc"]
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    assert found.p == 2 / 1001
    assert interval([better], how)["pix_acc"].low < interval([worse], how)["pix_acc"].high


def test_redrawn_seeds_spread_as_the_error_of_a_mean():
    values = np.array([1.0, 2.0, 6.0])
    drawn = mean_of_redrawn(np.broadcast_to(values, (50_000, 3)), np.random.default_rng(0))
    assert drawn.std() == pytest.approx(values.std(ddof=1) / math.sqrt(3), rel=0.02)
    assert (mean_of_redrawn(np.full((4, 1), 3.0), np.random.default_rng(0)) == 3).all()


# errors


def test_runs_on_other_images_are_refused():
    one = counts(TINY)
    others = {
        "a and x": counts(TINY, ("x", "b", "c")),
        "3 and 4 images": counts(TINY, ("a", "b", "c", "d")),
        "2 and 3 classes": counts(TINY, num_classes=3),
        "b has other labels": counts([*TINY, (1, 1, 1, 5)]),
    }
    for fault, other in others.items():
        with pytest.raises(ConfigError, match=f"different images \\({fault}\\); evaluate both"):
            difference([one], [other], Resampling(resamples=10))


def test_blocks_of_no_frames_are_refused():
    with pytest.raises(ConfigError, match=r"block=5: the images are not declared .* give block=1"):
        interval([counts(TINY)], Resampling(block=5))


# the file


def test_file_round_trip(tmp_path):
    path = file_of(tmp_path, "val", "ss")
    counts(TINY, ("a", "ö", "c"), block=15).save(path)
    back = ImageCounts.load(path)
    assert [file.name for file in path.parent.iterdir()] == ["val_ss.npz"]
    assert (back.cells == np.array(TINY)).all()
    assert (back.names, back.num_classes, back.block) == (("a", "ö", "c"), 2, 15)
    assert back.confusion.tolist() == [[4, 1], [2, 2]]
    with np.load(path) as file:
        assert {file[name].dtype for name in ("image", "truth", "prediction", "count")} == {np.dtype("uint8")}
    counts(np.zeros((0, 4)), ("void",)).save(path)
    empty = ImageCounts.load(path)
    assert (len(empty), empty.block) == (1, None)
    assert np.isnan(scores(empty.totals.sum(0))).all()


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "val_ss.npz"
    path.write_bytes(b"no zip")
    with pytest.raises(ConfigError, match=r"val_ss\.npz cannot be read"):
        ImageCounts.load(path)
    np.savez(path, format=2)
    with pytest.raises(ConfigError, match="format 2, newer than 1"):
        ImageCounts.load(path)


# simulations: the truth is known, and the bounds follow from the binomial spread of the simulated data sets

SETS, SIZE = 600, 120
HOW = {"resamples": 600}
DEVIATION = math.sqrt(0.95 * 0.05 / SETS)  # of the share that a 95 % interval covers


def drive(rng, memory, size=SIZE):
    """Images of a class each, 1000 pixels, whose share of right ones goes from frame to frame with `memory`.

    Returns cells. With memory 0 the images are independent. The truth is 60 % in the mean, for two classes by turns.
    """
    noise = rng.standard_normal(size + 200)
    state = np.zeros(size + 200)
    for i in range(1, len(state)):
        state[i] = memory * state[i - 1] + math.sqrt(1 - memory**2) * noise[i]
    right = np.clip(600 + 100 * state[200:], 0, 1000).round().astype(int)
    return [(i, i % 2, guess, n) for i, r in enumerate(right) for guess, n in ((i % 2, r), (1 - i % 2, 1000 - r))]


TRUTH = (
    60.0,
    100 * 0.6 / 1.4,
)  # pixel accuracy; mIoU: 0.6 of a class is right, its union is its truth and the rest's 0.4
NAMES = [f"a_{i}" for i in range(SIZE)]


def covered(memory, block):
    """How often the intervals of the simulated data sets hold the true pixel accuracy and the true mIoU."""
    rng = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(SETS):
        found = interval([counts(drive(rng, memory), NAMES, block=block)], Resampling(block=block, **HOW))
        for i, (name, truth) in enumerate(zip(("pix_acc", "miou"), TRUTH, strict=True)):
            hits[i] += found[name].low <= truth <= found[name].high
    return hits / SETS


@pytest.mark.slow
def test_independent_images_are_covered():
    """95 %, within 3 deviations; and 1 %, because a percentile interval of 120 images is a little too short."""
    assert (abs(covered(memory=0, block=1) - 0.95) < 3 * DEVIATION + 0.01).all()


@pytest.mark.slow
def test_frames_need_blocks():
    """Neighbours that are alike: single images cover far too seldom, blocks much better, though 15 are still few."""
    single, blocks = covered(memory=0.5, block=1), covered(memory=0.5, block=8)
    assert (single < 0.95 - 10 * DEVIATION).all()
    assert (blocks > single + 10 * DEVIATION).all()
    assert (blocks > 0.95 - 10 * DEVIATION).all()


@pytest.mark.slow
def test_the_level_of_the_paired_test():
    """Two runs that are equally good by construction: p < 0.05 in 5 % of the data sets, within 3 deviations."""
    rng, found = np.random.default_rng(3), []
    for _ in range(SETS):
        one, other = (counts(drive(rng, 0), NAMES) for _ in range(2))
        found.append(difference([one], [other], Resampling(**HOW))["miou"].p)
    assert abs(np.mean(np.array(found) < 0.05) - 0.05) < 3 * DEVIATION + 0.01
    assert abs(np.mean(np.array(found) < 0.5) - 0.5) < 3 * 0.5 / math.sqrt(SETS) + 0.02


@pytest.mark.slow
def test_seeds_count_as_well_as_images():
    """Seeds that differ more than the images: leaving them out would call chance a difference."""
    rng, with_seeds, without = np.random.default_rng(5), 0, 0
    for _ in range(100):
        sides = [[counts(shifted(rng, drive(rng, 0))) for _ in range(4)] for _ in range(2)]
        sides = [[counts(one.cells, NAMES) for one in side] for side in sides]
        with_seeds += difference(*sides, Resampling(**HOW))["pix_acc"].p < 0.05
        without += difference(sides[0][:1], sides[1][:1], Resampling(**HOW))["pix_acc"].p < 0.05
    assert without > 60
    assert with_seeds < 25


def shifted(rng, cells):
    """A seed: all its images are better or worse by one amount."""
    more = int(rng.normal(0, 60))
    return [(i, t, g, max(0, min(1000, n + (more if t == g else -more)))) for i, t, g, n in cells]
