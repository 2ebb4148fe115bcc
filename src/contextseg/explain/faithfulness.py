"""Faithfulness: whether the score of a pixel comes from the places that a map names.

Source: the deletion and insertion curves of Petsiuk, Das, Saenko: RISE (BMVC 2018), here for the class of one pixel, in
patches, and with the pixel's own surroundings always seen, because the question is where its context came from.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from contextseg.errors import ConfigError
from contextseg.explain.look import Look
from contextseg.explain.masking import Instead, Patches, instead, masked, orders, steps
from contextseg.typed import Count, Natural


class Curves(NamedTuple):
    """Hold the probability in percent of the class of a pixel at each step, float (steps + 1,).

    deletion   the first places of the order are masked, more at each step
    insertion  only they are seen
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """Ask how faithful the maps of a pixel are.

    steps    masked shares: 0, 1/steps, ..., 1
    patch    side in pixels of what is masked together
    spare    pixels around the pixel that stay (`masking.Patches`)
    masking  what takes the place of masked pixels (`masking.instead`)
    batch    masked copies in one pass
    """

    steps: Annotated[int, Ge(2)] = 8
    patch: Count = 16
    spare: Natural = 16
    masking: Instead = "mean"
    batch: Count = 4

    @property
    def most(self) -> int:
        """How many copies of an image are predicted for a pixel, at most: fewer where orders agree."""
        return 2 + 4 * 2 * (self.steps - 1)

    def curves(self, look: Look, point: tuple[int, int], seed: int) -> dict[str, Curves]:
        """Mask the image of `look` for its pixel `point` (x, y) in several orders.

        The orders: "attention", by the head's first map, if it has one; "gradient"; "nearest"; "random", by `seed`. The
        class is the one predicted at the pixel. Raises `ConfigError` if the pixel lies outside the image, and if
        `spare` leaves nothing to be masked.
        """
        seen, place, (rows, columns) = look.find(point)
        image = look.canvas[0, :, rows, columns]
        pixel = point[1] - rows.start, point[0] - columns.start
        patches = Patches((image.shape[-2], image.shape[-1]), self.patch, pixel, self.spare)
        if not len(patches.free()):
            raise ConfigError(f"spare={self.spare} with patch={self.patch}: nothing of the image is left to be masked")
        maps = dict(zip(["attention"], look.context(point).maps.values(), strict=False)) | look.gradient(point).maps
        marks = {name: steps(order, patches, self.steps) for name, order in orders(patches, maps, seed).items()}
        every, where = torch.cat([mark for pair in marks.values() for mark in pair]).unique(dim=0, return_inverse=True)
        predicted = int(seen.logits[0, :, *place].argmax())
        other = instead(image, self.masking, self.patch)
        found = torch.cat(
            [
                self.scores(look, masked(image, other, patches.pixels(part)), place, predicted)
                for part in every.split(self.batch)
            ]
        )
        scores = found[where].view(len(marks), 2, self.steps + 1).double().numpy()
        return {name: Curves(*pair) for name, pair in zip(marks, scores, strict=True)}

    def scores(self, look: Look, batch: Tensor, place: tuple[int, int], predicted: int) -> Tensor:
        """Predict images uint8 (B, 3, H, W): the percentage of a class at a place of the logits, float32 (B,)."""
        with look.lock, torch.no_grad():
            logits = look.network.logits(batch)[:, :, *place]
        return 100 * logits.float().softmax(1)[:, predicted].cpu()


def area(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean height of curves (..., steps + 1) by the trapezoid rule: low in deletion, high in insertion."""
    return (curve[..., 1:] + curve[..., :-1]).mean(-1) / 2


def sampled(truth: NDArray[np.uint8] | None, size: tuple[int, int], count: int, seed: int) -> list[tuple[int, int]]:
    """Draw pixels (x, y) of an image of `size` (H, W): a class of the truth (H, W), then a pixel of it, and so on.

    So rare classes are asked as often as common ones. Without a truth, or a label in it, all pixels are equally likely.
    A pixel may be drawn twice.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8) if truth is None or (truth == 255).all() else truth
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels) if label != 255]
    places = [int(rng.choice(by_class[rng.integers(len(by_class))])) for _ in range(count)]
    return [(place % size[1], place // size[1]) for place in places]
