"""`attend`: where the context of one pixel came from, drawn for an image file."""

import logging
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig

from contextseg import viz
from contextseg.checkpoint import load_checkpoint
from contextseg.context_maps import context_maps, inside_maps
from contextseg.context_pictures import class_shares, context_picture, inside_picture
from contextseg.contract import ConfigError
from contextseg.data.labels import Indices
from contextseg.data.source import read_image

log = logging.getLogger(__name__)


def attend(cfg: DictConfig) -> Path:
    """Draw the context maps of the pixel `cfg.point` of `cfg.image` into `cfg.output`, and what the head shows of its
    inside, if anything, beside it as <output>_inside; `cfg.mask`, train ids, adds the true class shares."""
    if not isinstance(cfg.point, ListConfig) or [type(value) for value in cfg.point] != [int, int]:
        raise ConfigError(f"point={cfg.point}: give [x,y], two whole numbers of pixels")
    image = read_image(Path(cfg.image))
    network = load_checkpoint(cfg.ckpt)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    maps = context_maps(network, pixels, tuple(cfg.point))
    picture = context_picture(image, network.predict(pixels).numpy(), maps, tuple(cfg.point), network.classes)
    viz.save(picture, cfg.output)
    log.info("%s: %s", ", ".join(maps), cfg.output)
    if inside := inside_maps(network, pixels):
        shares = None if cfg.mask is None else class_shares(Indices()(Path(cfg.mask)), network.classes)
        beside = Path(cfg.output).with_stem(f"{Path(cfg.output).stem}_inside")
        viz.save(inside_picture(inside, network.classes, shares), beside)
        log.info("%s: %s", ", ".join(inside), beside)
    return Path(cfg.output)
