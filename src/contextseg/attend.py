"""A picture of the context of one pixel: the image, its prediction, and every map of `context_maps`."""

import logging
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from PIL import Image, ImageDraw

from contextseg import viz
from contextseg.checkpoint import load_checkpoint
from contextseg.context_maps import context_maps
from contextseg.contract import ConfigError
from contextseg.data.source import read_image

log = logging.getLogger(__name__)


def attend(cfg: DictConfig) -> Path:
    """Draw the context maps of the pixel `cfg.point` of `cfg.image` into `cfg.output`."""
    if not isinstance(cfg.point, ListConfig) or [type(value) for value in cfg.point] != [int, int]:
        raise ConfigError(f"point={cfg.point}: give [x,y], two whole numbers of pixels")
    image = read_image(Path(cfg.image))
    network = load_checkpoint(cfg.ckpt)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    maps = context_maps(network, pixels, tuple(cfg.point))
    picture = context_picture(image, network.predict(pixels).numpy(), maps, tuple(cfg.point), network.classes)
    viz.save(picture, cfg.output)
    log.info("%s: %s", ", ".join(maps), cfg.output)
    return Path(cfg.output)


def context_picture(image: np.ndarray, labels: np.ndarray, maps: dict, point: tuple[int, int], classes) -> np.ndarray:
    """Image uint8 (H, W, 3), labels (H, W), named maps (h, w) -> a sheet uint8 (H', W', 3), the pixel marked."""
    tiles = {"image": image, "prediction": viz.colour_mask(labels, classes)}
    tiles |= {name: viz.heat(heat, image) for name, heat in maps.items()}
    marked = [viz.caption(mark(viz.enlarge(tile), point, image.shape), name) for name, tile in tiles.items()]
    return viz.sheet(marked, columns=min(len(marked), 5))


def mark(picture: np.ndarray, point: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """A ring around the pixel `point` (x, y) of an image of `shape` (H, W, 3), on a picture of it at any size."""
    scale = picture.shape[0] / shape[0]
    x, y = ((value + 0.5) * scale for value in point)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for radius, colour in ((7, "black"), (6, "white"), (5, "black")):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour)
    return np.asarray(canvas)
