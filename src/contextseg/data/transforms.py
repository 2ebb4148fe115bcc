"""Augmentation of training samples; this file and `one_warp` alone know albumentations."""

import math
import os
import random
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le, MinLen

from contextseg.contract import IGNORE_INDEX
from contextseg.errors import ConfigError
from contextseg.signals import leave_signals_to_the_parent
from contextseg.typed import Colour, Count, Natural, Positive, Share

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
import albumentations as A
import cv2

from contextseg.data.one_warp import OneWarp


class TrainTransform:
    """Resize, scale, rotate, crop, recolour and mirror a sample, in this order; by default only mirror.

    resize       [height, width] that the image is stretched to
    short_side   pixels of the shorter side, or several to draw from; the shape is kept
    long_side    range of the longer side in pixels, such as [260, 1040]; the shape is kept
    scale        range of the zoom factor, such as [0.5, 2.0]
    scales       or the factors to draw from, such as [0.5, 0.75, 1, 1.5]
    aspect       range of the factor on width over height, such as [0.9, 1.1]; the area is kept
    rotate       largest angle in degrees, either way
    crop_size    side, or [height, width], of the result; a smaller image is padded
    brightness, contrast, saturation    b: a factor from [1 - b, 1 + b]
    brightness_shift    b: a number from [-b, b], added to all grey levels
    hue          largest shift, as a share of the colour circle
    flip         probability of the mirror image
    flip_pairs   train ids that the mirror image exchanges; a data module fills in those of its classes
    fill         RGB of pixels outside the image; their label is 255

    Raises `ConfigError` for a value out of range.
    """

    def __init__(
        self,
        *,
        resize: tuple[Count, Count] | None = None,
        short_side: Count | Annotated[Sequence[Count], MinLen(1)] | None = None,
        long_side: tuple[Count, Count] | None = None,
        scale: tuple[Positive, Positive] | None = None,
        scales: Annotated[Sequence[Positive], MinLen(2)] | None = None,
        aspect: tuple[Positive, Positive] | None = None,
        rotate: Annotated[float, Ge(0), Le(180)] = 0,
        crop_size: Count | tuple[Count, Count] | None = None,
        brightness: Share = 0,
        contrast: Share = 0,
        saturation: Share = 0,
        hue: Annotated[float, Ge(0), Le(0.5)] = 0,
        brightness_shift: Annotated[float, Ge(0), Le(255)] = 0,
        flip: Share = 0.5,
        flip_pairs: Sequence[tuple[Natural, Natural]] = (),
        fill: Colour = (124, 116, 104),
    ):
        outside = {"fill": tuple(fill), "fill_mask": IGNORE_INDEX}
        colour = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        _require("flip", flip, 0 <= flip <= 1, "a probability from 0 to 1")

        sizes = {"resize": resize, "short_side": short_side, "long_side": long_side}
        for either in (sizes, {"scale": scale, "scales": scales}):
            given = [f"data.transform.{name}={value}" for name, value in either.items() if value is not None]
            if len(given) > 1:
                raise ConfigError(f"{' and '.join(given)} contradict each other; give one of them, the other null")

        steps = []
        if resize is not None:
            steps.append(A.Resize(*resize, p=1))
        if short_side is not None:
            steps.append(A.SmallestMaxSize([short_side] if isinstance(short_side, int) else list(short_side), p=1))
        if long_side is not None:
            _require("long_side", long_side, long_side[0] <= long_side[1], "[lowest, highest]")
            steps.append(A.LongestMaxSize(list(range(long_side[0], long_side[1] + 1)), p=1))
        if scales is not None:
            steps.append(A.OneOf([A.RandomScale((factor - 1, factor - 1), p=1) for factor in scales], p=1))
        if scale is not None:
            _require("scale", scale, scale[0] <= scale[1], "[lowest, highest]")
            steps.append(A.RandomScale((scale[0] - 1, scale[1] - 1), p=1))
        if aspect is not None:
            _require("aspect", aspect, aspect[0] <= aspect[1], "[lowest, highest]")
            steps.append(RandomAspect(aspect))
        if rotate:
            steps.append(A.Rotate((-rotate, rotate), p=1, **outside))
        if crop_size is not None:
            size = [crop_size] * 2 if isinstance(crop_size, int) else list(crop_size)
            steps.append(A.RandomCrop(*size, pad_if_needed=True, pad_position="random", **outside))
        self.changes = [type(step).__name__ for step in steps]
        if crop_size is not None and len(steps) > 1:
            steps = [OneWarp(steps, fill, IGNORE_INDEX)]
        if any(colour.values()):
            steps.append(A.ColorJitter(**{name: _around(value, name) for name, value in colour.items()}, p=1))
            self.changes.append("ColorJitter")
        if brightness_shift:
            limits = (-brightness_shift / 255, brightness_shift / 255)
            steps.append(A.RandomBrightnessContrast(limits, 0, brightness_by_max=True, p=1))
            self.changes.append("RandomBrightnessContrast")
        self.compose = A.Compose(steps) if steps else None
        self.crop_size, self.flip = crop_size, flip
        self.flip_pairs = tuple(flip_pairs)

    def of_maps(self) -> dict[str, Any]:
        """Return the settings that apply to maps too: `crop_size`, `flip`, `flip_pairs`.

        Raises `ConfigError` if others are set: they change size or colour of an image before its maps are made.
        """
        if others := sorted(set(self.changes) - {"RandomCrop"}):
            raise ConfigError(
                f"data.transform: features.whole=true crops and mirrors only, and this one has {', '.join(others)}; "
                "set crop_size and flip alone, and resize, scale, aspect, rotate, colours to null or 0"
            )
        size = (self.crop_size, self.crop_size) if isinstance(self.crop_size, int) else self.crop_size
        return {"crop_size": size, "flip": self.flip, "flip_pairs": self.flip_pairs}

    def __call__(self, image: np.ndarray, mask: np.ndarray, key: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Augment image uint8 (H, W, 3) and mask uint8 (H, W); `key` decides every random number.

        The frames of a clip (T, H, W, 3) are augmented alike.
        """
        if image.ndim == 4:
            frames, masks = zip(*(self(frame, mask, key) for frame in image), strict=True)
            return np.stack(frames), masks[0]
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


class RandomAspect(A.DualTransform):
    """Widen an image by sqrt(a) and lower it by as much, with a drawn from `limits`."""

    def __init__(self, limits: Sequence[float]):
        super().__init__(p=1)
        self.limits = tuple(limits)

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        root = math.sqrt(self.py_random.uniform(*self.limits))
        height, width = params["shape"][:2]
        return {"size": (max(1, round(width * root)), max(1, round(height / root)))}

    def apply(self, img: np.ndarray, size: tuple[int, int], **params: object) -> np.ndarray:
        return cv2.resize(img, size, interpolation=cv2.INTER_LINEAR)

    def apply_to_mask(self, mask: np.ndarray, size: tuple[int, int], **params: object) -> np.ndarray:
        return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def random_streams(key: tuple[int, ...]) -> tuple[np.random.Generator, random.Random]:
    """Return the two generators of a sample; different keys have independent streams."""
    numbers = np.random.default_rng(key)
    return numbers, random.Random(int(numbers.integers(2**63)))


def swap_labels(mask: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return a mask uint8, of any shape, with the labels of each pair exchanged."""
    if not pairs:
        return mask
    table = np.arange(256, dtype=np.uint8)
    for a, b in pairs:
        table[[a, b]] = b, a
    return table[mask]


def as_worker(worker: int) -> None:
    """Make a process a loader's worker: of one thread, because the workers are the parallelism, and deaf to signals."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    leave_signals_to_the_parent()


def _around(value: float, name: str) -> tuple[float, float]:
    return (-value, value) if name == "hue" else (1 - value, 1 + value)


def _require(name: str, value: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"data.transform.{name}={value} is out of range; give {wanted}")
