"""Deletion and insertion curves of pixels of a split, for several networks: numbers and a picture."""

import json
import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.progress import Progress

from contextseg.commands.faithfulness.figure import figure
from contextseg.commands.faithfulness.options import FaithfulnessOptions
from contextseg.commands.faithfulness.summary import Findings, as_csv, as_json, table
from contextseg.commands.inspection.subjects import Shots, look_at, subjects
from contextseg.console import console, progress
from contextseg.explain.faithfulness import Probe, sampled
from contextseg.files import write_atomically
from contextseg.segmenter import Segmenter
from contextseg.statistics import Resampling

log = logging.getLogger(__name__)
NAME = "faithfulness"  # of the files


def main(cfg: DictConfig) -> None:
    """Write the curves."""
    faithfulness(cfg)


def faithfulness(cfg: DictConfig) -> Path:
    """Ask the networks of `ckpt=` about the same pixels of the same images, and write a picture and two files.

    Returns the folder. Raises what `subjects` raises.
    """
    options, networks, shots = subjects(cfg, FaithfulnessOptions)
    probe = Probe(options.steps, options.patch, options.spare, options.masking, options.batch_size)
    how = Resampling(options.resamples)
    with progress() as bar:
        found = {
            name: Findings(curves_of(network, shots, probe, options, bar, name), shots.names, shots.block, how)
            for name, network in networks.items()
        }
    options.output.mkdir(parents=True, exist_ok=True)
    files = {
        ".json": json.dumps(as_json(found, options, shots), indent=1),
        ".csv": as_csv(found),
    }
    for ending, content in files.items():
        write_atomically(options.output / f"{NAME}{ending}", content)
    figure(found).savefig(options.output / f"{NAME}.png")
    console.print(table(found), soft_wrap=True, highlight=False, markup=False)
    log.info("%s: .png, .csv, .json", options.output / NAME)
    return options.output


def curves_of(
    network: Segmenter, shots: Shots, probe: Probe, options: FaithfulnessOptions, bar: Progress, name: str
) -> dict[str, NDArray[np.float64]]:
    """Return the curves of a network by order, float (images, 2, steps + 1), means over the pixels of each image."""
    total, begin = len(shots) * options.pixels, time.perf_counter()
    log.info("%s: %d images, %d pixels of each, up to %d passes a pixel", name, len(shots), options.pixels, probe.most)
    task, done = bar.add_task(name, total=total, note=""), 0
    images = []
    for shot in shots:
        look, of_pixels = look_at(network, shot), []
        for point in sampled(shot.truth, look.size, options.pixels, options.seed + shot.place):
            of_pixels.append(probe.curves(look, point, options.seed + shot.place))
            done += 1
            bar.advance(task)
            if done == min(2, total):
                log.info("%s: about %s", name, minutes((time.perf_counter() - begin) * total / done))
        images.append({order: np.mean([np.stack(one[order]) for one in of_pixels], 0) for order in of_pixels[0]})
    bar.remove_task(task)
    return {order: np.stack([image[order] for image in images]) for order in images[0]}


def minutes(seconds: float) -> str:
    """Write a time in words."""
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
