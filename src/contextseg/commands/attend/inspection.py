"""Inspection of one pixel: its predicted class and pictures of its context."""

from typing import NamedTuple

import torch

from contextseg import viz
from contextseg.explain import context_maps, inside_maps, inside_picture
from contextseg.explain.draw_context import context_tiles, mark
from contextseg.segmenter import Segmenter
from contextseg.viz import Picture


class Inspection(NamedTuple):
    """The prediction of a network for a pixel, and pictures uint8 (H', W', 3) by caption."""

    predicted: str  # the class of the pixel
    context: dict[str, Picture]  # image, prediction and each context map, the pixel marked; the colours of the classes
    inside: dict[str, Picture]  # the head's inside; empty for many heads


def inspect(network: Segmenter, image: Picture, point: tuple[int, int]) -> Inspection:
    """Predict the class of the pixel `point` (x, y) of an image uint8 (H, W, 3), and draw its context.

    Raises `ConfigError` if the pixel lies outside the image, or if the head needs the ground truth.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    maps = context_maps(network, pixels, point)
    labels, classes = network.predict(pixels[None])[0].cpu().numpy(), network.named_classes
    tiles = context_tiles(image, labels, maps, point, classes)
    context = {text.replace("\n", ", "): mark(viz.enlarge(tile), point, image.shape) for text, tile in tiles.items()}
    return Inspection(
        classes.names[labels[point[1], point[0]]],
        context | {"classes": viz.legend(classes)},
        {name: inside_picture({name: shown}, classes) for name, shown in inside_maps(network, pixels).items()},
    )
