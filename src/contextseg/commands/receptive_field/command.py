"""The effective receptive fields of several networks on a split: a picture on one scale, and numbers."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from contextseg.commands.inspection.subjects import Shot, Shots, subjects
from contextseg.commands.receptive_field.figure import figure
from contextseg.commands.receptive_field.options import ReceptiveFieldOptions
from contextseg.commands.receptive_field.summary import SHARES, Row, as_csv, as_json, table
from contextseg.console import console, progress
from contextseg.errors import ConfigError
from contextseg.explain.field import Field, average, receptive_field
from contextseg.files import write_atomically
from contextseg.segmenter import Segmenter
from contextseg.statistics import Resampling
from contextseg.statistics.means import ImageNumbers, mean_intervals

log = logging.getLogger(__name__)
NAME = "receptive_field"  # of the files


def main(cfg: DictConfig) -> None:
    """Write the fields."""
    receptive_fields(cfg)


def receptive_fields(cfg: DictConfig) -> Path:
    """Measure the field of a pixel of the images by every network of `ckpt=`, and write a picture and two files.

    Returns the folder. Raises what `subjects` and `receptive_field` raise, and `ConfigError` if a score depends on no
    pixel in any image.
    """
    options, networks, shots = subjects(cfg, ReceptiveFieldOptions)
    rows: list[Row] = []
    with progress() as bar:
        for name, network in networks.items():
            shown = bar.track(shots, total=len(shots), description=name)
            rows.append(measured(name, network, shown, shots, options))
    options.output.mkdir(parents=True, exist_ok=True)
    write_atomically(options.output / f"{NAME}.csv", as_csv(rows, options.radii))
    write_atomically(options.output / f"{NAME}.json", json.dumps(as_json(rows, options, shots), indent=1))
    figure(rows).savefig(options.output / f"{NAME}.png")
    console.print(table(rows, options.radii), soft_wrap=True, highlight=False, markup=False)
    log.info("%s: .png, .csv, .json", options.output / NAME)
    return options.output


def measured(name: str, network: Segmenter, shown: Iterable[Shot], shots: Shots, options: ReceptiveFieldOptions) -> Row:
    """Average the fields of a network over the images, and its numbers with intervals; an image may have none."""
    numbers: list[list[float]] = []

    def fields() -> Iterator[Field]:
        for shot in shown:
            height, width = shot.image.shape[:2]
            field = receptive_field(network, pixels(shot, options.noise), options.point or (width // 2, height // 2))
            numbers.append(numbers_of(field, options.radii))
            if field:
                yield field

    mean = average(fields())
    without = sum(np.isnan(each[0]) for each in numbers)
    if mean is None:
        raise ConfigError(
            f"ckpt: {name}: the score of the pixel depends on none of the image; try another point= or split="
        )
    if without:
        log.warning(
            "%s: in %d of %d images the score depends on no pixel; they are left out", name, without, len(shots)
        )
    values = ImageNumbers(shots.names, np.array(numbers), shots.block)
    found = mean_intervals(values, Resampling(options.resamples))
    return Row(name, mean, tuple(found[: len(SHARES)]), tuple(found[len(SHARES) :]))


def numbers_of(field: Field | None, radii: Sequence[int]) -> list[float]:
    """Return the radii in pixels of `SHARES`, and the percent within each of `radii`; NaN if there is no field."""
    if field is None:
        return [float("nan")] * (len(SHARES) + len(radii))
    return [*map(field.radius, SHARES), *(100 * field.within(radii)).tolist()]


def pixels(shot: Shot, noise: bool) -> Tensor:
    """Return the image uint8 (3, H, W), or random pixels of its size, the same for every network."""
    image = torch.from_numpy(shot.image).permute(2, 0, 1)
    if not noise:
        return image
    return torch.randint(0, 256, image.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(shot.place))
