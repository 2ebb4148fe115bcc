"""The base of the published data sets: files below one folder, paired by name, counted against the publication."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from contextseg.data.pairing import find
from contextseg.data.pixels import SUFFIXES
from contextseg.data.source import FileSource, Source, Unlabelled
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.datamodule import SPLITS, SegDataModule
from contextseg.errors import ConfigError, how_to_run
from contextseg.typed import Count, Natural

Choice = TypeVar("Choice")
log = logging.getLogger(__name__)


class Published(SegDataModule):
    """Read a data set whose files lie below `root` as published. A subclass writes `open`.

    A number of images other than the published one is logged, not refused: the user may want a part of the data.
    Other settings as in `SegDataModule`. Opening a split raises `ConfigError` if a folder or a list is missing.
    """

    title: ClassVar[str]  # as its authors write it
    expected: str  # what is expected below data.root
    folders: Sequence[str] = ()  # that an archive may put between root and the data
    counts: Mapping[str, tuple[int, ...]]  # split or training set -> images, one number for each edition
    test: ClassVar[str | None] = None  # a path that exists if the test split does; None: there is no public one

    def __init__(
        self, *, root: str, batch_size: Count = 8, num_workers: Natural = 0, transform: TrainTransform | None = None
    ):
        super().__init__(batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.root = Path(root)

    @property
    def tree(self) -> Path:
        """Return the folder that holds the data: `root`, or one of `folders` in it."""
        return next((self.root / name for name in self.folders if (self.root / name).is_dir()), self.root)

    def splits(self) -> tuple[str, ...]:
        there = self.test is not None and any(next(place.glob(self.test), None) for place in (self.tree, self.root))
        return SPLITS if there else SPLITS[:2]

    def find(self, *patterns: str, suffixes: Collection[str] = SUFFIXES) -> dict[str, Path]:
        """Return the files of the first pattern that fits any, by key, as `pairing.find` does.

        Raises `ConfigError` if none does.
        """
        for pattern in patterns:
            for place in (self.tree, self.root):
                if files := find(place, pattern, suffixes):
                    return files
        raise self.missing(patterns[0])

    def find_masks(self, *patterns: str) -> dict[str, Path]:
        """Find masks as `find` does: pictures, or where there are none, .mat files."""
        try:
            return self.find(*patterns)
        except ConfigError as error:
            with suppress(ConfigError):
                return self.find(*patterns, suffixes={".mat"})
            raise error

    def names(self, *paths: str) -> list[str]:
        """Return the first word of each line of the first list that exists, without folders and ending.

        Raises `ConfigError` if none exists.
        """
        for path in paths:
            if (file := self.tree / path).is_file():
                return [Path(line.split()[0]).stem for line in file.read_text().splitlines() if line.strip()]
        raise self.missing(paths[0])

    def missing(self, what: str) -> ConfigError:
        """Return the error for a folder, file or pattern that fits nothing."""
        path = self.tree / what
        return ConfigError(
            f"{path} {'holds no images' if path.is_dir() else 'does not exist'}. {self.title} is expected as "
            f"{self.expected} in data.root={self.root}. Point data.root=PATH at your copy, or make one from the "
            f"official archives: {how_to_run('prepare')} data={self.name} source=FOLDER root={self.root} (docs/data.md)"
        )

    def pair(
        self,
        count: str,
        images: Mapping[str, Path],
        masks: Mapping[str, Path],
        labels: Callable[[Path], np.ndarray],
        listed: Sequence[str] | None = None,
    ) -> FileSource:
        """Pair images and masks of the `listed` keys, or of all; compare their number with `counts[count]`.

        Raises `ConfigError` if a listed key has no image.
        """
        unpaired = {"mask": [images[key] for key in (images if listed is None else listed) if key not in masks]}
        if listed is None:
            unpaired["image"] = [masks[key] for key in masks if key not in images]
            listed = sorted(images)
        keys = [key for key in self.known(listed, images) if key in masks]
        self.compare(count, len(keys))
        pairs = [(images[key], masks[key]) for key in keys]
        source = FileSource(pairs, len(self.classes), labels=labels, names=list(map(_last, keys)), unpaired=unpaired)
        if not keys:
            self.refuse_unpaired(source, count)
        return source

    def unlabelled(self, images: Mapping[str, Path], listed: Sequence[str] | None = None) -> Unlabelled:
        """Return the source of the test split: the `listed` images, or all, with void masks."""
        keys = sorted(images) if listed is None else self.known(listed, images)
        self.compare("test", len(keys))
        return Unlabelled([images[key] for key in keys], len(self.classes), names=list(map(_last, keys)))

    def known(self, listed: Sequence[str], images: Mapping[str, Path]) -> Sequence[str]:
        """Return the listed keys. Raises `ConfigError` if one has no image."""
        if absent := [key for key in listed if key not in images]:
            raise ConfigError(
                f"{len(absent)} of {len(listed)} listed images are missing below data.root={self.root}, first "
                f"{absent[0]}; add them, or take them off the list"
            )
        return listed

    def compare(self, count: str, found: int) -> None:
        """Log a warning if `found` is not a published number of images."""
        published = self.counts[count]
        if found not in published:
            numbers = " or ".join(map(str, published))
            log.warning("%s of %s has %d images; the published split has %s", count, self.root, found, numbers)

    def refuse_unpaired(self, source: Source, split: str) -> None:
        """Raise `ConfigError` if an image has no mask or a mask no image."""
        for missing, files in source.unpaired.items():
            if files:
                raise ConfigError(
                    f"{len(files)} files have no {missing} of the same name, first {files[0]}; add or remove them"
                )

    def no_test(self) -> ConfigError:
        """Return the error for the test split of a data set without a public one."""
        return ConfigError(f"{self.title} has no public test split; the papers score its val split: split=val")


def choose(option: str, value: Choice, choices: Collection[Choice]) -> Choice:
    """Return the value. Raises `ConfigError` naming the choices if it is none of them."""
    if value not in choices:
        raise ConfigError(f"data.{option}={value}: choose one of {', '.join(map(str, choices))}")
    return value


def _last(key: str) -> str:
    return key.rsplit("/", 1)[-1]
