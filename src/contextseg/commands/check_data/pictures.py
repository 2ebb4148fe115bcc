"""The two pictures of a report: class frequencies and samples."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from contextseg import viz
from contextseg.commands.check_data.report import Report
from contextseg.datamodules.datamodule import SPLITS, SegDataModule
from contextseg.errors import ConfigError
from contextseg.lettering import axis_labels

MAX_SIDE = 320  # pixels, the longer side of a drawn sample


def draw_samples(report: Report, data: SegDataModule, count: int, path: Path) -> bool:
    """Draw `count` samples of each split beside the colours of the classes; return whether there were any."""
    tiles = sample_tiles(report, data, count)
    if not tiles:
        return False
    parts = [viz.sheet(tiles, columns=2), viz.legend(data.classes)]
    height = max(len(part) for part in parts)
    parts = [np.pad(part, ((0, height - len(part)), (0, 8), (0, 0)), constant_values=255) for part in parts]
    viz.save(np.concatenate(parts, axis=1), path)
    return True


def sample_tiles(report: Report, data: SegDataModule, count: int) -> list[viz.Picture]:
    """Draw `count` evenly spaced pairs of each split, if they can be read: image beside image with class colours."""
    tiles = []
    for split in report.splits:
        source = data.source(split)
        for index in np.linspace(0, len(source) - 1, min(count, len(source))).astype(int).tolist():
            try:
                image, mask, name = source.read(index)
            except ConfigError:
                continue
            pair = [
                viz.enlarge(smaller(picture), 160) for picture in (image, viz.overlay(image, mask, data.classes, 0.7))
            ]
            tiles.append(viz.caption(np.concatenate(pair, axis=1), f"{split}: {name}"))
    return tiles


def smaller(picture: viz.Picture) -> viz.Picture:
    """Shrink a picture to at most `MAX_SIDE` pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(image)


def draw_frequencies(report: Report, path: Path) -> None:
    """Draw bars for every class and split: share of the pixels (logarithmic) and of the images."""
    names = report.names
    figure = Figure(figsize=(11, 1.5 + 0.3 * len(names)), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    height = 0.8 / max(len(report.splits), 1)
    for i, (split, counts) in enumerate(report.splits.items()):
        place = np.arange(len(names)) + (i - (len(report.splits) - 1) / 2) * height
        left.barh(place, counts.shares(), height, label=split)
        right.barh(place, 100 * np.array(counts.shown_in) / max(counts.images, 1), height, label=split)
    left.set(xlabel="% of the pixels", xscale="log", xlim=(1e-3, 100))
    left.set_yticks(range(len(names)), **axis_labels(names))
    left.invert_yaxis()
    right.set(xlabel="% of the images", xlim=(0, 100))
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(SPLITS))
    figure.savefig(path)
