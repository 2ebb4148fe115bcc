"""Videos and webcams: reading frames, writing a video of overlays."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from contextseg.errors import ConfigError

FORMATS = ("overlays", "labels")
FPS = 25.0  # frames per second if the source does not give them, as many webcams do not
log = logging.getLogger(__name__)


class Frames:
    """Read the frames of a video file, or of a webcam (its number); a context manager that closes it.

    fps    frames per second
    total  frames to come, None if unknown
    count  frames read so far
    Raises `ConfigError` if it cannot be opened.
    """

    def __init__(self, source: Path | int, limit: int | None = None):
        webcam = isinstance(source, int)
        self.name = f"webcam:{source}" if webcam else str(source)
        self.capture = cv2.VideoCapture(source if webcam else str(source))
        if not self.capture.isOpened():
            way = "is it plugged in and free?" if webcam else "is it a whole video?"
            raise ConfigError(f"cannot open {self.name}; {way}")
        fps = self.capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else FPS
        count = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.counted = count > 0 and not webcam
        self.total = min(count, limit or count) if self.counted else limit
        self.limit, self.count = limit, 0

    def __enter__(self) -> "Frames":
        return self

    def __exit__(self, *error) -> None:
        self.capture.release()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames uint8 (H, W, 3) RGB."""
        while self.limit is None or self.count < self.limit:
            there, frame = self.capture.read()
            if not there:
                return
            self.count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def check_some(self) -> None:
        """Raise `ConfigError` if there was no frame at all."""
        if self.count == 0:
            raise ConfigError(f"{self.name}: there is no frame that can be read")

    def check_whole(self) -> None:
        """Raise `ConfigError` if a file broke off well before its declared number of frames, which is an estimate."""
        if self.counted and self.total and self.count < 0.9 * self.total:
            raise ConfigError(f"{self.name} breaks off after {self.count} of {self.total} frames; these are labelled")


class OverlayVideo:
    """Write an MPEG-4 video, opened at its first frame. Odd sides get one more pixel: the format needs even ones."""

    def __init__(self, path: Path, fps: float):
        self.path, self.fps = path, fps
        self.writer: cv2.VideoWriter | None = None

    def write(self, frame: np.ndarray) -> None:
        """Write a frame uint8 (H, W, 3) RGB."""
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self.writer is None:
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.path), code, self.fps, (even.shape[1], even.shape[0]))
            if not self.writer.isOpened():
                raise ConfigError(f"cannot write {self.path}: OpenCV was built without MPEG-4")
        self.writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.release()


@contextmanager
def until_stopped(name: str, stoppable: bool) -> Iterator[None]:
    """Let Ctrl-C end the block without an error if it is `stoppable`, as a webcam is."""
    try:
        yield
    except KeyboardInterrupt:
        if not stoppable:
            raise
        log.info("%s: stopped", name)
