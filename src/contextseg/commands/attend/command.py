"""Drawing the context of one pixel, for an image file or on a local page."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contextseg import viz
from contextseg.checkpoint import load_checkpoint, read_checkpoint, restore
from contextseg.commands.attend.gallery import Example
from contextseg.commands.attend.options import MORE, AttendOptions
from contextseg.commands.attend.server import serve
from contextseg.data.labels import Indices
from contextseg.data.pixels import Reading
from contextseg.data.source import check_labels, check_size
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import Look, context_picture, inside_picture
from contextseg.explain.context import maps_of
from contextseg.inference.clips import FileClips, beside
from contextseg.segmenter import Segmenter

EXAMPLES = 8  # validation images that the page offers
log = logging.getLogger(__name__)


def main(options: AttendOptions) -> None:
    """Draw the context of one pixel, or with `serve=true` serve a page that draws that of any, until Ctrl-C."""
    if options.image is None or options.point is None:  # with serve=true, the page asks for them
        show(options)
    else:
        draw(options.image, options.point, options)


def draw(file: Path, point: tuple[int, int], cfg: AttendOptions) -> Path:
    """Draw the context maps of a pixel (x, y) of an image file into `cfg.output`; return that.

    The image is turned upright; a network for clips is shown the files of its folder that are the frames around it. The
    head's inside, if it shows any, is drawn beside it as <output>_inside. `cfg.mask`, train ids, adds the true class
    shares. Raises `ConfigError` for a mask of another size or of other classes.
    """
    network = load_checkpoint(cfg.ckpt)
    classes = network.named_classes
    reading = Reading(cfg.value_range or network.value_range, cfg.max_megapixels, upright=True)
    image = FileClips(beside(file) if network.head.frames > 1 else [file], reading, network.head.frames)(file)
    mask = None if cfg.mask is None else Indices(reading=Reading(max_megapixels=cfg.max_megapixels))(cfg.mask)
    if mask is not None:
        check_size(image.shape[-3:-1], mask, f"mask={cfg.mask}")
        check_labels(mask, len(classes), f"mask={cfg.mask}")
    pixels = torch.from_numpy(np.moveaxis(image, -1, -3))
    look = Look(network, pixels)
    maps, labels = maps_of(look, point), look.probabilities()[1][0].numpy()
    viz.save(context_picture(image, labels, maps, point, classes), cfg.output)
    log.info("%s: %s", ", ".join(maps), cfg.output)
    if inside := look.inside():
        second = cfg.output.with_stem(f"{cfg.output.stem}_inside")
        viz.save(inside_picture(inside, classes, mask), second)
        log.info("%s: %s", ", ".join(inside), second)
    return cfg.output


def show(cfg: AttendOptions) -> None:
    """Serve the page for `cfg.ckpt` and those beside it, with validation images of the first one's data set."""
    networks: dict[str, Segmenter] = {}
    images: list[Example] = []
    for option in ("ckpt", *MORE):
        if getattr(cfg, option) is not None:
            contents = read_checkpoint(getattr(cfg, option))
            networks[f"{option}: {contents['config']['name']}"] = restore(contents, getattr(cfg, option))
            images = images or (examples(contents["config"]) if option == "ckpt" else [])
    for network in networks.values():
        network.value_range = cfg.value_range or network.value_range
    serve(networks, images, port=cfg.port, longest_side=cfg.longest_side)


def examples(config: Mapping[str, Any]) -> list[Example]:
    """Return some validation images of a training with their truth; [] if they are not on this machine."""
    try:
        source = build.instantiate(config["data"], "data").source("val")
        places = np.linspace(0, len(source) - 1, min(EXAMPLES, len(source))).astype(int)
        read = (source.read(int(place)) for place in places)
        return [Example(name, image, mask if source.labelled else None) for image, mask, name in read]
    except ConfigError as error:
        log.info("no example images: %s", error)
        return []
