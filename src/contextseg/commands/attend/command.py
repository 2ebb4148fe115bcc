"""`attend`: where the context of one pixel came from, drawn for an image file, or shown on a local page."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contextseg import viz
from contextseg.checkpoint import load_checkpoint, read_checkpoint, restore
from contextseg.commands.attend.options import AttendOptions
from contextseg.commands.attend.server import serve
from contextseg.data.labels import Indices
from contextseg.data.source import read_image
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import context_maps, context_picture, inside_maps, inside_picture

EXAMPLES = 8  # validation images that the page offers
log = logging.getLogger(__name__)


def main(options: AttendOptions) -> None:
    """Draw one pixel's context, or with `serve=true` serve a page to ask about any, until Ctrl-C."""
    if options.serve:
        show(options)
    else:
        draw(options)


def draw(cfg: AttendOptions) -> Path:
    """Draw the context maps of the pixel `cfg.point` of `cfg.image` into `cfg.output`, and what the head shows of its
    inside, if anything, beside it as <output>_inside; `cfg.mask`, train ids, adds the true class shares."""
    image = read_image(cfg.image)
    network = load_checkpoint(cfg.ckpt)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    maps = context_maps(network, pixels, cfg.point)
    picture = context_picture(image, network.predict(pixels).numpy(), maps, cfg.point, network.classes)
    viz.save(picture, cfg.output)
    log.info("%s: %s", ", ".join(maps), cfg.output)
    if inside := inside_maps(network, pixels):
        mask = None if cfg.mask is None else Indices()(cfg.mask)
        beside = cfg.output.with_stem(f"{cfg.output.stem}_inside")
        viz.save(inside_picture(inside, network.classes, mask), beside)
        log.info("%s: %s", ", ".join(inside), beside)
    return cfg.output


def show(cfg: AttendOptions) -> None:
    """Serve the page for `cfg.ckpt` and `cfg.ckpt2`, with validation images of the first one's data set."""
    networks, images = {}, {}
    for option in ("ckpt", "ckpt2"):
        if getattr(cfg, option) is not None:
            contents = read_checkpoint(getattr(cfg, option))
            networks[f"{option}: {contents['config']['name']}"] = restore(contents, getattr(cfg, option))
            images = images or (examples(contents["config"]) if option == "ckpt" else {})
    serve(networks, images, port=cfg.port, longest_side=cfg.longest_side)


def examples(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The configuration of a training -> some of its validation images uint8 (H, W, 3) by name; {} if they are not
    on this machine."""
    try:
        source = build.instantiate(config["data"], "data").source("val")
        places = np.linspace(0, len(source) - 1, min(EXAMPLES, len(source))).astype(int)
        return {name: image for image, _, name in (source.load(int(place)) for place in places)}
    except ConfigError as error:
        log.info("no example images: %s", error)
        return {}
