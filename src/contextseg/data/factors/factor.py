"""What a factor of `context_scenes_hard` is."""

from typing import ClassVar

import numpy as np

from contextseg.errors import ConfigError

SMALLEST = 96  # side in pixels of the smallest image, in which the cues of every factor must fit


class Factor:
    """One way in which context decides: a kind of scene, aimed at one mechanism of the papers.

    A subclass says which classes it `paints`, in which order, and which of them are too `thin` to lose their border; it
    takes its settings by keyword and writes `draw`.
    """

    paints: ClassVar[tuple[str, ...]]
    thin: ClassVar[tuple[str, ...]] = ()

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Image float32 (size, size, 3) RGB, mask uint8 (size, size) of positions in `paints`.

        `flip` turns over what the cues say: the same random numbers are drawn, only cues are repainted, and the labels
        that follow from them change.
        """
        raise NotImplementedError

    def require(self, holds: bool, wanted: str) -> None:
        """Raise `ConfigError` with the settings and what is wanted, unless it holds."""
        if not holds:
            option = f"data.factors.{type(self).__module__.rpartition('.')[2]}"  # the name of its file
            settings = ", ".join(f"{name}={value}" for name, value in sorted(vars(self).items()))
            raise ConfigError(f"{option} ({settings}) makes no scene; give {wanted}")

    def __repr__(self) -> str:
        """Name and settings: what decides the scenes, beside seed and index."""
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in sorted(vars(self).items()))})"
