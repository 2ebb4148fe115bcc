"""Faults of a data set: those of single pairs, and those that only all pairs together show."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contextseg.contract import IGNORE_INDEX
from contextseg.data import depth, pixels
from contextseg.data.orientation import Turned
from contextseg.data.pixels import Unusable
from contextseg.data.source import FileSource, Source, digest
from contextseg.data.void import pixels_by_class
from contextseg.errors import ConfigError

ORIENTATION = "EXIF orientation"  # the kind of a fault
UNUSUAL_MODES = {  # mode of an image -> how it is read
    "1": "black and white; read as three equal channels",
    "L": "grey; read as three equal channels",
    "LA": "grey with transparency; read as three equal channels, transparency is dropped",
    "P transparent": "transparency is dropped",
    "L transparent": "transparency is dropped",
    "RGB transparent": "transparency is dropped",
    "RGBA": "transparency is dropped",
    "PA": "transparency is dropped",
    "CMYK": "CMYK; converted to RGB without its colour profile",
}


@dataclass
class Fault:
    """A fault of some files. An "error" prevents training, a "warning" does not."""

    level: str
    kind: str  # the same for faults of one sort
    text: str
    files: list[str]


@dataclass
class Seen:
    """The facts of one pair that was read; those that could not be read are None."""

    split: str
    image: str  # the file, or a name where there is none
    faults: list[Fault] = field(default_factory=list)
    size: tuple[int, int] | None = None  # width, height
    content: str | None = None  # digest of the pixels of the image; None for one of a single colour
    labels: str | None = None  # digest of the mask
    pixels: np.ndarray | None = None  # int64 (classes + 1): pixels of each class and of void
    values: depth.Found | None = None  # the range of an image of more than 8 bits
    histogram: np.ndarray | None = None  # int64 (256): of the grey levels of the image, all channels together

    def error(self, kind: str, text: object, file: object) -> None:
        self.faults.append(Fault("error", kind, str(text), [str(file)]))

    def warn(self, kind: str, text: str, file: object) -> None:
        self.faults.append(Fault("warning", kind, text, [str(file)]))


def examine(source: Source, split: str, index: int) -> Seen:
    """Read one pair and collect its faults."""
    if not isinstance(source, FileSource):
        return _examine_generated(source, split, index)
    image_file, mask_file = source.files(index)
    seen = Seen(split, str(image_file))
    image = mask = stored = None
    try:
        if mask_file.suffix != ".mat":
            stored = np.empty(pixels.size(mask_file), np.uint8)
        mask = source.labels(mask_file)
        stored = mask if stored is None else stored
        source.check_labels(index, mask)
    except ConfigError as error:
        unusable = stored is None or isinstance(error, Unusable)
        seen.error("unreadable" if unusable else "labels", error, mask_file)
        mask = None
    try:
        raw = pixels.raw_values(image_file, source.reading)
        if raw is not None:
            seen.values, seen.size = depth.found(raw), (raw.shape[1], raw.shape[0])
        image = pixels.read_image(image_file, source.reading, None if stored is None else stored.shape)
        _describe(seen, image)
    except Turned as error:
        seen.error(ORIENTATION, error, image_file)
    except ConfigError as error:
        seen.error("unreadable" if seen.values is None else "value range", error, image_file)
    if image is not None:
        _examine_picture(seen, image_file, image, source, index, stored)
    if mask is not None:
        _count(seen, mask, source, mask_file)
    return seen


def across(pairs: Iterable[Seen]) -> list[Fault]:
    """Find images that occur more than once: an error in two splits, a warning within one."""
    same = defaultdict(list)
    for seen in pairs:
        if seen.content is not None:
            same[seen.content].append(seen)
    faults = []
    for group in (group for group in same.values() if len(group) > 1):
        splits = Counter(seen.split for seen in group)
        differ = "; their masks differ" if len({seen.labels for seen in group}) > 1 else ""
        files = ", ".join(seen.image for seen in group)
        if len(splits) > 1:
            level, kind = "error", "in two splits"
            text = f"the same picture is in {' and '.join(splits)}: {files}{differ}; leave it in one split"
        else:
            level, kind = "warning", "duplicate"
            text = f"the same picture {len(group)} times in {next(iter(splits))}: {files}{differ}"
        faults.append(Fault(level, kind, text, [seen.image for seen in group]))
    return faults


def _examine_generated(source: Source, split: str, index: int) -> Seen:
    try:
        image, mask, name = source.read(index)
    except ConfigError as error:
        seen = Seen(split, source.where(index))
        seen.error("sample", error, seen.image)
        return seen
    seen = Seen(split, name)
    _describe(seen, image)
    _count(seen, mask, source, name)
    return seen


def _examine_picture(seen: Seen, path: Path, image: np.ndarray, source: FileSource, index: int, stored) -> None:
    """Compare size and orientation with the mask (`stored`: an array of its size, or None), and check the mode."""
    header = pixels.header(path)
    if seen.values is not None:
        seen.warn("more than 8 bits", f"{path}: values {seen.values.in_words()}; scaled to 8 bits", path)
    elif header.mode in UNUSUAL_MODES:
        seen.warn(UNUSUAL_MODES[header.mode].split("; ")[0], f"{path}: {UNUSUAL_MODES[header.mode]}", path)
    try:
        if stored is not None:
            source.check_size(index, image.shape[:2], stored)
    except Turned as error:
        seen.error(ORIENTATION, error, path)
    except ConfigError as error:
        seen.error("size", error, source.where(index))
    else:
        if header.turn != 1:
            is_turned = source.reading.upright or image.shape[:2] != header.size
            read = "like them" if is_turned else "as stored"
            seen.warn(
                ORIENTATION,
                f"{path} has EXIF orientation {header.turn}: viewers and predict show it turned, it is read {read}, as "
                "its mask must be; check that they fit",
                path,
            )


def _describe(seen: Seen, image: np.ndarray) -> None:
    seen.size = (image.shape[1], image.shape[0])
    seen.content = None if pixels.one_colour(image) else _content(image)
    seen.histogram = np.bincount(image.ravel(), minlength=256)


def _count(seen: Seen, mask: np.ndarray, source: Source, path: object) -> None:
    seen.pixels = pixels_by_class(mask, source.num_classes)
    seen.labels = _content(mask)
    if source.labelled and (mask == IGNORE_INDEX).all():
        seen.warn("void", f"{path}: every pixel is void, so the image does not train", path)


def _content(pixels: np.ndarray) -> str:
    return digest(repr(pixels.shape).encode(), pixels.tobytes())
