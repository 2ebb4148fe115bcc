"""From a mask file to train ids: masks hold one index per pixel, or one colour per pixel."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from contextseg.contract import IGNORE_INDEX, ConfigError
from contextseg.data.source import counted, decoded


class Indices:
    """Reads masks of one index per pixel (mode 1, L or P; what colours a palette has does not matter).

    `relabel` maps raw labels to train ids (11 -> 255 for CamVid). A label that it does not name stays as it is; with
    `strict` it is an error, unless it is 255.
    """

    def __init__(self, relabel: Mapping[int, int] | None = None, *, strict: bool = False):
        relabel = dict(relabel or {})
        self.table = np.arange(256, dtype=np.uint8)
        self.table[list(relabel)] = list(relabel.values())
        self.known = np.isin(np.arange(256), [*relabel, IGNORE_INDEX]) if strict else np.ones(256, bool)

    def __call__(self, path: Path) -> np.ndarray:
        """Train ids, uint8 (H, W). Raises `ConfigError` if the file is damaged, or holds colours or unknown labels."""
        mask = decoded(path)
        if mask.mode not in ("1", "L", "P"):
            raise ConfigError(
                f"{path} has mode {mask.mode}, but a mask holds one 8-bit index per pixel (mode L or P); convert it, "
                "or use data=folder data.labels=colours for masks in the colours of the classes"
            )
        raw = np.array(mask).astype(np.uint8)
        if not self.known[raw].all():
            raise ConfigError(
                f"{path}: labels {counted(raw[~self.known[raw]])} have no class; name them under ids in the file "
                "of data.classes, or under ignore"
            )
        return self.table[raw]


class Colours:
    """Reads masks that show every class in its colour; `table` maps RGB to train ids, 255 for void."""

    def __init__(self, table: Mapping[tuple[int, int, int], int]):
        codes = _codes(np.array(list(table)))
        order = np.argsort(codes)
        self.codes, self.ids = codes[order], np.array(list(table.values()), np.uint8)[order]

    def __call__(self, path: Path) -> np.ndarray:
        """Train ids, uint8 (H, W). Raises `ConfigError` if the file is damaged or holds a colour of no class."""
        colours = np.array(decoded(path).convert("RGB"))
        codes = _codes(colours)
        place = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        unknown = self.codes[place] != codes
        if unknown.any():
            raise ConfigError(
                f"{path}: colours {counted(colours[unknown])} are of no class; add them to the palette in the file of "
                "data.classes, or to ignore (many of them: the mask was smoothed or saved as JPEG)"
            )
        return self.ids[place]


def _codes(colours: np.ndarray) -> np.ndarray:
    """RGB (..., 3) -> one number per colour (...)."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return (red << 16) + (green << 8) + blue
