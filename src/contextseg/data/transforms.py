"""Augmentation of training samples: the only file that knows albumentations and OpenCV."""

import os
import random
from collections.abc import Sequence

import numpy as np
import torch

from contextseg.contract import IGNORE_INDEX, ConfigError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
import albumentations as A
import cv2


class TrainTransform:
    """Random scale, rotation, crop, colour and mirror image of one sample, in this order; each is off by default.

    scale        range of the zoom factor, such as [0.5, 2.0]
    rotate       largest angle in degrees, either way
    crop_size    side, or [height, width], of the result; a smaller image is padded
    brightness, contrast, saturation    b draws a factor from [1 - b, 1 + b]
    hue          largest shift, as a part of the colour circle
    flip         probability of the mirror image
    flip_pairs   train ids that the mirror image exchanges; a data module fills in those of its classes
    fill         RGB of pixels outside the image; their label is 255

    Raises `ConfigError` for a value out of range.
    """

    def __init__(
        self,
        *,
        scale: Sequence[float] | None = None,
        rotate: float = 0,
        crop_size: int | Sequence[int] | None = None,
        brightness: float = 0,
        contrast: float = 0,
        saturation: float = 0,
        hue: float = 0,
        flip: float = 0.5,
        flip_pairs: Sequence[tuple[int, int]] = (),
        fill: Sequence[int] = (124, 116, 104),
    ):
        outside = {"fill": tuple(fill), "fill_mask": IGNORE_INDEX}
        colour = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        for name, value in colour.items():
            _require(name, value, 0 <= value <= (0.5 if name == "hue" else 1), "0 to 0.5 (hue), 0 to 1 (others)")
        _require("rotate", rotate, 0 <= rotate <= 180, "0 to 180 degrees")
        _require("flip", flip, 0 <= flip <= 1, "a probability from 0 to 1")

        steps = []
        if scale is not None:
            _require("scale", scale, len(scale) == 2 and 0 < scale[0] <= scale[1], "two factors, as [0.5, 2.0]")
            steps.append(A.RandomScale((scale[0] - 1, scale[1] - 1), p=1))
        if rotate:
            steps.append(A.Rotate((-rotate, rotate), p=1, **outside))
        if crop_size is not None:
            size = [crop_size] * 2 if isinstance(crop_size, int) else list(crop_size)
            _require("crop_size", crop_size, len(size) == 2 and min(size) > 0, "a side, or [height, width]")
            steps.append(A.RandomCrop(*size, pad_if_needed=True, pad_position="random", **outside))
        if any(colour.values()):
            steps.append(A.ColorJitter(**{name: _around(value, name) for name, value in colour.items()}, p=1))
        self.compose = A.Compose(steps) if steps else None
        self.crop_size, self.flip = crop_size, flip
        self.flip_pairs = tuple(flip_pairs)

    def __call__(self, image: np.ndarray, mask: np.ndarray, key: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 (H, W, 3), mask uint8 (H, W) -> the same types at the new size; `key` decides every draw."""
        numbers, coins = random_streams(key)
        if self.compose is not None:
            # set_random_seed would give every step a copy of one stream: zoom, crop position and colour would move
            # together. Here all steps draw from the same two generators in turn.
            self.compose.set_random_state(numbers, coins)
            result = self.compose(image=image, mask=mask)
            image, mask = result["image"], result["mask"]
        if coins.random() < self.flip:
            image, mask = image[:, ::-1], swap_labels(mask[:, ::-1], self.flip_pairs)
        return image, mask


def random_streams(key: tuple[int, ...]) -> tuple[np.random.Generator, random.Random]:
    """The two generators of one sample; different keys have unrelated streams."""
    numbers = np.random.default_rng(key)
    return numbers, random.Random(int(numbers.integers(2**63)))


def swap_labels(mask: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Exchange the labels of each pair; mask uint8 of any shape -> a new mask of that shape."""
    table = np.arange(256, dtype=np.uint8)
    for a, b in pairs:
        table[[a, b]] = b, a
    return table[mask]


def single_threaded(worker: int) -> None:
    """Worker start: the workers are the parallelism, so OpenCV and torch take one thread in each."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _around(value: float, name: str) -> tuple[float, float]:
    return (-value, value) if name == "hue" else (1 - value, 1 + value)


def _require(name: str, value: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"data.transform.{name}={value} is out of range; give {wanted}")
