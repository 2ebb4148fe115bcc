"""All there is to see of one pixel, as pictures: the page's work, without a page."""

from typing import NamedTuple

import torch

from contextseg import viz
from contextseg.explain.context_maps import context_maps, inside_maps
from contextseg.explain.pictures import context_tiles, inside_picture, mark
from contextseg.segmenter import Segmenter
from contextseg.viz import Picture


class Inspection(NamedTuple):
    """What a network says of a pixel. Pictures by name, uint8 (H', W', 3)."""

    predicted: str  # the class of the pixel
    context: dict[str, Picture]  # image, prediction and each context map, the pixel marked; the colours of the classes
    inside: dict[str, Picture]  # what the head shows of its inside; empty for many heads


def inspect(network: Segmenter, image: Picture, point: tuple[int, int]) -> Inspection:
    """Image uint8 (H, W, 3) and a pixel (x, y) of it -> what the network predicts there, and why, in pictures.

    Raises `ConfigError` if the pixel lies outside the image, or if the head needs the ground truth.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    maps = context_maps(network, pixels, point)
    labels = network.predict(pixels).cpu().numpy()
    tiles = context_tiles(image, labels, maps, network.classes)
    context = {name: mark(viz.enlarge(tile), point, image.shape) for name, tile in tiles.items()}
    inside = inside_maps(network, pixels)
    return Inspection(
        network.classes.names[labels[point[1], point[0]]],
        context | {"classes": viz.legend(network.classes)},
        {name: inside_picture({name: values}, network.classes) for name, values in inside.items()},
    )
