"""Drawing a sheet of samples of a data set, as stored or as the training transform makes them."""

import logging
from pathlib import Path

import numpy as np

from contextseg import viz
from contextseg.commands.samples.options import SamplesOptions
from contextseg.engine import build

log = logging.getLogger(__name__)


def main(options: SamplesOptions) -> None:
    """Draw the sheet."""
    samples(options)


def samples(cfg: SamplesOptions) -> Path:
    """Draw `cfg.count` evenly spaced samples (image or clip beside mask) and the legend into `cfg.output`."""
    data = build.datamodule(cfg)
    source = data.source(cfg.split)
    tiles = []
    for index in np.linspace(0, len(source) - 1, min(cfg.count, len(source))).astype(int):
        image, mask, name = source.read_clip(int(index))
        if cfg.augment:
            image, mask = data.transform(image, mask, (cfg.seed, 0, int(index)))
        frames = image if image.ndim == 4 else image[None]
        pair = np.concatenate([*frames, viz.colour_mask(mask, data.classes)], axis=1)
        tiles.append(viz.caption(pair, name))
    pictures = [viz.sheet(tiles, columns=3 if source.frames == 1 else 1), viz.legend(data.classes)]
    height = max(len(picture) for picture in pictures)
    pictures = [np.pad(p, ((0, height - len(p)), (8, 0), (0, 0)), constant_values=255) for p in pictures]
    path = cfg.output
    viz.save(np.concatenate(pictures, axis=1), path)
    log.info("%d samples of %s (%s): %s", len(tiles), data.name, cfg.split, path)
    return path
