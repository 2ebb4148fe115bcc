"""Augmentation: labels stay labels, padding is void, and a key decides everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextseg.contract import ConfigError
from contextseg.data import transforms
from contextseg.data.transforms import TrainTransform

EVERYTHING = {
    "scale": [0.5, 2.0],
    "rotate": 15,
    "crop_size": [40, 56],
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.1,
}


@pytest.fixture(scope="module")
def everything():
    return TrainTransform(**EVERYTHING)


def sample(seed=0, height=48, width=64):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(3, 9, (height, width), np.uint8)


@settings(max_examples=60, deadline=None)
@given(key=st.tuples(*[st.integers(0, 2**31)] * 3), height=st.integers(8, 90), width=st.integers(8, 90))
def test_labels_are_old_ones_or_void(everything, key, height, width):
    image, mask = sample(key[0], height, width)
    image, new = everything(image, mask, key)
    assert image.shape == (40, 56, 3)
    assert new.shape == (40, 56)
    assert image.dtype == new.dtype == np.uint8
    assert set(np.unique(new)) <= {*np.unique(mask), 255}


def test_padding_is_void():
    image, mask = sample(height=10, width=12)
    padded, label = TrainTransform(crop_size=32, flip=0, fill=(1, 2, 3))(image, mask, (0, 0, 0))
    assert (label != 255).sum() == mask.size
    assert (padded[label == 255] == (1, 2, 3)).all()
    assert (TrainTransform(rotate=90, flip=0)(image, mask, (0, 0, 1))[1] == 255).any()


def test_flip_exchanges_the_pairs():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    mask = np.array([[0, 1, 2, 3], [4, 255, 1, 2]], np.uint8)
    mirrored, labels = TrainTransform(flip=1, flip_pairs=[(1, 2), (3, 4)])(image, mask, (0,))
    assert np.array_equal(mirrored, image[:, ::-1])
    assert np.array_equal(labels, [[4, 1, 2, 0], [1, 2, 255, 3]])


def test_image_and_mask_move_together():
    mask = np.zeros((64, 64), np.uint8)
    mask[20:44, 12:30] = 1
    image = np.repeat(mask[..., None] * 200, 3, axis=2)
    moved = TrainTransform(scale=[0.7, 1.5], rotate=20, crop_size=64, fill=(0, 0, 0))
    for index in range(20):
        new_image, new_mask = moved(image, mask, (0, 0, index))
        assert ((new_image[..., 0] > 100) == (new_mask == 1)).mean() > 0.97


def pixels(transform, keys):
    image, mask = sample()
    return [transform(image, mask, key)[0] for key in keys]


def distinct(images):
    return len({image.tobytes() for image in images})


# neighbours, and keys whose sum or product coincide
KEYS = [(seed, epoch, index) for seed in (0, 1) for epoch in range(4) for index in range(4)]


def test_a_key_decides_everything(everything):
    first = pixels(everything, KEYS)
    second = pixels(TrainTransform(**EVERYTHING), reversed(KEYS))[::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert distinct(first) == len(KEYS)


def test_without_the_key_the_same_sample_changes(everything, monkeypatch):
    endless = transforms.random_streams((0,))
    monkeypatch.setattr(transforms, "random_streams", lambda key: endless)
    assert distinct(pixels(everything, KEYS[:1] * 4)) == 4


@pytest.mark.parametrize("forgotten", [0, 1, 2])
def test_every_part_of_the_key_counts(everything, monkeypatch, forgotten):
    streams = transforms.random_streams
    monkeypatch.setattr(transforms, "random_streams", lambda key: streams(key[:forgotten] + key[forgotten + 1 :]))
    assert distinct(pixels(everything, KEYS)) < len(KEYS)


def test_steps_draw_independently():
    """albumentations' own `set_random_seed` gives each step a copy of one stream: zoom and crop would move together."""
    rows = np.repeat(np.arange(100, dtype=np.uint8)[:, None], 100, axis=1)
    transform = TrainTransform(scale=[1, 2], crop_size=20)
    crops = [transform(np.dstack([rows] * 3), rows, (0, 0, index))[1] for index in range(200)]
    top, span = np.array([(crop[0, 0], crop[-1, 0] - crop[0, 0]) for crop in crops], float).T
    assert abs(np.corrcoef(top, span)[0, 1]) < 0.25


@pytest.mark.parametrize(
    "wrong",
    [{"scale": [2.0, 0.5]}, {"crop_size": [0, 3]}, {"flip": 1.5}, {"rotate": 200}, {"hue": 0.6}, {"contrast": -1}],
)
def test_values_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=f"data.transform.{next(iter(wrong))}="):
        TrainTransform(**wrong)
