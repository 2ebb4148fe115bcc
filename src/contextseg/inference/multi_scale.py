"""Prediction at several scales: the scores of resized and mirrored views of an image, averaged."""

import copy
import math
import zlib
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import MinLen
from torch import Tensor

from contextseg.errors import ConfigError
from contextseg.inference.predictor import Network, Predictor
from contextseg.inference.views import WholeView, WindowView
from contextseg.inference.whole import WholeImage
from contextseg.layers.resize import resize
from contextseg.layers.softmax import softmax_
from contextseg.typed import Colour, Count, Natural, Positive

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
Size = tuple[int, int]  # height, width


class MultiScale(Predictor):
    """Average the scores of an image at several sizes, also of its mirror images, at the size of the labels.

    inner      predicts each view; null: the whole image at once
    scales     factors of the size, each above 0; a scale of 1 is the image itself, not resized
    flip       each view also mirrored; classes that a mirror image exchanges are exchanged back (`flip_pairs`)
    base_size  null: a scale is a factor of the image's own size; a number: of a size at which the side `base_side` has
               that many pixels
    base_side  of `base_size`: "long" (PyTorch-Encoding), "short", or "both", which stretches to a square (LIP)
    scores     "softmax": the probabilities of all views are averaged; "exp": exp(logit + logit of the mirror image) is
               averaged over windows and scales (PyTorch-Encoding), so confident views weigh more; "logits": the logits
               are averaged (released codes of OCR and CCNet)

    A view is resized bilinearly, as scores are (`align_corners`), without anti-aliasing, and rounded to uint8. Raises
    `ConfigError` for a value outside these ranges.
    """

    def __init__(
        self,
        inner: Predictor | None = None,
        scales: Annotated[Sequence[Positive], MinLen(1)] = SCALES,
        flip: bool = False,
        base_size: Count | None = None,
        base_side: Literal["long", "short", "both"] = "long",
        scores: Literal["softmax", "exp", "logits"] = "softmax",
    ):
        if not scales or min(scales) <= 0:
            raise ConfigError(f"eval.predictor.scales={list(scales)}: give factors above 0, such as [0.5,1]")
        if base_side not in ("long", "short", "both"):
            raise ConfigError(f"eval.predictor.base_side={base_side}: choose long, short or both")
        if scores not in ("softmax", "exp", "logits"):
            raise ConfigError(f"eval.predictor.scores={scores}: choose softmax, exp or logits")
        self.inner = inner or WholeImage()
        self.scales, self.flip = tuple(scales), flip
        self.base_size, self.base_side, self.scores = base_size, base_side, scores

    def within(self, window: tuple[int, int] | None) -> Predictor:
        same = copy.copy(self)
        same.inner = self.inner.within(window)
        return same

    def filling(self, colour: Colour) -> Predictor:
        same = copy.copy(self)
        same.inner = self.inner.filling(colour)
        return same

    def score(self, logits: Tensor) -> Tensor:
        if self.scores == "logits":
            return logits
        return softmax_(logits) if self.scores == "softmax" else logits.clamp_(max=80).exp_()  # beyond: inf in float32

    def normalised(self, scores: Tensor) -> Tensor:
        return scores.softmax(1) if self.scores == "logits" else super().normalised(scores)

    def views(self, network: Network, image: Tensor) -> list[WholeView | WindowView]:
        views: list[WholeView | WindowView] = []
        for size, mirror in self.plan(image):
            views += self.inner.views(self._seen(network, mirror), resized_image(image, size, self.align_corners))
        return views

    def plan(self, image: Tensor) -> list[tuple[Size, tuple[bool, ...]]]:
        """Return the views of an image (1, 3, H, W): each size, and mirrored or not; logits of both are added."""
        sizes = [self.size_at(scale, image.shape[-2:]) for scale in self.scales]
        mirrors = (False, True) if self.flip else (False,)
        if self.scores == "exp":
            return [(size, mirrors) for size in sizes]
        return [(size, (mirror,)) for size in sizes for mirror in mirrors]

    def size_at(self, scale: float, size: Sequence[int]) -> Size:
        """Return height and width in pixels of a view of an image of `size`, each at least 1."""
        height, width = size
        if self.base_size is None:
            return nearest(height * scale), nearest(width * scale)
        target = math.ceil(self.base_size * scale)
        if self.base_side == "both":
            return target, target
        base = max(size) if self.base_side == "long" else min(size)
        return nearest(height * target / base), nearest(width * target / base)

    def _seen(self, network: Network, mirrors: Sequence[bool]) -> Network:
        """Return the network on an image, on its mirror image, or on both with their logits added."""
        mirrored = self._mirrored(network)
        if len(mirrors) == 1:
            return mirrored if mirrors[0] else network
        return lambda image: network(image).float() + mirrored(image).float()

    def _mirrored(self, network: Network) -> Network:
        def look(image: Tensor) -> Tensor:
            logits = network(image.flip(-1)).flip(-1)
            order = list(range(logits.shape[1]))
            for one, other in self.flip_pairs:
                order[one], order[other] = other, one
            return logits[:, order] if self.flip_pairs else logits

        return look


class RandomScales(MultiScale):
    """Average views with scales and flips sampled at random (AGLN, Section IV-A.4: uniform in [0.5, 2]).

    inner  predicts each view; null: the whole image at once
    draws  number of views; the paper gives none
    scale  least and largest
    flip   each view is mirrored with probability 1/2
    seed   of the sample, which depends on it and on the pixels of the image alone, not on batch or process
    """

    def __init__(
        self,
        inner: Predictor | None = None,
        draws: Count = 6,
        scale: tuple[Positive, Positive] = (0.5, 2.0),
        flip: bool = True,
        seed: Natural = 0,
    ):
        if not 0 < scale[0] <= scale[1]:
            raise ConfigError(f"eval.predictor.scale={list(scale)}: give [from, to], above 0 and in order")
        super().__init__(inner, flip=flip)
        self.draws, self.scale, self.seed = draws, (scale[0], scale[1]), seed

    def plan(self, image: Tensor) -> list[tuple[Size, tuple[bool, ...]]]:
        draw = np.random.default_rng([self.seed, zlib.crc32(image.cpu().contiguous().numpy().data)])
        scales, mirrors = draw.uniform(*self.scale, self.draws), draw.random(self.draws) < 0.5
        return [
            (self.size_at(scale, image.shape[-2:]), (bool(mirror and self.flip),))
            for scale, mirror in zip(scales.tolist(), mirrors, strict=True)
        ]


def nearest(length: float) -> int:
    """Round a length to whole pixels, at least 1."""
    return max(1, math.floor(length + 0.5))


def resized_image(image: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Resize images uint8 (..., 3, H, W) -> uint8 (..., 3, *size): bilinear, rounded to the nearest grey level."""
    if image.shape[-2:] == torch.Size(size):
        return image
    planes = image.flatten(0, -4).split(1, 1)  # one by one: in float32 they are large
    found = torch.cat([resize(plane.float(), size, align_corners).round_().to(torch.uint8) for plane in planes], 1)
    return found.view(*image.shape[:-2], *size)
