"""Means over images and their intervals: by hand, and against every resample of a few images."""

import itertools

import numpy as np
import pytest

from contextseg.statistics import Resampling
from contextseg.statistics.means import ImageNumbers, mean_differences, mean_intervals, spread, thinned_block

NAMES = ("a", "b", "c")


def test_means_of_all_27_resamples():
    values = np.array([[1.0, 5], [2, np.nan], [6, 7]])
    first, second = mean_intervals(ImageNumbers(NAMES, values), Resampling(resamples=27_000))
    exact = [values[list(drawn), 0].mean() for drawn in itertools.product(range(3), repeat=3)]
    assert (first.value, first.low, first.high) == (pytest.approx(3), min(exact), max(exact))  # 1 of 27 is 3.7 %
    assert second.value == 6  # of the images that have the number
    assert np.isnan(second.low)  # a resample of the middle image alone has none


def test_a_difference_that_all_images_share_is_no_chance():
    alike = ImageNumbers(tuple(map(str, range(12))), np.array([[1.0, (-1) ** i] for i in range(12)]))
    sure, even = mean_differences(alike, Resampling(resamples=999))
    assert (sure.value, sure.low, sure.high, sure.p) == (1, 1, 1, pytest.approx(2 / 1000))
    assert even.value == 0
    assert even.low < 0 < even.high
    assert even.p > 0.5


def test_blocks_of_thinned_frames():
    assert spread(9, 3) == [0, 4, 8]
    assert spread(2, 3) == [0, 1]
    assert thinned_block(15, 233, 233) == 15
    assert thinned_block(15, 233, 24) == 2  # every tenth frame
    assert thinned_block(15, 233, 2) == 1
    assert thinned_block(None, 233, 24) is None
