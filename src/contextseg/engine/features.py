"""Training and evaluation on maps of whole images: checks, and the cache, completed before the first step."""

import fcntl
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from contextseg.backbones.base import Backbone
from contextseg.backbones.feature_cache import CachedFeatures, DataType, Features
from contextseg.console import progress
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine.candidates import Candidate
from contextseg.engine.module import SegModule
from contextseg.engine.options import TrainOptions
from contextseg.engine.restart import Restart
from contextseg.errors import ConfigError
from contextseg.files import PART, lock
from contextseg.inference import WholeImage
from contextseg.recipe import backbone_settings

log = logging.getLogger(__name__)
MAKES_OTHER_IMAGES = ("value_range", "upright")  # settings of data sets: of the same files


def whole_image_features(
    options: TrainOptions, module: SegModule, data: SegDataModule, start: Restart | None = None
) -> None:
    """Let the data module load maps instead of images, if `features.whole` says so.

    Evaluation reads maps too where it sees whole images (`eval=ss`). Raises `ConfigError` for a backbone that is not
    frozen as a whole, a transform that changes size or colour, and too little space on the disk.
    """
    wanted, backbone = options.features, module.segmenter.backbone
    if not wanted.whole:
        if wanted.cache is not None:
            raise ConfigError(f"features.cache={wanted.cache}: without features.whole=true nothing is cached")
        return
    if backbone.window:
        raise ConfigError(
            f"features.whole=true: {options.backbone.get('model')} takes images of {backbone.window[0]}x"
            f"{backbone.window[1]} only, so it has no maps of whole images; leave it out"
        )
    if backbone.frozen != ("",):
        raise ConfigError("features.whole=true: the maps stay the same only if backbone.freeze=true")
    if start and start.contents:  # the maps are of the weights of the run that goes on
        weights = start.contents["state_dict"]
        backbone.load_state_dict({name: weights[f"segmenter.backbone.{name}"] for name in backbone.state_dict()})
    data.transform.of_maps()
    data.evaluate_maps = isinstance(module.predictor, WholeImage)
    if wanted.cache is None:
        if wanted.dtype is not None:
            raise ConfigError(f"features.dtype={wanted.dtype}: it is that of the cache; give features.cache=FOLDER")
        data.features, data.num_workers = Features(backbone), 0  # workers would each hold a backbone
        return
    data.features = cached = cache(wanted.cache, backbone, module.recipe, options.data, wanted.dtype)
    fill(cached, data, ("train", "val") if data.evaluate_maps else ("train",))


def maps_to_evaluate(candidate: Candidate, modules: Sequence[SegModule], data: SegDataModule) -> CachedFeatures | None:
    """Let the data module load maps of the evaluated split instead of images; return the cache, None if there is none.

    The folder that the user names is completed. That of the training is read where it changes no number: it has all
    maps, in float32, and the networks compute so on the CPU; a GPU rounds convolutions to TF32. `modules` have the
    backbone of `candidate`. Raises `ConfigError` if the user names a folder, and a predictor shows parts of images.
    """
    asked, trained = candidate.options.features, candidate.checkpoint["config"].get("features") or {}
    folder, dtype = asked.cache or trained.get("cache"), asked.dtype or trained.get("dtype") or "float32"
    others = [module for module in modules if not isinstance(module.predictor, WholeImage)]
    plain = data.trainer.precision == "32-true" and data.trainer.strategy.root_device.type == "cpu"
    exact = trained.get("whole") and dtype == "float32" and plain
    if asked.cache and others:
        network = others[0].segmenter
        raise ConfigError(
            f"features.cache={asked.cache}: maps are of whole images, but {type(network.head).__name__} is shown parts "
            f"or resized ones; {'' if network.window else 'give eval=ss, or '}leave it out"
        )
    if not folder or not (asked.cache or (exact and not others)):
        return None
    options, recipe = candidate.options, candidate.checkpoint["recipe"]
    cached = cache(Path(folder), modules[0].segmenter.backbone, recipe, options.data, dtype)
    if asked.cache:
        fill(cached, data, (options.split,))
    elif cached.missing(data.source(options.split).images):
        return None
    log.info("features: maps of %s instead of images", cached.folder)
    data.features, data.evaluate_maps = cached, True
    return cached


def cache(
    folder: Path, backbone: Backbone, recipe: Mapping[str, Any], data: Mapping[str, Any], dtype: DataType | None
) -> CachedFeatures:
    """Return the cache in a folder for a backbone, by the recipe of its network and the options of the data set."""
    settings = backbone_settings(recipe) | {name: data[name] for name in MAKES_OTHER_IMAGES if data.get(name)}
    return CachedFeatures(folder.expanduser(), backbone, settings, dtype or "float32")


def fill(cached: CachedFeatures, data: SegDataModule, splits: tuple[str, ...]) -> None:
    """Compute the maps that are missing; of several processes one does, and the others wait.

    A complete cache is only read. Raises `ConfigError` for a folder that cannot be written, and too little space.
    """
    if not any(cached.missing(data.source(split).images) for split in splits):
        log.info("features: all there in %s", cached.folder)
        return
    try:
        cached.folder.mkdir(parents=True, exist_ok=True)
        with (cached.folder / "lock").open("w") as file:
            if not lock(file):
                log.info("features: waiting for another process that fills %s", cached.folder)
                with suppress(OSError):  # a disk without locks: both compute, and write the same files
                    fcntl.flock(file, fcntl.LOCK_EX)
            compute(cached, data, splits)
    except OSError as error:
        folder = cached.folder.parent
        raise ConfigError(f"features.cache={folder}: {error.strerror}; give a folder that can be written") from error


def compute(cached: CachedFeatures, data: SegDataModule, splits: tuple[str, ...]) -> None:
    """Compute and write what is missing, with a progress bar."""
    for part in cached.folder.glob(f"{PART}*"):  # of a process that was killed
        part.unlink()
    todo = {split: indices for split in splits if (indices := cached.missing(data.source(split).images))}
    count = sum(map(len, todo.values()))
    if not count:
        return
    split, (first, *_) = next(iter(todo.items()))
    needed = cached.check_space(count, data.source(split).images.load(first)[0], "features.cache")
    log.info("features: %d images, about %.1f GB, into %s", count, needed / 1e9, cached.folder)
    with on_device(cached.backbone, data.trainer.strategy.root_device), progress() as bar:
        task = bar.add_task("features", total=count, note="")
        for split, indices in todo.items():
            for _ in cached.build(data.source(split).images, indices):
                bar.advance(task)


@contextmanager
def on_device(backbone: Backbone, device: torch.device) -> Iterator[None]:
    """Let a backbone compute on the device of the training, in float32 there too, and bring it back."""
    before = backbone.mean.device
    with torch.backends.cudnn.flags(allow_tf32=False):
        backbone.to(device)
        try:
            yield
        finally:
            backbone.to(before)
