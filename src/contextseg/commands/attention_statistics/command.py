"""How far the attention of several networks looks on a split: numbers, and a picture."""

import json
import logging
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from contextseg.commands.attention_statistics.figure import figure
from contextseg.commands.attention_statistics.options import AttentionStatisticsOptions
from contextseg.commands.attention_statistics.summary import Row, as_csv, as_json, summarised, table
from contextseg.commands.inspection.subjects import Shot, look_at, subjects
from contextseg.console import console, progress
from contextseg.errors import ConfigError
from contextseg.explain import Look
from contextseg.explain.reach import Reach, reach
from contextseg.files import write_atomically
from contextseg.statistics import Resampling

log = logging.getLogger(__name__)
NAME = "attention_statistics"  # of the files


def main(cfg: DictConfig) -> None:
    """Write the statistics."""
    attention_statistics(cfg)


def attention_statistics(cfg: DictConfig) -> Path:
    """Measure every kind of attention of the networks of `ckpt=`, and write a picture and two files.

    Returns the folder. Raises what `subjects` raises, and `ConfigError` if no network has attention to show, or if
    labels are asked for that are kept back.
    """
    options, networks, shots = subjects(cfg, AttentionStatisticsOptions)
    if options.classes == "truth" and not shots.source.labelled:
        raise ConfigError(f"classes=truth: the labels of split={options.split} are kept back; give classes=prediction")
    found: dict[str, list[Reach]] = defaultdict(list)
    with progress() as bar:
        for name, network in networks.items():
            task = bar.add_task(name, total=len(shots), note="")
            for shot in shots:
                look = look_at(network, shot)
                kinds = look.attention()
                if not kinds:
                    log.info("%s: no attention between places of the whole image; left out", name)
                    break
                labels = labels_of(look, shot, options.classes)
                for kind, attention in kinds.items():
                    title = name if len(kinds) == 1 else f"{name}: {kind}"
                    found[title].append(reach(attention, labels, len(network.named_classes)))
                bar.advance(task)
            bar.remove_task(task)
    if not found:
        raise ConfigError(f"ckpt={options.ckpt}: no head with attention between places; gradients are in attend")
    how = Resampling(options.resamples)
    rows: list[Row] = [summarised(title, each, shots, how) for title, each in found.items()]
    classes = next(iter(networks.values())).named_classes
    options.output.mkdir(parents=True, exist_ok=True)
    write_atomically(options.output / f"{NAME}.csv", as_csv(rows, classes))
    write_atomically(options.output / f"{NAME}.json", json.dumps(as_json(rows, classes, options, shots), indent=1))
    figure(rows, classes).savefig(options.output / f"{NAME}.png")
    console.print(table(rows), soft_wrap=True, highlight=False, markup=False)
    log.info("%s: .png, .csv, .json", options.output / NAME)
    return options.output


def labels_of(look: Look, shot: Shot, classes: str) -> NDArray[np.uint8]:
    """Return the labels (H, W) that name the classes of places: those predicted, or the true ones."""
    if classes == "truth" and shot.truth is not None:
        return shot.truth
    return look.probabilities()[1][0].numpy()
