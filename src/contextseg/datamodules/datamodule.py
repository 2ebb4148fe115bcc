"""The base of the data modules: loaders that depend on the data, the seed and the batch number alone."""

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from contextseg.backbones.feature_cache import Features
from contextseg.classes import ClassSet
from contextseg.data.dataset import KeyedDataset, collate, one_size
from contextseg.data.holdout import split_off
from contextseg.data.maps import MapDataset, collate_maps
from contextseg.data.sampler import KeyedBatchSampler, StridedEvalSampler
from contextseg.data.source import Source
from contextseg.data.transforms import TrainTransform, as_worker
from contextseg.data.void import Undeclared, is_doubtful, pixels_by_class
from contextseg.errors import ConfigError, how_to_run
from contextseg.typed import Count, Natural

SPLITS = ("train", "val", "test")
log = logging.getLogger(__name__)
MIN_SAMPLES = 16  # that a check reads, and reads at a time


class SegDataModule(LightningDataModule):
    """Load the splits of a data set. A subclass sets `classes` and `name`, and writes `open`.

    `batch_size` counts the images of one optimizer step over all processes and accumulated batches. `transform` is
    applied in training only. `set_stream` sets the training stream; the attached trainer knows the number of processes.
    """

    name: str
    classes: ClassSet
    submission: ClassVar[str | None] = None  # format in which a server scores the test split; its labels are kept back
    # rule -> (cue class ids, ids of the classes that only the cue separates); None if no such rule is known
    context_rules: ClassVar[dict[str, tuple[list[int], list[int]]] | None] = None
    # the images are frames of videos, of which so many in a row hang together (docs/statistics.md); None: they are not.
    # A frame's name is that of its sequence and a number, 0001TP_006690
    block: int | None = None
    undeclared_void: Undeclared | None = None  # if nothing says whether label 255 is void or a class

    def __init__(self, *, batch_size: Count = 8, num_workers: Natural = 0, transform: TrainTransform | None = None):
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.transform = transform or TrainTransform(flip=0)
        self.transform.flip_pairs = self.transform.flip_pairs or self.classes.flip_pairs
        self.accumulate, self.eval_batch_size = 1, 1
        self.features: Features | None = None  # training and evaluation get maps instead of images; set by the engine
        self.evaluate_maps = False  # evaluation too
        self.holdout = 0.0  # share of the training split that is kept back and takes the place of "val"
        self._stream: dict[str, int] | None = None
        self._sources: dict[str, Source] = {}

    def open(self, split: str) -> Source:
        """Return the source of a split: "train", "val" or "test"."""
        raise NotImplementedError

    def splits(self) -> tuple[str, ...]:
        """Return the splits that this data set has."""
        return SPLITS

    def source(self, split: str) -> Source:
        """Return the source of a split, opened once; with `holdout`, "train" and "val" are parts of the training split.

        Raises `ConfigError` if the split is unknown or empty, or nothing is left to train on.
        """
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r}; known: {', '.join(SPLITS)}")
        if split not in self._sources:
            if self.holdout and split in ("train", "val"):
                parts = split_off(self.open("train"), self.holdout, frames=self.block is not None)
                if not all(map(len, parts)):
                    raise ConfigError(
                        f"holdout={self.holdout}: of the {sum(map(len, parts))} images of the training split "
                        f"{len(parts[1])} would be kept back; give a share that leaves some on both sides"
                    )
                self._sources |= dict(zip(("train", "val"), parts, strict=True))
            else:
                self._sources[split] = self.open(split)
            if not len(self._sources[split]):
                raise ConfigError(f"the {split} split of {self.name} is empty; give it at least one image")
        return self._sources[split]

    def set_stream(
        self,
        *,
        seed: int,
        num_batches: int,
        first_batch: int = 0,
        accumulate: int = 1,
        eval_batch_size: int = 1,
    ) -> None:
        """Set the training stream: micro-batches `first_batch` to `num_batches` - 1 of the stream of `seed`.

        An optimizer step takes `accumulate` micro-batches of batch_size / accumulate images over all processes;
        `eval_batch_size` counts images per process.
        """
        self._stream = {"seed": seed, "num_batches": num_batches, "first_batch": first_batch}
        self.accumulate, self.eval_batch_size = accumulate, eval_batch_size

    def check(self, splits: tuple[str, ...] = ("train", "val"), limit: int = 1000, seconds: float = 1) -> None:
        """Read up to `limit` samples of each split, sampled at random; stop after `seconds`, but read `MIN_SAMPLES`.

        Of generated samples no more are read than those: no file can be at fault. Raises the first `ConfigError` found.
        The command `check_data` reads everything.
        """
        if "train" in splits:
            self._micro_batch_size()
        for split in splits:
            source, start = self.source(split), time.monotonic()
            self.refuse_unpaired(source, split)
            pixels = np.zeros(len(self.classes) + 1, int)
            most = min(limit, MIN_SAMPLES) if source.drawn else limit
            order = np.random.default_rng(0).permutation(len(source))[:most].tolist()
            sizes = set()
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for first in range(0, len(order), MIN_SAMPLES):
                    if first and time.monotonic() - start > seconds:
                        break
                    try:
                        for _, mask, _ in pool.map(source.read_clip, sorted(order[first : first + MIN_SAMPLES])):
                            sizes.add(mask.shape)
                            pixels += pixels_by_class(mask, len(self.classes))
                    except ConfigError as error:
                        raise ConfigError(f"{error}; {self.check_command()} lists all faults") from error
            if split == "train":
                self.refuse_doubtful_void(source, pixels)
                together = self._micro_batch_size() // self._place()["world_size"]
                if self.transform.crop_size is None and together > 1:
                    one_size(sizes)

    def refuse_doubtful_void(self, source: Source, pixels: np.ndarray) -> None:
        """Raise `ConfigError` if label 255, void by default, may be the class that has no pixel in the training split.

        `pixels`: by class, void last, of some masks; if these leave a doubt, all are read until none is left.
        """
        if self.undeclared_void is None or not is_doubtful(pixels):
            return
        pixels = np.zeros_like(pixels)
        for index in range(len(source)):
            pixels += pixels_by_class(source.read_mask(index)[0], len(self.classes))
            if pixels[:-1].all():
                return
        if is_doubtful(pixels):
            raise ConfigError(self.undeclared_void.doubt(pixels, self.classes.names))

    def refuse_unpaired(self, source: Source, split: str) -> None:
        """Raise `ConfigError` if images of the split have no mask; log masks without an image."""
        if images := source.unpaired.get("mask"):
            raise ConfigError(
                f"{len(images)} of {len(source) + len(images)} images of the {split} split have no mask of the same "
                f"name, first {images[0]}; add the masks, move the images away, or name in data.masks what differs, "
                "such as masks/*_mask.png"
            )
        if masks := source.unpaired.get("image"):
            log.warning("%d masks of the %s split have no image, first %s", len(masks), split, masks[0])

    def check_command(self) -> str:
        """Return the command that reads every file of this data set."""
        root = getattr(self, "root", None)
        return f"{how_to_run('check_data')} data={self.name}{f' data.root={root}' if root else ''}"

    def train_dataloader(self) -> DataLoader:
        """Load the keyed, augmented batches of the training stream."""
        if self._stream is None:
            raise RuntimeError("call set_stream(seed=..., num_batches=...) before train_dataloader()")
        source = self.source("train")
        dataset: KeyedDataset | MapDataset = KeyedDataset(source, transform=self.transform, seed=self._stream["seed"])
        if self.features is not None:
            dataset = MapDataset(source, self.features, seed=self._stream["seed"], **self.transform.of_maps())
        size = self._micro_batch_size()
        return self._loader(
            dataset, KeyedBatchSampler(length=len(source), batch_size=size, **self._stream, **self._place())
        )

    def eval_dataloader(self, split: str) -> DataLoader:
        """Load every image of a split once over all processes, at its own size, in order; a batch has one size."""
        source = self.source(split)
        sizes = [source.size(index) for index in range(len(source))] if self.eval_batch_size > 1 else None
        sampler = StridedEvalSampler(length=len(source), batch_size=self.eval_batch_size, sizes=sizes, **self._place())
        dataset: KeyedDataset | MapDataset = KeyedDataset(source)
        if self.features is not None and self.evaluate_maps:
            dataset = MapDataset(source, self.features)
        return self._loader(dataset, sampler, persistent_workers=self.num_workers > 0)

    def val_dataloader(self) -> DataLoader:
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        return self.eval_dataloader("test")

    def _place(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def _micro_batch_size(self) -> int:
        """Count the images of a micro-batch over all processes. Raises `ConfigError` if they cannot be split evenly."""
        world_size = self._place()["world_size"]
        parts = world_size * self.accumulate
        if self.batch_size < 1 or self.batch_size % parts:
            raise ConfigError(
                f"data.batch_size={self.batch_size} counts the images of one optimizer step and must be a positive "
                f"multiple of {parts} ({world_size} processes x {self.accumulate} accumulated batches)"
            )
        return self.batch_size // self.accumulate

    def _loader(
        self, dataset: KeyedDataset | MapDataset, batch_sampler, *, persistent_workers: bool = False
    ) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batch_sampler,
            num_workers=self.num_workers,
            collate_fn=collate_maps if isinstance(dataset, MapDataset) else collate,
            worker_init_fn=as_worker,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=persistent_workers,
        )
