"""Your own images and masks, wherever they lie; docs/own_data.md is a walk-through."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from contextseg.contract import IGNORE_INDEX
from contextseg.data.class_file import ClassFile, read_class_file
from contextseg.data.labels import Colours, Indices
from contextseg.data.limits import MAX_MEGAPIXELS, check_range
from contextseg.data.pairing import find
from contextseg.data.pixels import SUFFIXES, Reading
from contextseg.data.source import FileSource, digest
from contextseg.data.transforms import TrainTransform
from contextseg.data.void import Undeclared
from contextseg.datamodules.datamodule import SPLITS, SegDataModule
from contextseg.errors import ConfigError
from contextseg.folders import refuse_irregular
from contextseg.typed import Count, Natural, Positive


class Folder(SegDataModule):
    """Read image and mask files below `root`, paired by name.

    images, masks    a folder or a pattern with wildcards, as `pairing.find` takes it; {split} in it stands for train,
                     val or test, or give {train: ..., val: ...}
    classes          yaml file of names, colours and labels: `class_file`
    labels           "ids": a mask holds indices; "colours": it shows the palette
    lists            text files with the names of each split, one per line, such as lists/{split}.txt
    ratio            or shares of train, val and perhaps test, for a random split. The split of an image depends on
                     `split_seed` and its name alone, so new files move no others; counts are only near the shares
    block            the images are frames of videos, and this many in a row are resampled together
                     (docs/statistics.md); a frame's name is that of its sequence and a number, such as street_0012
    value_range      [black, white]: values that become 0 and 255 in images of more than 8 bits; None: 0 and 65535
    upright          images are turned as their EXIF orientation says, as viewers show them; None: where the mask is, by
                     its size, and where that does not decide, they are refused
    max_megapixels   a larger image or mask is refused, unread

    The last three as in `SegDataModule`. Images may have different sizes, if `transform` crops. Raises `ConfigError`
    for a wrong class file, for no or two ways to split, and when a split is opened for images without a mask.
    """

    name = "folder"

    def __init__(
        self,
        *,
        root: str = ".",
        images: str | Mapping[str, str] = "images/{split}",
        masks: str | Mapping[str, str] = "masks/{split}",
        classes: str = "classes.yaml",
        labels: Literal["ids", "colours"] = "ids",
        lists: str | Mapping[str, str] | None = None,
        ratio: Annotated[Sequence[Positive], MinLen(2)] | None = None,
        split_seed: Natural = 0,
        block: Count | None = None,
        value_range: tuple[float, float] | None = None,
        upright: bool | None = None,
        max_megapixels: Positive = MAX_MEGAPIXELS,
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        self.root = Path(root)
        if not self.root.is_dir():
            raise ConfigError(f"data.root={root}: no such folder; give the one that images, masks and classes are in")
        facts = read_class_file(self.root / classes, self.name)
        self.classes = facts.classes
        super().__init__(batch_size=batch_size, num_workers=num_workers, transform=transform)
        if labels not in ("ids", "colours"):
            raise ConfigError(f"data.labels={labels}: choose ids or colours")
        self.reading = Reading(check_range(value_range, "data."), max_megapixels, upright, option="data.")
        self.labels = (_indices if labels == "ids" else _colours)(facts, self.reading)
        raw = {label: label for label in range(len(facts.classes))} if facts.ids is None else facts.ids
        if labels == "ids" and IGNORE_INDEX not in (*raw, *facts.ignore):
            self.undeclared_void = Undeclared(facts.path, raw)
        self.images, self.masks, self.lists = images, masks, lists
        self.ratio, self.split_seed, self.block = ratio, split_seed, block
        ways = {"{split} in data.images": _by_split(images), "data.lists": lists, "data.ratio": ratio}
        if len(given := [way for way, value in ways.items() if value]) != 1:
            raise ConfigError(
                f"data.images={images} data.lists={lists} data.ratio={ratio}: {' and '.join(given) or 'nothing'} "
                f"says which images are train and val; give exactly one of {', '.join(ways)}"
            )
        if _by_split(masks) and not _by_split(images):
            raise ConfigError(f"data.masks={masks} has {{split}}, but data.images={images} does not; give one folder")
        if ratio and not (len(ratio) in (2, 3) and min(ratio) > 0 and abs(sum(ratio) - 1) < 1e-6):
            raise ConfigError(f"data.ratio={ratio}: give the shares of train, val and perhaps test, such as [0.8,0.2]")

    def splits(self) -> tuple[str, ...]:
        if self.ratio:
            return SPLITS[: len(self.ratio)]
        pattern = self.images if self.lists is None else self.lists
        if isinstance(pattern, Mapping):
            there = "test" in pattern
        elif self.lists is None:
            there = bool(find(self.root, _of(pattern, "test")))
        else:
            there = (self.root / _of(pattern, "test")).is_file()
        return SPLITS if there else SPLITS[:2]

    def open(self, split: str) -> FileSource:
        images, masks = self._find("images", split), self._find("masks", split)
        chosen = self._chosen(split, images)
        names = [name for name in chosen if name in masks]
        unpaired = {"mask": [images[name] for name in chosen if name not in masks]}
        if _by_split(self.masks):
            unpaired["image"] = [masks[name] for name in sorted(masks.keys() - images.keys())]
        source = FileSource(
            [(images[name], masks[name]) for name in names],
            len(self.classes),
            labels=self.labels,
            names=[name.replace("/", "_") for name in names],
            unpaired=unpaired,
            reading=self.reading,
        )
        if not names:
            self.refuse_unpaired(source, split)
        return source

    def _find(self, option: str, split: str) -> dict[str, Path]:
        pattern = _of(getattr(self, option), split)
        if files := find(self.root, pattern):
            return files
        raise ConfigError(
            f"data.{option}={pattern}: no picture there, below data.root={self.root}; give a folder or a pattern "
            f"such as {option}/*.png (endings: {', '.join(sorted(SUFFIXES))})"
        )

    def _chosen(self, split: str, names: Mapping[str, Path]) -> list[str]:
        """Return the names of a split, in order."""
        if self.lists is not None:
            return self._listed(self.root / _of(self.lists, split), names)
        if self.ratio is None:
            return sorted(names)
        if split not in self.splits():
            raise ConfigError(f"data.ratio={self.ratio} has no share for the {split} split; give three shares")
        first = sum(self.ratio[: SPLITS.index(split)])
        last = first + self.ratio[SPLITS.index(split)] if split != self.splits()[-1] else 1
        chosen = [name for name in sorted(names) if first <= _draw(self.split_seed, name) < last]
        if not chosen:
            raise ConfigError(
                f"data.ratio={self.ratio}: none of {len(names)} images falls into the {split} split; give another "
                "data.split_seed, or data.lists"
            )
        return chosen

    def _listed(self, path: Path, names: Mapping[str, Path]) -> list[str]:
        try:
            refuse_irregular(path)
            lines = [line.strip() for line in path.read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"data.lists={path} cannot be read ({error}); write one image name per line") from error
        chosen = []
        for line in filter(None, lines):
            name = line if line in names else line.removesuffix(Path(line).suffix)
            if name not in names or name in chosen:
                fault = "is there twice" if name in names else f"is no image of data.images={self.images}"
                raise ConfigError(f"{path}: {line} {fault}; correct or remove the line")
            chosen.append(name)
        return chosen


def _indices(facts: ClassFile, reading: Reading) -> Indices:
    if wrong := [value for value in facts.ignore if not isinstance(value, int)]:
        raise ConfigError(f"{facts.path}: ignore: {wrong[0]} is a colour, but data.labels=ids; give a label 0 to 255")
    relabel = (facts.ids or {}) | {value: IGNORE_INDEX for value in facts.ignore if isinstance(value, int)}
    return Indices(relabel, strict=facts.ids is not None, reading=reading)


def _colours(facts: ClassFile, reading: Reading) -> Colours:
    if not facts.has_palette:
        raise ConfigError(f"{facts.path}: data.labels=colours needs a palette; give a colour for every name")
    if facts.ids is not None or any(isinstance(value, int) for value in facts.ignore):
        raise ConfigError(f"{facts.path}: with data.labels=colours, omit ids and give ignore as colours")
    table = {colour: train_id for train_id, colour in enumerate(facts.classes.palette)}
    ignored = {colour: IGNORE_INDEX for colour in facts.ignore if not isinstance(colour, int)}
    return Colours(table | ignored, reading=reading)


def _by_split(pattern: str | Mapping[str, str]) -> bool:
    return isinstance(pattern, Mapping) or "{split}" in pattern


def _of(pattern: str | Mapping[str, str], split: str) -> str:
    """Return the pattern of one split. Raises `ConfigError` if there is none."""
    if isinstance(pattern, str):
        return pattern.replace("{split}", split)
    if split not in pattern:
        raise ConfigError(f"{dict(pattern)} says nothing about the {split} split; add {split}: ...")
    return pattern[split]


def _draw(seed: int, name: str) -> float:
    """Return a random number in [0, 1) that depends on seed and name alone."""
    return int(digest(f"{seed} {name}".encode()), 16) / 2**64
