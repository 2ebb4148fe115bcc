"""Readers of mask files: pictures of indices or colours, and label maps in .mat files. They return train ids."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from contextseg.contract import IGNORE_INDEX
from contextseg.data.pixels import AS_STORED, File, Reading, read_mask
from contextseg.data.source import counted
from contextseg.errors import ConfigError
from contextseg.folders import refuse_irregular


class Indices:
    """Read masks of one index per pixel (mode 1, L or P; the colours of a palette do not matter).

    `relabel` maps raw labels to train ids (11 -> 255 for CamVid). A label that it does not name stays as it is; with
    `strict` it is an error, unless it is 255. `wanted` describes the right masks in error messages. `reading` has the
    limit of size.
    """

    def __init__(
        self,
        relabel: Mapping[int, int] | None = None,
        *,
        strict: bool = False,
        wanted: str | None = None,
        reading: Reading = AS_STORED,
    ):
        relabel = dict(relabel or {})
        self.wanted, self.reading = wanted, reading
        self.table = np.arange(256, dtype=np.uint8)
        self.table[list(relabel)] = list(relabel.values())
        self.known = np.isin(np.arange(256), [*relabel, IGNORE_INDEX]) if strict else np.ones(256, bool)

    def __call__(self, path: File) -> np.ndarray:
        """Read train ids, uint8 (H, W). Raises `ConfigError` for a damaged file, for colours and unknown labels."""
        mask = read_mask(path, self.reading)
        if mask.mode not in ("1", "L", "P"):
            way_out = "convert it, or use data=folder data.labels=colours for masks in the colours of the classes"
            raise ConfigError(
                f"{path} has mode {mask.mode}, but a mask holds one 8-bit index per pixel (mode L or P); "
                f"{self.wanted or way_out}"
            )
        if mask.format == "GIF" and mask.mode == "P":
            raise ConfigError(
                f"{path} is a GIF, and who writes one numbers the colours anew; write the mask as PNG from its source"
            )
        raw = np.array(mask).astype(np.uint8)
        if not self.known[raw].all():
            way_out = "name them under ids in the file of data.classes, or under ignore"
            raise ConfigError(
                f"{path}: labels {counted(raw[~self.known[raw]])} have no class; {self.wanted or way_out}"
            )
        return self.table[raw]


class Matlab:
    """Read label maps in .mat files: the variable `field`, or a part of one, as in "GTcls.Segmentation".

    `relabel` maps raw labels, of any size, to train ids; others are errors. `wanted` as in `Indices`.
    """

    def __init__(self, field: str, relabel: Mapping[int, int], *, wanted: str):
        self.field, self.wanted = field, wanted
        self.table = np.zeros(max(relabel) + 1, np.uint8)
        self.known = np.zeros(len(self.table), bool)
        self.table[list(relabel)] = list(relabel.values())
        self.known[list(relabel)] = True

    def __call__(self, path: File) -> np.ndarray:
        """Read train ids, uint8 (H, W). Raises `ConfigError` if the field cannot be read or holds unknown labels."""
        variable, *parts = self.field.split(".")
        try:
            if isinstance(path, Path):
                refuse_irregular(path)
            raw = loadmat(path, variable_names=[variable], simplify_cells=True)
            for part in (variable, *parts):
                raw = raw[part]
            raw = np.asarray(raw).astype(np.int64)
        except ConfigError:
            raise
        except Exception as error:  # SciPy may raise anything for a damaged file
            raise ConfigError(f"cannot read {self.field} in {path} ({error!r}); {self.wanted}") from error
        inside = (raw >= 0) & (raw < len(self.table))
        known = inside & self.known[np.where(inside, raw, 0)]
        if not known.all():
            raise ConfigError(f"{path}: labels {counted(raw[~known])} have no class; {self.wanted}")
        return self.table[raw]


class BySuffix:
    """Read a .mat file with `mat`, any other mask with `picture`."""

    def __init__(self, picture: Callable[[File], np.ndarray], mat: Callable[[File], np.ndarray]):
        self.picture, self.mat = picture, mat

    def __call__(self, path: Path) -> np.ndarray:
        """Read train ids, uint8 (H, W). Raises `ConfigError` as the reader does."""
        return (self.mat if path.suffix == ".mat" else self.picture)(path)


class Colours:
    """Read masks that show every class in its colour; `table` maps RGB to train ids, 255 for void.

    Other colours are errors; if `strict` is false, they are void. `reading` as in `Indices`.
    """

    def __init__(
        self,
        table: Mapping[tuple[int, int, int], int],
        *,
        strict: bool = True,
        reading: Reading = AS_STORED,
    ):
        self.strict, self.reading = strict, reading
        codes = _codes(np.array(list(table)))
        order = np.argsort(codes)
        self.codes, self.ids = codes[order], np.array(list(table.values()), np.uint8)[order]

    def __call__(self, path: Path) -> np.ndarray:
        """Read train ids, uint8 (H, W).

        Raises `ConfigError` if the file is damaged, has pixels that are transparent, or a colour of no class.
        """
        mask = read_mask(path, self.reading, shown=True)
        if mask.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA"):
            raise ConfigError(f"{path} has mode {mask.mode}, but a mask in colours is RGB of 8 bits; convert it")
        if mask.has_transparency_data and np.array(mask.convert("RGBA"))[..., 3].min() < 255:
            raise ConfigError(f"{path} has transparent pixels, which show no colour; save it without transparency")
        colours = np.array(mask.convert("RGB"))
        codes = _codes(colours)
        place = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        unknown = self.codes[place] != codes
        if self.strict and unknown.any():
            raise ConfigError(
                f"{path}: colours {counted(colours[unknown])} are of no class; add them to the palette in the file of "
                "data.classes, or to ignore (many of them: the mask was smoothed or saved as JPEG)"
            )
        return np.where(unknown, np.uint8(IGNORE_INDEX), self.ids[place])


def _codes(colours: np.ndarray) -> np.ndarray:
    """Turn RGB (..., 3) into a number for each colour (...)."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return (red << 16) + (green << 8) + blue
