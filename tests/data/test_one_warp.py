"""One warp of a sample against the chain of steps that it stands for, with the same random numbers."""

import albumentations as A
import cv2
import numpy as np
import pytest

from contextseg.data.one_warp import OneWarp
from contextseg.data.transforms import TrainTransform

SETTINGS = [
    {"scale": [0.5, 2.0]},
    {"scales": [0.5, 0.75, 1.0, 2.0]},
    {"scale": [0.4, 0.6]},  # padded
    {"short_side": [60, 90, 150], "aspect": [0.8, 1.25]},
    {"long_side": [60, 200]},
    {"resize": [80, 100], "scale": [0.5, 2.0]},
    {"scale": [0.5, 2.0], "rotate": 10},
    {"scale": [0.3, 0.6], "rotate": 30},
]


def sample():
    """A smooth image (96, 130, 3) and a mask of large regions."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (130, 96))
    return image, cv2.resize(rng.integers(0, 5, (6, 8), np.uint8), (130, 96), interpolation=cv2.INTER_NEAREST)


def chain_of(transform):
    """The same transform, step by step: each resamples the whole image."""
    (warp,) = transform.compose.transforms
    assert isinstance(warp, OneWarp)
    slow = TrainTransform(flip=transform.flip)
    slow.compose = A.Compose(warp.steps)
    return slow


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_one_warp_is_the_chain(settings):
    """So the scales, angles and places have the chain's distribution: they are the same numbers."""
    image, mask = sample()
    fast = TrainTransform(crop_size=[64, 72], **settings)
    slow = chain_of(fast)
    grey, labels, void = [], [], []
    for index in range(30):
        one, other = (transform(image, mask, (0, 0, index)) for transform in (fast, slow))
        assert one[0].shape == other[0].shape
        grey.append(np.abs(one[0].astype(int) - other[0]).mean())
        labels.append((one[1] != other[1]).mean())
        void.append(((one[1] == 255) != (other[1] == 255)).mean())
    assert np.mean(grey) < 1
    assert np.mean(labels) < 0.15  # half a pixel for each resize, at the borders of regions of 16 pixels
    assert np.mean(void) < (0.01 if "rotate" in settings else 1e-9)


def test_at_scale_one_nothing_is_resampled():
    image, mask = sample()
    fast = TrainTransform(crop_size=[64, 150], scale=[1, 1])
    slow = chain_of(fast)
    for index in range(10):
        for one, other in zip(fast(image, mask, (0, 0, index)), slow(image, mask, (0, 0, index)), strict=True):
            assert np.array_equal(one, other)


def test_labels_lie_where_the_image_does():
    """Of an image that shows its labels, at any scale."""
    mask = (np.indices((96, 130)).sum(0) // 24 % 2).astype(np.uint8)
    image = np.repeat(mask[..., None] * 200, 3, 2)
    fast = TrainTransform(crop_size=64, scale=[0.5, 2.0])
    wrong = lambda result: ((result[0][..., 0] > 100) != (result[1] == 1))[result[1] < 255].mean()  # noqa: E731
    fast_errors, slow_errors = (
        np.mean([wrong(transform(image, mask, (0, 0, index))) for index in range(20)])
        for transform in (fast, chain_of(fast))
    )
    assert fast_errors < 0.01
    assert fast_errors < slow_errors
