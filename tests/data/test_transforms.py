"""Augmentation: labels stay labels, padding is void, and a key decides everything."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextseg import parts
from contextseg.data import transforms
from contextseg.data.transforms import TrainTransform
from contextseg.errors import ConfigError

EVERYTHING = {
    "short_side": [30, 50],
    "scale": [0.5, 2.0],
    "aspect": [0.8, 1.25],
    "rotate": 15,
    "crop_size": [40, 56],
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.1,
    "brightness_shift": 10,
}


@pytest.fixture(scope="module")
def everything():
    return TrainTransform(**EVERYTHING)


def sample(seed=0, height=48, width=64):
    rng = np.random.default_rng(seed)
    labels = 2 * rng.integers(3, 9, (height, width), np.uint8)  # with gaps: a mean of two may be no label
    return rng.integers(0, 256, (height, width, 3), np.uint8), labels


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
    [
        {"scale": [2.0, 0.5]},
        {"crop_size": [0, 3]},
        {"flip": 1.5},
        {"rotate": 200},
        {"hue": 0.6},
        {"contrast": -1},
        {"scales": [1.0]},
        {"aspect": [1.1, 0.9]},
        {"resize": [5]},
        {"short_side": []},
        {"long_side": [9, 5]},
        {"brightness_shift": -1},
    ],
)
def test_values_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=f"data.transform.{next(iter(wrong))}="):
        parts.make({"_target_": "TrainTransform", **wrong}, "data.transform")


def sizes(count, **options):
    """How often each size comes out of `count` samples of 48x64."""
    transform, (image, mask) = TrainTransform(flip=0, **options), sample()
    found = [transform(image, mask, (0, 0, index)) for index in range(count)]
    assert all(image.shape[:2] == mask.shape for image, mask in found)
    assert {value for _, mask in found for value in np.unique(mask)} <= set(np.unique(mask))
    return Counter(mask.shape for _, mask in found)


def test_factors_are_drawn_from_a_list():
    found = sizes(200, scales=[0.5, 0.75, 1, 1.5])
    assert set(found) == {(24, 32), (36, 48), (48, 64), (72, 96)}
    assert min(found.values()) > 25


def test_the_shorter_side_is_one_of_a_list():
    found = sizes(100, short_side=[30, 45, 96])
    assert set(found) == {(30, 40), (45, 60), (96, 128)}
    assert set(sizes(3, short_side=24)) == {(24, 32)}


def test_the_longer_side_is_within_a_range():
    widths = [width for _, width in sizes(200, long_side=[32, 128])]
    assert (min(widths), max(widths)) <= (36, 128)
    assert max(widths) > 120
    assert all(abs(height / width - 0.75) < 0.02 for height, width in sizes(50, long_side=[32, 128]))


def test_an_image_is_stretched():
    assert set(sizes(2, resize=[40, 40])) == {(40, 40)}
    assert set(sizes(20, resize=[40, 40], scales=[0.5, 2])) == {(20, 20), (80, 80)}


def test_the_aspect_is_drawn_and_the_area_kept():
    shapes = np.array([*sizes(200, aspect=[0.5, 2])])
    aspect = shapes[:, 1] / shapes[:, 0] / (64 / 48)
    assert 0.49 < aspect.min() < 0.6
    assert 1.8 < aspect.max() < 2.05
    assert np.allclose(shapes.prod(1), 48 * 64, rtol=0.03)


def test_brightness_moves_all_channels_alike():
    image = np.full((8, 8, 3), (100, 120, 140), np.uint8)
    transform = TrainTransform(flip=0, brightness_shift=10)
    moved = np.array([transform(image, image[..., 0], (0, 0, i))[0][0, 0] for i in range(200)]).astype(int)
    shift = moved - (100, 120, 140)
    assert np.ptp(shift, axis=1).max() <= 1  # rounded by channel
    assert shift.min() in (-10, -9)
    assert shift.max() in (9, 10)


@pytest.mark.parametrize("both", [{"scale": [1, 2], "scales": [1, 2]}, {"resize": [4, 4], "short_side": 4}])
def test_contradictions_are_named(both):
    first, second = both
    with pytest.raises(ConfigError, match=rf"data\.transform\.{first}=.* and data\.transform\.{second}=.* contradict"):
        TrainTransform(**both)
