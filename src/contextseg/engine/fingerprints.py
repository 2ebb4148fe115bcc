"""Fingerprints of images, which show that an image to be scored was in the training split."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from contextseg.data.source import Source


def fingerprints(source: Source) -> Tensor:
    """Return 8 bytes for the content of each image of a split: uint8 (N, 8)."""
    with ThreadPoolExecutor(32) as pool:  # threads mostly wait for the disk
        codes = "".join(pool.map(source.fingerprint, range(len(source))))
    return torch.tensor(list(bytes.fromhex(codes)), dtype=torch.uint8).view(-1, 8)


def overlap(known: Tensor, asked: Tensor) -> int:
    """Count the rows of `asked` (M, 8) that are among those of `known` (N, 8)."""
    rows = {row.tobytes() for row in known.numpy()}
    return sum(row.tobytes() in rows for row in asked.numpy())
