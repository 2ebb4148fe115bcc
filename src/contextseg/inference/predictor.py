"""The base of the predictors: views of an image, combined in strips of rows."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from contextseg.errors import ConfigError
from contextseg.inference.views import WholeView, WindowView
from contextseg.layers.argmax import argmax
from contextseg.layers.softmax import softmax_
from contextseg.typed import Colour

Network = Callable[[Tensor], Tensor]
Networks = Callable[[Tensor], Sequence[Tensor]]  # several on one backbone: a view -> the logits of each
STRIP_SCORES = {"cpu": 2**18, "cuda": 2**26}  # in one strip: few enough for a cache, enough for a GPU


class Predictor:
    """Predict labels or probabilities of images: the base of the predictors.

    A subclass defines the `views` of an image that the network sees (the frames of a clip (B, T, 3, H, W) are treated
    alike); their scores are averaged at the size of the
    labels. `size` is the (height, width) of the result, by default that of the image. No gradient is recorded. The
    images of a batch are predicted one by one, so neither the result nor the memory depends on the batch.
    """

    batched = False  # a batch passes the network at once
    flip_pairs: Sequence[tuple[int, int]] = ()  # train ids that a mirror image exchanges; `engine.build` sets them
    align_corners: bool = False  # how scores are resized; that of the network (`Segmenter.align_corners`)

    def views(self, network: Network, image: Tensor) -> Sequence[WholeView | WindowView]:
        """Run the network on each view of an image uint8 (1, 3, H, W); the views and their order depend on it alone."""
        raise NotImplementedError

    def score(self, logits: Tensor) -> Tensor:
        """Turn logits (1, K, h, w), which may be overwritten, into the scores that are averaged."""
        return softmax_(logits)

    def normalised(self, scores: Tensor) -> Tensor:
        """Turn averaged scores (1, K, h, w) into probabilities."""
        return scores / scores.sum(1, keepdim=True)

    def within(self, window: tuple[int, int] | None) -> "Predictor":
        """Return the predictor for a network that takes images of `window` (height, width) only; None: of any size.

        Raises `ConfigError` if it cannot predict in such windows.
        """
        if window is None:
            return self
        raise ConfigError(f"{type(self).__name__} cannot predict in windows of {window[0]}x{window[1]} only")

    def filling(self, colour: Colour) -> "Predictor":
        """Return the predictor that fills borders with an RGB colour, unless it has one of its own."""
        return self

    @torch.no_grad()
    def probabilities(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Predict probabilities: image uint8 (B, 3, H, W) -> float32 (B, K, *size), classes sum to one."""
        maps = [torch.cat(list(self._strips(network, one, size)), 2) for one in image.split(1)]
        return torch.cat([self.normalised(scores) for scores in maps])

    @torch.no_grad()
    def __call__(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Predict labels: image uint8 (B, 3, H, W) -> uint8 (B, *size); the full (B, K, *size) map never exists."""
        maps = ([argmax(strip) for strip in self._strips(network, one, size)] for one in image.split(1))
        return torch.cat([torch.cat(strips, 1) for strips in maps])

    @torch.no_grad()
    def together(self, networks: Networks, image: Tensor, size: Sequence[int] | None = None) -> list[Tensor]:
        """Predict labels by several networks: image uint8 (B, 3, H, W) -> of each, uint8 (B, *size), as if alone.

        `networks` gets each view once. The logits of all views of one image are kept, at their own size.
        """
        found = [self._by_each(networks, one, size) for one in image.split(1)]
        return [torch.cat(labels) for labels in zip(*found, strict=True)]

    def _by_each(self, networks: Networks, image: Tensor, size: Sequence[int] | None) -> list[Tensor]:
        """Label one image (1, 3, H, W) by several networks: all are asked for the first one, then replayed."""
        said: list[Sequence[Tensor]] = []  # of each view, by each network

        def ask(view: Tensor) -> Tensor:
            said.append(networks(view))
            return said[-1][0]

        def replay(number: int) -> Network:
            views = iter(said)
            return lambda _: next(views)[number]

        first = self(ask, image, size)
        return [first, *(self(replay(number), image, size) for number in range(1, len(said[0])))]

    def _strips(self, network: Network, image: Tensor, size: Sequence[int] | None) -> Iterator[Tensor]:
        """Yield the mean of the scores of all views, a few rows at a time: (1, K, rows, W)."""
        size = tuple(size or image.shape[-2:])
        views = self.views(network, image)
        step = max(1, STRIP_SCORES.get(image.device.type, STRIP_SCORES["cuda"]) // (views[0].classes * size[1]))
        scores = [view.scores(size, self.score, self.align_corners) for view in views]
        for start in range(0, size[0], step):
            rows = slice(start, min(start + step, size[0]))
            total = scores[0](rows)
            for others in scores[1:]:
                total += others(rows)
            yield total.div_(len(views))
