"""The base of the factors of `context_scenes_hard`."""

from typing import ClassVar

import numpy as np

from contextseg.errors import ConfigError

MIN_SIDE = 96  # pixels of the smallest image, in which the cues of every factor must fit


class Factor:
    """Draw scenes in which context decides in one way, aimed at one mechanism of the papers.

    A subclass names the classes that it `paints`, in order, and those of them that are too `thin` to lose their border.
    It takes its settings by keyword and writes `draw`.
    """

    paints: ClassVar[tuple[str, ...]]
    thin: ClassVar[tuple[str, ...]] = ()

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw image float32 (size, size, 3) RGB and mask uint8 (size, size) of positions in `paints`.

        `flip` flips the cues: the random numbers are the same, only the cues and the labels that follow from them
        change.
        """
        raise NotImplementedError

    def require(self, holds: bool, wanted: str) -> None:
        """Raise `ConfigError` with the settings and the `wanted` ones, unless `holds`."""
        if not holds:
            option = f"data.factors.{type(self).__module__.rpartition('.')[2]}"  # the name of its file
            settings = ", ".join(f"{name}={value}" for name, value in sorted(vars(self).items()))
            raise ConfigError(f"{option} ({settings}) makes no scene; give {wanted}")

    def __repr__(self) -> str:
        """Return name and settings, which decide the scenes together with seed and index."""
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in sorted(vars(self).items()))})"
