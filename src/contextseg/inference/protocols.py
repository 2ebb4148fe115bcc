"""Prediction by several protocols at once: views that they share pass the networks once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from contextseg.inference.predictor import Networks, Predictor


class Remembered:
    """Ask networks for the logits of views uint8 (B, 3, H, W), and keep the answers: an equal view is not asked again.

    Equal means in memory format too, by which the last bit of a logit may differ.
    """

    def __init__(self, networks: Networks):
        self.networks = networks
        self.known: list[tuple[Tensor, Sequence[Tensor]]] = []

    def __call__(self, view: Tensor) -> Sequence[Tensor]:
        for seen, logits in self.known:
            if seen.shape == view.shape and seen.stride() == view.stride() and torch.equal(seen, view):
                return logits
        self.known.append((view, self.networks(view)))
        return self.known[-1][1]


def by_each(
    predictors: Sequence[Predictor], networks: Networks, image: Tensor, size: Sequence[int]
) -> list[list[Tensor]]:
    """Label a batch by each predictor and network: image uint8 (B, 3, H, W) -> of each, uint8 (B, *size), as if alone.

    The logits of all views of one image are kept. A predictor that takes a batch at once shares views only if the
    batch is one image: in a larger one, the last bit of a logit may differ.
    """
    found = {one: one.together(networks, image, size) for one in predictors if one.batched and len(image) > 1}
    others = [one for one in predictors if one not in found]
    parts: list[list[list[Tensor]]] = [[] for _ in others]  # of each predictor, image and network
    for single in image.split(1):
        ask = Remembered(networks)
        for part, predictor in zip(parts, others, strict=True):
            part.append(predictor.together(ask, single, size))
    for predictor, part in zip(others, parts, strict=True):
        found[predictor] = [torch.cat(labels) for labels in zip(*part, strict=True)]
    return [found[one] for one in predictors]
