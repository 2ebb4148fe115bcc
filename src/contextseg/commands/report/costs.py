"""What the configurations of finished runs cost: parameters, FLOPs, memory, and milliseconds on this machine.

All is computed from the saved configurations; neither data nor weights are needed.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contextseg.commands.complexity.network import Cost, anonymous, measure
from contextseg.commands.complexity.timing import Times, in_turn
from contextseg.commands.report.scored import Scored
from contextseg.console import progress
from contextseg.door import parse
from contextseg.engine import build
from contextseg.engine.options import TrainOptions
from contextseg.errors import ConfigError
from contextseg.parts import refuse_strangers
from contextseg.recipe import PARTS
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)
NEEDED = (*PARTS, "loss", "data", "align_corners", "attention", "choices")  # of a configuration, for its network


@dataclass(frozen=True)
class Costs:
    """What a configuration costs, on images of one size.

    name        of the configuration
    parameters  that inference needs, so without those of an auxiliary head
    trained     those of them that training changed
    flops       of one image, forward, 2 per multiply-add of convolutions and matrix products, without auxiliary head
    memory      bytes that autograd keeps from the forward to the backward pass of a batch, in float32, without the loss
    batch_size  of the training
    ms          median milliseconds of one image, forward
    fault       why there are no numbers; None if there are
    """

    name: str
    parameters: int = 0
    trained: int = 0
    flops: int = 0
    memory: int = 0
    batch_size: int = 0
    ms: float = 0.0
    fault: str | None = None


@dataclass(frozen=True)
class Measured:
    """The costs of all configurations, in their order, for images of `size` (height, width)."""

    costs: list[Costs]
    size: tuple[int, int]
    times: Times


def measured(found: Sequence[Scored], size: tuple[int, int]) -> Measured:
    """Measure every configuration whose training is among the runs; networks that are the same are measured once.

    One that cannot be built or counted gets a `fault` instead of numbers.
    """
    distinct: dict[str, tuple[Segmenter, Cost]] = {}
    shared: dict[str, Any] = {}  # backbones: most of the memory
    costs: list[Costs] = []
    keys: list[str | None] = []  # of `distinct`
    trained = list({one.name: one for one in reversed(found) if one.config}.values())[::-1]
    with progress() as bar:
        task = bar.add_task("counting", total=len(trained), note="")
        for one in trained:
            try:
                options, classes = saved_options(one), class_count(one)
                key = alike(options, classes)
                if key not in distinct:
                    distinct[key] = counted(options, classes, size, shared)
                costs.append(summed(one.name, distinct[key][1], options.data.get("batch_size", 1)))
                keys.append(key)
            except ConfigError as error:
                costs.append(Costs(one.name, fault=str(error)))
                keys.append(None)
            bar.advance(task)
    log.info("costs: %d networks counted; now they are timed", len(distinct))
    times = in_turn([network for network, _ in distinct.values()], size)
    ms = dict(zip(distinct, times.medians, strict=True))
    timed = [replace(one, ms=ms[key]) if key else one for one, key in zip(costs, keys, strict=True)]
    return Measured(timed, size, times)


def saved_options(one: Scored) -> TrainOptions:
    """Return the options that decide the network of a configuration.

    Raises `ConfigError` for parts that are missing, and for foreign ones.
    """
    config: Mapping[str, Any] = one.config or {}
    for part in (*PARTS, "loss", "data"):
        if not config.get(part):
            raise ConfigError(f"its config.yaml has no {part}")
        if part != "data":  # which is not built
            refuse_strangers(config[part], part, "config.yaml")
    return parse(TrainOptions, {name: config[name] for name in NEEDED if name in config})


def class_count(one: Scored) -> int:
    """Return the number of classes, from the scores by class. Raises `ConfigError` if a run has none."""
    scores = next((run.metrics["iou"] for run in one.seeds.values() if run.metrics.get("iou")), None)
    if scores is None:
        raise ConfigError("metrics.json has no IoU by class, so the number of classes is not known")
    return len(scores)


def alike(options: TrainOptions, classes: int) -> str:
    """Return what decides the costs of a network, as text."""
    recipe = build.recipe(options, anonymous(classes))
    backbone = {name: value for name, value in recipe["backbone"].items() if name != "weights"}
    facts = recipe | {"backbone": backbone, "versions": None, "loss": options.loss}
    return json.dumps(facts | {"batch_size": options.data.get("batch_size")}, sort_keys=True, default=str)


def counted(
    options: TrainOptions, classes: int, size: tuple[int, int], shared: dict[str, Any]
) -> tuple[Segmenter, Cost]:
    """Build a network at random, with a backbone of `shared` if its like is there, and count it.

    Raises `ConfigError` if its head or backbone takes images of another size only, or if the parts do not fit together.
    """
    network, recipe = build.network(options, anonymous(classes), pretrained=False)
    window = network.window
    if window is not None and tuple(window) != size:
        raise ConfigError(
            f"its head or backbone takes images of {window[0]}x{window[1]} only; give costs=[{window[0]},{window[1]}]"
        )
    network.backbone = shared.setdefault(json.dumps(recipe["backbone"], default=str), network.backbone)
    return network, measure(options, anonymous(classes), size, options.data.get("batch_size", 1))


def summed(name: str, cost: Cost, batch_size: int) -> Costs:
    """Sum the costs of the parts."""
    parameters, trained = (
        sum(number for part, number in numbers.items() if part != "aux") for numbers in (cost.parameters, cost.trained)
    )
    memory = sum(cost.training["float32"].values())
    return Costs(name, parameters, trained, cost.inference_flops()[0], memory, batch_size)
