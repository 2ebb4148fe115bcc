"""Fingerprints of images, which show that an image to be scored was in the training split."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from contextseg.data.pixels import one_colour
from contextseg.data.source import Source


def fingerprints(source: Source) -> Tensor:
    """Return 8 bytes for the content of each image of a split: uint8 (N, 8)."""
    with ThreadPoolExecutor(32) as pool:  # threads mostly wait for the disk
        codes = "".join(pool.map(source.fingerprint, range(len(source))))
    return torch.tensor(list(bytes.fromhex(codes)), dtype=torch.uint8).view(-1, 8)


def seen_before(known: Tensor, source: Source) -> int:
    """Count the images of a split whose fingerprints are among `known` (N, 8), without those of a single colour."""
    rows = {row.tobytes() for row in known.numpy()}
    found = [index for index, row in enumerate(fingerprints(source).numpy()) if row.tobytes() in rows]
    with ThreadPoolExecutor() as pool:
        return sum(not blank for blank in pool.map(lambda index: one_colour(source.load(index)[0]), found))
