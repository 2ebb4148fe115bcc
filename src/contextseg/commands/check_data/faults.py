"""Faults of a data set: those of single pairs, and those that only all pairs together show."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from contextseg.contract import IGNORE_INDEX
from contextseg.data.source import FileSource, Source, decoded, digest, read_image
from contextseg.errors import ConfigError

ORIENTATION = 0x0112  # EXIF tag: 1 as stored, 5 to 8 turned by a quarter
UNUSUAL_MODES = {  # mode of an image -> how it is read
    "1": "black and white; read as three equal channels",
    "L": "grey; read as three equal channels",
    "LA": "grey with transparency; read as three equal channels, transparency is dropped",
    "I": "grey with 16 bits; scaled to 8",
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
    content: str | None = None  # digest of the pixels of the image
    labels: str | None = None  # digest of the mask
    pixels: np.ndarray | None = None  # int64 (classes + 1): pixels of each class and of void

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
        image = read_image(image_file)
        seen.size, seen.content = (image.shape[1], image.shape[0]), _content(image)
    except ConfigError as error:
        seen.error("unreadable", error, image_file)
    try:
        if mask_file.suffix != ".mat":
            stored = np.empty(decoded(mask_file).size[::-1], np.uint8)
        mask = source.labels(mask_file)
        stored = mask if stored is None else stored
        source.check_labels(index, mask)
    except ConfigError as error:
        seen.error("unreadable" if stored is None else "labels", error, mask_file)
        mask = None
    if image is not None:
        _examine_picture(seen, image_file, image, source, index, stored)
    if image is not None and mask is not None:
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
    seen = Seen(split, name, size=(image.shape[1], image.shape[0]), content=_content(image))
    _count(seen, mask, source, name)
    return seen


def _examine_picture(seen: Seen, path: Path, image: np.ndarray, source: Source, index: int, stored) -> None:
    """Compare size and orientation with the mask (`stored`: an array of its size, or None), and check the mode."""
    with Image.open(path) as file:
        mode = file.mode.split(";")[0]
        deep = mode == "RGB" and file.tile and ";16" in str(file.tile[0][3])  # asked before EXIF, which loads a PNG
        turn = 1 if file.format == "TIFF" else file.getexif().get(ORIENTATION, 1)  # PIL turns a TIFF by itself
    if deep:
        seen.warn("16 bit", f"{path}: 16 bits per channel; the upper 8 are read", path)
    elif mode in UNUSUAL_MODES:
        seen.warn(UNUSUAL_MODES[mode].split("; ")[0], f"{path}: {UNUSUAL_MODES[mode]}", path)
    fits = stored is None or image.shape[:2] == stored.shape
    if turn in range(5, 9) and not fits and image.shape[1::-1] == stored.shape:
        seen.error(
            "EXIF orientation",
            f"{path} fits its mask only when turned as its EXIF orientation {turn} says, but pixels are read as "
            "stored; turn the image itself and save it without the tag (PIL.ImageOps.exif_transpose)",
            path,
        )
    elif not fits:
        try:
            source.check_size(index, image.shape[:2], stored)
        except ConfigError as error:
            seen.error("size", error, source.where(index))
    elif turn in range(2, 9):
        seen.warn(
            "EXIF orientation",
            f"{path} has EXIF orientation {turn}: other programs show it turned, it is read as stored, like its "
            "mask; check that they fit",
            path,
        )


def _count(seen: Seen, mask: np.ndarray, source: Source, path: object) -> None:
    counts = np.bincount(mask.ravel(), minlength=256)
    seen.pixels = counts[[*range(source.num_classes), IGNORE_INDEX]]
    seen.labels = _content(mask)
    if source.labelled and counts[IGNORE_INDEX] == mask.size:
        seen.warn("void", f"{path}: every pixel is void, so the image does not train", path)


def _content(pixels: np.ndarray) -> str:
    return digest(repr(pixels.shape).encode(), pixels.tobytes())
