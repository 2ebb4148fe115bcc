"""The door of `train`: from a composed configuration to checked options. Nothing is built and no folder is made."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from contextseg import parts
from contextseg.conf import CONF, options_of
from contextseg.door import parse, refuse_missing_groups
from contextseg.engine.options import TrainOptions
from contextseg.errors import ConfigError, how_to_run
from contextseg.runs.folder import plain_name
from contextseg.runs.outside import refuse_other_start

FACTS = {  # arguments of the parts that are known when the network is built
    "backbone": (),
    "neck": ("in_channels", "strides"),
    "head": ("in_channels", "num_classes", "strides"),
    "aux_head": ("in_channels", "num_classes", "strides"),
    "data": (),
    "optim": ("model",),
    "schedule": ("optimizer", "max_steps"),
}


def checked(cfg: DictConfig) -> tuple[TrainOptions, dict[str, Any]]:
    """Return the options of a composed configuration and the same as plain containers.

    Raises `ConfigError` for an option that is unknown, of another type, or outside its range, at any depth.
    """
    refuse_missing_groups(TrainOptions, OmegaConf.to_container(cfg))
    config = OmegaConf.to_container(cfg, resolve=True)
    if config.get("ablation") or config.get("rows") is not None:
        raise ConfigError(f"a table is a sweep over its rows, add -m:  {how_to_run('train')} -m ablation=...")
    options = parse(TrainOptions, config)
    if options.name is not None:
        plain_name(options.name)
    refuse_other_start(options.trainer.nodes, options.trainer.devices, options.run.dir is not None)
    check_parts(options)
    if options.run.dir is None:  # what depends on the run folder is checked with a made-up one
        settled(cfg, Path("folder"), "id")
        return options, config
    for group in ("callbacks", "logger"):
        for name, node in (getattr(options, group) or {}).items():
            parts.check(node, f"{group}.{name}")
    return options, config


def check_parts(options: TrainOptions) -> None:
    """Check the settings of the parts of a network, its data, its training and its evaluation."""
    for part, facts in FACTS.items():
        parts.check(getattr(options, part), part, facts)
    for name, term in loss_terms(options).items():
        parts.check(term, f"loss.term.{name}")
    parts.check(options.eval.predictor, "eval.predictor")


def loss_terms(options: TrainOptions) -> dict[str, Any]:
    """Return the terms of `loss=` by their names. Raises `ConfigError` if a single term was chosen, or no loss."""
    choice, known = options.choices.get("loss", "null"), options_of("loss")
    term = choice.removeprefix("term/")
    if term != choice:
        raise ConfigError(f"loss={choice}: this is one term; choose {term if term in known else ', '.join(known)}")
    if not options.loss.get("term"):
        raise ConfigError(f"loss={choice}: it has no terms; choose one of {', '.join(known)}")
    for name in options.loss.keys() - {"term"} - read_by_heads():
        way_out = f"{name}=..." if hasattr(options, name) else f"loss.term.NAME.{name}=... for one of its terms"
        raise ConfigError(f"loss.{name}={options.loss[name]}: nothing reads it; give {way_out}")
    return options.loss["term"]


@cache
def read_by_heads() -> frozenset[str]:
    """Return the settings of a loss, beside its terms, that options of heads refer to."""
    files = (CONF / "head").glob("*.yaml")
    return frozenset(name for file in files for name in re.findall(r"\bloss\.(\w+)", file.read_text()))


def settled(cfg: DictConfig, folder: Path, run_id: str) -> tuple[TrainOptions, dict[str, Any]]:
    """Return what `checked` does with the run folder filled in, on which pictures, checkpoints and loggers depend."""
    before = cfg.run
    cfg.run = {"dir": str(folder), "id": run_id}  # for a moment: a copy of the whole takes a tenth of a second
    try:
        return checked(cfg)
    finally:
        cfg.run = before
