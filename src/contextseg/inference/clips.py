"""What a network for clips is shown of a video: the clip around each of its frames, which are a stream or files."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from contextseg.data.neighbours import around
from contextseg.data.pixels import SUFFIXES, Reading, read_image
from contextseg.errors import ConfigError


def sliding(frames: Iterable[np.ndarray], count: int, step: int = 1) -> Iterator[np.ndarray]:
    """Yield the clip uint8 (count, H, W, 3) around each frame (H, W, 3); with `count` 1 the frames as they are.

    The frames of a clip are `step` apart; beyond the ends of the video the end frame is repeated. About `count * step`
    frames are held.
    """
    if count == 1:
        yield from frames
        return
    held: deque[np.ndarray] = deque()  # from frame number `first` on
    first, at, last = 0, 0, -1
    ahead, behind = step * (count - 1 - count // 2), step * (count // 2)

    def clip() -> np.ndarray:
        wanted = (at + step * t - behind for t in range(count))
        return np.stack([held[min(max(one, 0), last) - first] for one in wanted])

    for frame in frames:
        held.append(frame)
        last += 1
        if last - at == ahead:
            yield clip()
            at += 1
            if first < at - behind:
                held.popleft()
                first += 1
    while at <= last:
        yield clip()
        at += 1


class FileClips:
    """Read image files (H, W, 3), or for a network that takes `frames` > 1 the clips (T, H, W, 3) around them.

    The frames of a video are files of one folder whose names are a sequence and a number, as in 0001TP_006690, `step`
    apart.
    """

    def __init__(self, files: Sequence[Path], reading: Reading, frames: int, step: int = 1):
        clips = around([str(file.with_suffix("")) for file in files], frames, step)
        self.clips = {file: [files[index] for index in clip] for file, clip in zip(files, clips, strict=True)}
        self.read = lru_cache(2 * frames * step if frames > 1 else 0)(lambda file: read_image(file, reading))

    def __call__(self, file: Path) -> np.ndarray:
        """Read what is shown of a file. Raises `ConfigError` if one cannot be read, or the sizes of frames differ."""
        frames = [self.read(one) for one in self.clips[file]]
        if len({frame.shape for frame in frames}) > 1:
            raise ConfigError(f"{file}: the frames around it have other sizes; give the frames of a video one size")
        return np.stack(frames) if len(frames) > 1 else frames[0]

    def alone(self) -> int:
        """Count the files without another frame of their video."""
        return sum(len({*clip}) == 1 for clip in self.clips.values())


def beside(file: Path) -> list[Path]:
    """Return the pictures in the folder of a file, itself among them."""
    return sorted({file, *(other for other in file.parent.iterdir() if other.suffix.lower() in SUFFIXES)})
