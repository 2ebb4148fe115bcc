"""Comparing networks: label the images by each, count, then write the page, the tables and the pictures."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from contextseg.checkpoint import read_checkpoint, restore
from contextseg.commands.compare import tables
from contextseg.commands.compare.options import CompareOptions
from contextseg.commands.compare.page import Page
from contextseg.commands.compare.predictions import Predictions
from contextseg.commands.device import device
from contextseg.commands.evaluate.options import checked
from contextseg.console import console, progress
from contextseg.data.source import Source
from contextseg.engine import build
from contextseg.engine.evaluate import refuse_other_classes, refuse_unlabelled
from contextseg.errors import ConfigError
from contextseg.files import write_atomically
from contextseg.inference import Predictor
from contextseg.runs.folder import new_folder
from contextseg.segmenter import Segmenter
from contextseg.statistics.means import spread, thinned_block

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Write the page."""
    compare(cfg)


def compare(cfg: DictConfig) -> Path:
    """Compare the networks of `ckpts=` on a split; return the folder with the page.

    The data set and the protocol are those of the first checkpoint, or those that the command line chooses. Raises
    `ConfigError` for networks of other classes, for a split without labels, and for one that needs the ground truth.
    """
    files = [str(file) for file in OmegaConf.to_container(cfg)["ckpts"]]
    checkpoints = [read_checkpoint(file, "ckpts") for file in files]
    first = OmegaConf.merge(cfg, {"ckpt": files[0]})
    options, _ = checked(CompareOptions, checkpoints[0]["config"], first)
    names = options.names or named(checkpoints)
    place = device(options.device)
    data = build.datamodule(options)
    networks = []
    for checkpoint, file in zip(checkpoints, files, strict=True):
        network = restore(checkpoint, file).to(place)
        refuse_other_classes(data, network, file)
        if network.head.needs_mask:
            raise ConfigError(f"ckpts={file}: {type(network.head).__name__} needs the ground truth; leave it out")
        networks.append(network)
    refuse_unlabelled(data, options.split)
    source = data.source(options.split)
    for network in networks:
        if network.head.frames > 1:
            build.refuse_other_clips(network, source)
    chosen = spread(len(source), options.images or len(source))
    predictors = [build.predictor(options.eval, network) for network in networks]
    block = thinned_block(data.block, len(source), len(chosen))
    found = predicted(source, chosen, networks, predictors, Predictions(names, len(data.classes), block=block))
    folder = options.output or new_folder(options.paths.runs / "compare")
    folder.mkdir(parents=True, exist_ok=True)
    console.print("drawing the page", highlight=False)
    tables.write(found, data.classes, options.least, folder)
    facts = [
        f"{data.name}, {options.split}: {len(chosen)} of {len(source)} images, eval={protocol(options)}.",
        *(f"{name}: {file}." for name, file in zip(names, files, strict=True)),
    ]
    if options.split == "train":
        facts.append("These are training images, so the scores do not hold for new ones.")
    image = lambda number: source.read(found.indices[number])[0]  # noqa: E731
    page = Page(found, data.classes, image, folder, facts, options.count, options.boxes, options.least)
    write_atomically(folder / "compare.html", page.document())
    console.print(f"comparison: {folder / 'compare.html'}", soft_wrap=True, highlight=False)
    return folder


def named(checkpoints: list[dict[str, Any]]) -> list[str]:
    """Name networks by their heads, with a number where several have one."""
    heads = [str(one["config"].get("choices", {}).get("head", "network")) for one in checkpoints]
    seen = [heads[: number + 1].count(head) for number, head in enumerate(heads)]
    return [f"{head} {n}" if heads.count(head) > 1 else head for head, n in zip(heads, seen, strict=True)]


def protocol(options: CompareOptions) -> str:
    """Return the option of `eval=`."""
    return options.choices.get("eval", "own")


def predicted(
    source: Source, chosen: Sequence[int], networks: list[Segmenter], predictors: list[Predictor], found: Predictions
) -> Predictions:
    """Label images by every network, of clips the middle frame by a network of images; say early how long it takes."""
    start, told = time.perf_counter(), False
    with progress() as bar:
        task = bar.add_task("images", total=len(chosen), note="")
        for done, index in enumerate(chosen):
            seconds = time.perf_counter() - start
            if not told and done and seconds > 2:  # the first image alone would mislead
                told = True
                left = seconds / done * (len(chosen) - done) / 60
                log.info("%d networks, %d images: about %.1f minutes more", len(networks), len(chosen), left)
            shown, truth, name = source.read_clip(index)
            clip = torch.from_numpy(np.moveaxis(shown, -1, -3))[None]
            image = clip if source.frames == 1 else clip[:, source.frames // 2]
            labels = []
            for network, predictor in zip(networks, predictors, strict=True):
                pixels = (image if network.head.frames == 1 else clip).to(network.backbone.mean.device)
                labels.append(predictor(network.logits, pixels, truth.shape)[0].cpu().numpy())
            found.add(index, name, truth, labels)
            bar.update(task, advance=1, note=name)
    return found
