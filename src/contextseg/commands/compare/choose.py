"""The images of a comparison that are pictured."""

from typing import NamedTuple

import numpy as np

from contextseg.commands.compare.predictions import Predictions


class Confused(NamedTuple):
    """Two classes that are confused: pixels of `truth` labelled `prediction`, by network, and where one has most."""

    truth: int
    prediction: int
    pixels: list[int]
    network: int
    image: int


def gains(found: Predictions, other: int, count: int) -> list[int]:
    """Choose the images where another network gains most to the first, in the share of pixels, losses subtracted."""
    return largest(net(found, other), count)


def losses(found: Predictions, other: int, count: int) -> list[int]:
    """Choose the images where it loses most, gains subtracted."""
    return largest(-net(found, other), count)


def net(found: Predictions, other: int) -> np.ndarray:
    """Return the share of pixels of every image (N,) that another network gains, less those that it loses, percent."""
    gained, lost = found.changed(other).T
    return 100 * (gained - lost) / np.maximum(found.pixels, 1)


def largest(values: np.ndarray, count: int) -> list[int]:
    """Return the places of the largest values above 0, at most `count`."""
    return [place for place in np.argsort(-values, kind="stable")[:count].tolist() if values[place] > 0]


def extremes(found: Predictions, network: int, count: int) -> tuple[list[int], list[int]]:
    """Choose the worst and the best images of a network by their mIoU; none is both."""
    order = [place for place in np.argsort(found.miou(network), kind="stable").tolist() if found.pixels[place]]
    some = min(count, len(order) // 2)
    return order[:some], order[len(order) - some :][::-1]


def confused(found: Predictions, count: int) -> list[Confused]:
    """Choose the pairs of classes that are confused most by some network, and an image for each."""
    cells = np.stack([counts.confusion for counts in found.counts])  # (networks, K, K)
    cells[:, range(found.num_classes), range(found.num_classes)] = 0
    chosen = []
    for place in np.argsort(-cells.max(0), axis=None, kind="stable")[:count].tolist():
        truth, prediction = divmod(place, found.num_classes)
        pixels = cells[:, truth, prediction]
        network = int(pixels.argmax())
        if pixels.any():
            image, of_truth, said, number = found.counts[network].cells.T
            here = (of_truth == truth) & (said == prediction)
            chosen.append(
                Confused(truth, prediction, pixels.tolist(), network, int(image[here][number[here].argmax()]))
            )
    return chosen
