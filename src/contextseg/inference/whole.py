"""Prediction in one pass over the whole image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from contextseg.inference.predictor import Network, Networks, Predictor
from contextseg.inference.sliding import SlidingWindow
from contextseg.inference.views import WholeView
from contextseg.layers.argmax import argmax_resized
from contextseg.layers.resize import resize


class WholeImage(Predictor):
    """Predict in one pass over the whole image at its own size, a batch at a time: logits, resize, arg-max.

    A network that takes one size only gets windows of it.
    """

    batched = True

    def views(self, network: Network, image: Tensor) -> list[WholeView]:
        return [WholeView(network(image))]

    def within(self, window: tuple[int, int] | None) -> Predictor:
        return self if window is None else SlidingWindow(window, pad=True)

    @torch.no_grad()
    def probabilities(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        return resize(network(image).float(), size or image.shape[-2:], self.align_corners).softmax(1)

    @torch.no_grad()
    def __call__(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        return argmax_resized(network(image).float(), size or image.shape[-2:], self.align_corners)

    @torch.no_grad()
    def together(self, networks: Networks, image: Tensor, size: Sequence[int] | None = None) -> list[Tensor]:
        size = size or image.shape[-2:]
        return [argmax_resized(logits.float(), size, self.align_corners) for logits in networks(image)]
