"""The frames around a frame, by the names of all: sequence and number, as in 0001TP_006690."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from contextseg.statistics.sequences import JOINT, numbered

MAX_GAP = 31  # numbers between two frames that still follow each other: CamVid's labelled ones are 30 apart


def around(names: Sequence[str], frames: int, step: int = 1, walls: Collection[str] = ()) -> list[list[int]]:
    """Find the clip around each frame: the indices of `frames` names in order, `step` names apart.

    It stays among frames of one sequence whose numbers follow each other by at most `MAX_GAP`, and on this side of a
    wall, which is the name of a frame of another split; at an end it repeats the last frame. A frame without a number
    is alone.
    """
    clips: dict[int, list[int]] = {}
    barred = defaultdict(list)
    for sequence, number in map(place, walls):
        barred[sequence].append(number)
    for run in runs(names, barred):
        for at, index in enumerate(run):
            wanted = (at + step * (t - frames // 2) for t in range(frames))
            clips[index] = [run[min(max(one, 0), len(run) - 1)] for one in wanted]
    return [clips[index] for index in range(len(names))]


def runs(names: Sequence[str], barred: dict[str, list[int]]) -> list[list[int]]:
    """Split frames into runs that a clip may cross: their indices in order."""
    found: list[list[int]] = []
    before, walls = ("", 0), np.zeros(0, int)
    for (sequence, number), index in sorted((place(name), index) for index, name in enumerate(names)):
        if not found or sequence != before[0]:
            walls = np.array(barred.get(sequence, []))
            apart = True
        else:
            apart = number - before[1] > MAX_GAP or bool(((before[1] <= walls) & (walls <= number)).any())
        if apart:
            found.append([])
        found[-1].append(index)
        before = sequence, number
    return found


def place(name: str) -> tuple[str, int]:
    """Return sequence and number of a frame; Seq05VD_f00030 and Seq05VD_00030 are the same."""
    sequence, number = numbered(name)
    return JOINT.sub("", sequence), number


def spacing(names: Sequence[str], clips: Sequence[Sequence[int]]) -> int:
    """Return how many numbers the frames of clips are apart, the median; 0 if no clip has different frames."""
    numbers = np.array([[place(names[index])[1] for index in clip] for clip in clips])
    steps = np.diff(numbers, axis=1)
    return int(np.median(steps[steps > 0])) if (steps > 0).any() else 0
