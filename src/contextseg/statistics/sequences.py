"""Frames of videos: which sequence a frame belongs to, by its name, and the frames of each in order."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NUMBERED = re.compile(r"(.*?)(\d+)\D*", re.DOTALL)
JOINT = re.compile(
    r"[^A-Za-z0-9]+[A-Za-z]?$"
)  # between sequence and number: "_" in 0001TP_006690, "_f" in Seq05VD_f00000

Places = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def apart(size: int) -> Places:
    """Take every image for a sequence of its own; as `in_sequences`."""
    return np.arange(size), np.arange(size), np.ones(size, np.int64)


def in_sequences(names: Sequence[str]) -> Places:
    """Put frames in order, sequence after sequence.

    Returns for each place, int (N,): which image stands there, where its sequence begins, how many frames that has.
    """
    found = frames_of(names)
    order = np.array([index for frames in found.values() for index in frames])
    frames = np.array([len(frames) for frames in found.values()])
    return order, np.repeat(np.cumsum(frames) - frames, frames), np.repeat(frames, frames)


def frames_of(names: Sequence[str]) -> dict[str, list[int]]:
    """Find the sequences by the names of the frames: sequence, then number, as in 0001TP_006690.

    A name without a number is a sequence of its own. Returns the indices of the frames of each, by number.
    """
    found = defaultdict(list)
    for index, name in enumerate(names):
        sequence, frame = numbered(name)
        found[sequence].append((frame, index))
    return {sequence: [index for _, index in sorted(frames)] for sequence, frames in found.items()}


def numbered(name: str) -> tuple[str, int]:
    """Split the name of a frame into sequence and number; a name without a number is a sequence of its own."""
    match = NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def titles(sequences: Sequence[str]) -> list[str]:
    """Write the names of sequences without what joins them to the number: 0001TP, Seq05VD; "frames" for none.

    As they are if two would then be the same.
    """
    told = [JOINT.sub("", sequence) or "frames" for sequence in sequences]
    return told if len(set(told)) == len(told) else list(sequences)
