"""Zoom, rotation and crop of a training sample as one warp of the image and one of its labels."""

from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np


class OneWarp(A.DualTransform):
    """Do what a chain of resizing, rotating and, at its end, cropping steps does, but resample the pixels once.

    steps  of albumentations; each draws its numbers as in a chain, in the same order, so the streams of samples and
           the places of crops are those of the chain
    fill   RGB of pixels outside the image; their label is `label`

    An image comes out as by the chain up to rounding, and sharper where that rotates, which samples it twice. Labels
    are taken at the centres of pixels, where the image is; a chain's nearest resize shifts them by up to half a pixel.
    """

    def __init__(self, steps: Sequence[A.BasicTransform], fill: Sequence[int], label: int):
        super().__init__(p=1)
        self.steps, self.colour, self.label = list(steps), tuple(fill), label

    def set_random_state(self, random_generator: np.random.Generator, py_random: object) -> None:
        super().set_random_state(random_generator, py_random)
        for step in self.steps:
            step.set_random_state(random_generator, py_random)

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw, and return the matrix result -> image (2, 3), whether it rotates, and the part of the result shown."""
        size, forth, rotated = params["shape"][:2], np.eye(3), False
        for step in self.steps:
            if isinstance(step, A.OneOf):
                self.py_random.random()  # a chain asks here whether to choose at all
                step = step.transforms[self.random_generator.choice(len(step.transforms), p=step.transforms_ps)]
            drawn = step.get_params() | step.get_params_dependent_on_data({"shape": (*size, 3)}, {})
            if isinstance(step, A.Rotate):
                forth, rotated = drawn["matrix"] @ forth, True
            elif isinstance(step, A.RandomCrop):
                return self._crop(step, drawn, size, forth) | {"rotated": rotated}
            else:
                new = _resized(step, drawn, size)
                forth, size = _zoom(size, new) @ forth, new
        raise ValueError("the last step of one warp crops")

    def _crop(self, step: A.RandomCrop, drawn: dict, size: tuple[int, int], forth: np.ndarray) -> dict:
        pad, (left, top, _, _) = drawn["pad_params"] or {}, drawn["crop_coords"]
        x, y = pad.get("pad_left", 0) - left, pad.get("pad_top", 0) - top  # of the image's corner in the result
        shift = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        shown = (slice(max(0, y), min(step.height, y + size[0])), slice(max(0, x), min(step.width, x + size[1])))
        return {"back": np.linalg.inv(shift @ forth)[:2], "shown": shown, "size": (step.height, step.width)}

    def apply(self, img: np.ndarray, back: np.ndarray, **drawn: Any) -> np.ndarray:
        return _warped(img, back, cv2.INTER_LINEAR, self.colour, drawn)

    def apply_to_mask(self, mask: np.ndarray, back: np.ndarray, **drawn: Any) -> np.ndarray:
        return _warped(mask, back, cv2.INTER_NEAREST, self.label, drawn)


def _resized(step: A.BasicTransform, drawn: dict, size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) to which a step resizes."""
    if isinstance(step, A.Resize):
        return step.height, step.width
    if isinstance(step, A.SmallestMaxSize | A.LongestMaxSize):
        return max(1, round(size[0] * drawn["scale"])), max(1, round(size[1] * drawn["scale"]))
    if isinstance(step, A.RandomScale):
        return int(size[0] * drawn["scale"]), int(size[1] * drawn["scale"])
    return drawn["size"][::-1]


def _zoom(old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Return the matrix (3, 3) by which pixel centres move when an image is resized."""
    down, across = new[0] / old[0], new[1] / old[1]
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])


def _warped(pixels: np.ndarray, back: np.ndarray, interpolation: int, fill: Any, drawn: dict) -> np.ndarray:
    """Warp an image (H, W, 3) or mask (H, W) by `back`: result -> image."""
    rotated, (rows, columns), size = drawn["rotated"], drawn["shown"], drawn["size"]
    border = cv2.BORDER_CONSTANT if rotated else cv2.BORDER_REPLICATE  # a resize repeats the outermost pixels
    found = cv2.warpAffine(
        pixels, back, size[::-1], flags=interpolation | cv2.WARP_INVERSE_MAP, borderMode=border, borderValue=fill
    )
    for outside in (slice(None, rows.start), slice(rows.stop, None)):
        found[outside] = fill
    for outside in (slice(None, columns.start), slice(columns.stop, None)):
        found[:, outside] = fill
    return found
