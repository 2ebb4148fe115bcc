"""`attend`: where the context of one pixel came from, drawn for an image file, or shown on a local page."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from contextseg import build, viz
from contextseg.checkpoint import load_checkpoint, read_checkpoint, restore
from contextseg.context_maps import context_maps, inside_maps
from contextseg.context_pictures import class_shares, context_picture, inside_picture
from contextseg.contract import ConfigError
from contextseg.data.labels import Indices
from contextseg.data.source import read_image
from contextseg.inspector.server import serve

EXAMPLES = 8  # validation images that the page offers
log = logging.getLogger(__name__)


def attend(cfg: DictConfig) -> None:
    """Draw one pixel's context, or with `cfg.serve` serve a page to ask about any, until Ctrl-C.

    Raises `ConfigError` for options that are missing or belong to the other way.
    """
    check(cfg)
    if cfg.serve:
        show(cfg)
    else:
        draw(cfg)


def check(cfg: DictConfig) -> None:
    """Raises `ConfigError` for a wrong option."""
    if not isinstance(cfg.serve, bool):
        raise ConfigError(f"serve={cfg.serve}: give true or false")
    if not cfg.serve:
        if cfg.ckpt2 is not None:
            raise ConfigError(f"ckpt2={cfg.ckpt2}: two checkpoints are compared on the page only; add serve=true")
        if cfg.image is None:
            raise ConfigError("image=null: give an image file, or serve=true to choose one on a page")
        if not isinstance(cfg.point, ListConfig) or [type(value) for value in cfg.point] != [int, int]:
            raise ConfigError(f"point={cfg.point}: give [x,y], two whole numbers of pixels")
        return
    for option in ("image", "point", "mask"):
        if cfg[option] is not None:
            raise ConfigError(f"{option}={cfg[option]}: with serve=true, the page asks for it; leave it out")
    for option, least, most in (("port", 1, 65535), ("longest_side", 32, 4096)):
        if type(cfg[option]) is not int or not least <= cfg[option] <= most:
            raise ConfigError(f"{option}={cfg[option]}: give a whole number from {least} to {most}")
    if find_spec("gradio") is None:
        raise ConfigError("serve=true needs gradio: pip install 'contextseg[inspector]'")


def draw(cfg: DictConfig) -> Path:
    """Draw the context maps of the pixel `cfg.point` of `cfg.image` into `cfg.output`, and what the head shows of its
    inside, if anything, beside it as <output>_inside; `cfg.mask`, train ids, adds the true class shares."""
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


def show(cfg: DictConfig) -> None:
    """Serve the page for `cfg.ckpt` and `cfg.ckpt2`, with validation images of the first one's data set."""
    networks, images = {}, {}
    for option in ("ckpt", "ckpt2"):
        if cfg[option] is not None:
            contents = read_checkpoint(cfg[option])
            networks[f"{option}: {contents['config']['name']}"] = restore(contents, cfg[option])
            images = images or (examples(contents["config"]) if option == "ckpt" else {})
    serve(networks, images, port=cfg.port, longest_side=cfg.longest_side)


def examples(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The configuration of a training -> some of its validation images uint8 (H, W, 3) by name; {} if they are not
    on this machine."""
    try:
        source = build.datamodule(OmegaConf.create(config)).source("val")
        places = np.linspace(0, len(source) - 1, min(EXAMPLES, len(source))).astype(int)
        return {name: image for image, _, name in (source.load(int(place)) for place in places)}
    except ConfigError as error:
        log.info("no example images: %s", error)
        return {}
