"""The results of a run, in its folder beside the checkpoints: scores, tables and their pictures."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from contextseg import viz
from contextseg.console import console
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine.callbacks.record import Record
from contextseg.engine.module import SegModule
from contextseg.runs.folder import RunFolder
from contextseg.statistics import ImageCounts, Resampling, interval
from contextseg.statistics.image_counts import file_of


def scores(module: SegModule) -> dict[str, Any]:
    """Return the scores of the last evaluation and their class set, as `metrics.json` holds them."""
    classes = module.segmenter.named_classes
    scalars = {name: value for name, value in module.scores.items() if isinstance(value, int | float)}
    by_class = dict(zip(classes.names, module.scores["iou"].tolist(), strict=True))
    return {"class_set": classes.name} | scalars | {"iou": by_class}


def image_counts(module: SegModule, data: SegDataModule, split: str) -> ImageCounts:
    """Return the counts of every image of the last evaluation, which was of this split."""
    images, cells = (module.scores[name].numpy() for name in ("images", "cells"))
    source = data.source(split)
    numbered = np.column_stack([np.searchsorted(images, cells[:, 0]), cells[:, 1:]])  # a limited run saw not all
    names = tuple(source.name(int(index)) for index in images)
    return ImageCounts(names, len(data.classes), numbered, data.block)


def intervals(counts: ImageCounts) -> dict[str, Any]:
    """Return the 95 % bootstrap intervals over images, for `metrics.json`, with how they were made."""
    how = Resampling()
    found = {name: {"low": one.low, "high": one.high} for name, one in interval([counts], how).items()}
    facts = {"images": len(counts), "resamples": how.resamples, "block": how.length(counts)}
    return {**found, **facts, "few_blocks": how.few_blocks(counts)}


def tell(metrics: dict[str, Any]) -> None:
    """Print the scores of an evaluation with their intervals, and what these are over."""
    found = metrics["interval"]
    for name, title in (("miou", "mIoU"), ("pix_acc", "pixAcc")):
        low, high = found[name]["low"], found[name]["high"]
        console.print(f"{title} {metrics[name]:.2f}, 95 % interval {low:.2f} to {high:.2f}", highlight=False)
    drawn = "images" if found["block"] == 1 else f"blocks of {found['block']} frames"
    console.print(
        f"(bootstrap over {found['images']} images, {found['resamples']} resamples of {drawn}; the spread over seeds "
        "comes on top)",
        soft_wrap=True,
        highlight=False,
    )
    if found["few_blocks"]:
        console.print("fewer than 10 blocks: the interval is too short (docs/statistics.md)", highlight=False)


def training_summary(callbacks: Iterable[L.Callback]) -> dict[str, Any]:
    """Collect from the callbacks the time and speed of the training, and step and score of the best weights."""
    summary: dict[str, Any] = {}
    for callback in callbacks:
        if isinstance(callback, Record):
            summary["seconds"] = round(callback.elapsed, 1)
            summary["images_per_second"] = round(callback.images_per_second, 1)
        elif isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
            step = int(Path(callback.best_model_path).stem.split("-")[1])
            summary["best"] = {"step": step, "miou": float(callback.best_model_score)}
    return summary


@rank_zero_only
def write_image_counts(folder: RunFolder, counts: ImageCounts, metrics: dict[str, Any]) -> None:
    """Write `per_image/<split>_<protocol>.npz`; `metrics` names both."""
    counts.save(file_of(folder.path, metrics["split"], metrics["protocol"]))


@rank_zero_only
def write_tables(folder: RunFolder, module: SegModule) -> None:
    """Write `per_class.csv`, `confusion.npz` and a picture of each, and print the table of classes."""
    classes = module.segmenter.named_classes
    confusion = module.scores["confusion"].numpy()
    np.savez_compressed(folder.path / "confusion.npz", confusion=confusion, names=np.array(classes.names))
    scores = ([f"{value:.4f}" for value in module.scores[name]] for name in ("iou", "acc"))
    with (folder.path / "per_class.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["class", "iou", "acc", "pixels"])
        rows.writerows(zip(classes.names, *scores, confusion.sum(1), strict=True))
    viz.per_class_picture(module.scores, classes, folder.path / "per_class.png")
    viz.confusion_picture(confusion, classes, folder.path / "confusion.png")
    console.print(viz.per_class_table(module.scores, classes))
    console.print(f"results: {folder.path}", soft_wrap=True, highlight=False)
