"""The sources of generated scenes, which draw each when it is first read."""

from functools import partial

import numpy as np

from contextseg.data.source import Sample, Source, digest

SEEDS = {"train": 1, "val": 2, "test": 3}  # split -> seed


class Scenes(Source):
    """Draw `count` scenes by `draw(seed, index)`, each when it is first read, and keep them (uint8).

    `draw` is a partial; its keywords, seed and index determine a scene.
    """

    drawn = True

    def __init__(self, draw: partial, *, seed: int, count: int, num_classes: int):
        super().__init__(num_classes)
        self.draw, self.seed, self.count = draw, seed, count
        self.settings = repr(sorted(draw.keywords.items()))
        self._drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> Sample:
        if index not in self._drawn:
            self._drawn[index] = self.draw(self.seed, index)
        return *self._drawn[index], self.name(index)

    def name(self, index: int) -> str:
        return f"scene_{self.seed}_{index:05d}"

    def fingerprint(self, index: int) -> str:
        """Return a digest of what determines the scene, without drawing it."""
        return digest(f"({self.settings}, {self.seed}, {index})".encode())


class MiddleFrames(Scenes):
    """Give the middle frames of scenes whose `draw` returns frames (T, H, W, 3) and the mask of the middle one."""

    def load(self, index: int) -> Sample:
        frames, mask, name = super().load(index)
        return frames[len(frames) // 2], mask, name

    def frame(self, index: int, t: int) -> Sample:
        """Return a frame of a scene with the mask of its middle one."""
        frames, mask, name = super().load(index)
        return frames[t], mask, f"{name}_{t}"


class FramesOf(Source):
    """Give all frames of scenes, one scene after the other; their masks are those of the middle frames."""

    def __init__(self, scenes: MiddleFrames, frames: int):
        super().__init__(scenes.num_classes)
        self.scenes, self.each = scenes, frames

    def __len__(self) -> int:
        return len(self.scenes) * self.each

    def load(self, index: int) -> Sample:
        return self.scenes.frame(*divmod(index, self.each))
