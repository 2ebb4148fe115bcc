"""The door of `evaluate`: the options of the command line, over those that the checkpoint was trained with."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from contextseg import parts
from contextseg.door import parse
from contextseg.engine.options import EvalOptions, EvaluateOptions
from contextseg.errors import ConfigError
from contextseg.files import existing_checkpoint
from contextseg.typed import check


def as_trained(trained: dict[str, Any], cfg: DictConfig, file: str) -> DictConfig:
    """Merge the settings of `cfg` over the configuration in a checkpoint; a group that was chosen replaces it.

    Arguments that its training passed to Lightning are dropped, its nodes, and `features`. Raises `ConfigError` if the
    checkpoint names a part that is neither ours nor trusted.
    """
    trained = {group: node for group, node in trained.items() if group not in (*cfg.choices, "features")}
    for group in ("data", "eval"):
        parts.refuse_strangers(trained.get(group), group, file)
    trained["trainer"] = {**trained.get("trainer", {}), "lightning": {}, "nodes": None}
    return OmegaConf.merge(trained, without_nulls(OmegaConf.to_container(cfg)))


def first_look(cfg: DictConfig, kind: type[Any] = EvaluateOptions) -> None:
    """Check the options of the command line before the checkpoint is read. Raises `ConfigError`."""
    options = parse(kind, without_nulls(OmegaConf.to_container(cfg, resolve=True)))
    for part in ("data", "eval"):
        if part in cfg.choices:
            parts.check(options.data if part == "data" else options.eval.predictor, part)
    for node in getattr(options, "protocols", {}).values():
        parts.check(parse(EvalOptions, node, "eval.").predictor, "eval.predictor")
    for file in options.ckpt if isinstance(options.ckpt, list) else [options.ckpt]:
        existing_checkpoint(file)


def each_checkpoint(cfg: DictConfig) -> list[DictConfig]:
    """Return the composed configuration for each checkpoint that `ckpt` names, its path without `~/`."""
    named = OmegaConf.to_container(cfg)["ckpt"]
    files = named if isinstance(named, list) else [named]
    return [OmegaConf.merge(cfg, {"ckpt": str(check(Path, file, "ckpt"))}) for file in files]


def each_protocol(cfg: DictConfig) -> list[DictConfig]:
    """Return the composed configuration for each protocol of `eval=`, itself if there is one."""
    listed, cfg = cfg.protocols, OmegaConf.masked_copy(cfg, [key for key in cfg if key != "protocols"])
    found = []
    for name, node in listed.items():
        one = cfg.copy()
        one.eval, one.choices.eval = node, name
        found.append(one)
    return found or [cfg]


def checked(kind: type[Any], trained: dict[str, Any], cfg: DictConfig) -> tuple[Any, dict[str, Any]]:
    """Return the options of an evaluation and the same as plain containers. Raises `ConfigError` for a wrong one."""
    merged = as_trained(trained, cfg, f"ckpt={cfg.ckpt}")
    known = [declared.name for declared in fields(kind) if declared.name in merged]
    config = OmegaConf.to_container(OmegaConf.masked_copy(merged, known), resolve=True)
    if "callbacks" in config:  # training has others, and draws into its own folder
        pictures = {"count": config["callbacks"].get("pictures", {}).get("count") or 0}
        if (folder := OmegaConf.select(cfg, "callbacks.pictures.folder")) is not None:
            pictures["folder"] = folder
        config["callbacks"] = {"pictures": pictures}
    options = parse(kind, config)
    if (trainer := getattr(options, "trainer", None)) and trainer.nodes:
        raise ConfigError(f"trainer.nodes={trainer.nodes}: this command works on one machine; give trainer.devices=")
    parts.check(options.data, "data")
    if "eval" in known:
        parts.check(options.eval.predictor, "eval.predictor")
    return options, config


def without_nulls(node: dict[str, Any]) -> dict[str, Any]:
    """Return nested dicts without the keys that are null."""
    return {
        key: without_nulls(value) if isinstance(value, dict) else value
        for key, value in node.items()
        if value is not None
    }
