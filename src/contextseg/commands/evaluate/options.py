"""The door of `evaluate`: what the command line sets, over what the checkpoint was trained with."""

from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from contextseg import parts
from contextseg.door import parse
from contextseg.engine.options import EvaluateOptions


def as_trained(trained: dict[str, Any], cfg: DictConfig, file: str) -> DictConfig:
    """Merge what `cfg` sets over the configuration in a checkpoint; a group that was chosen replaces all of it.

    What the checkpoint alone decides names parts of contextseg only, or `ConfigError` is raised. Arguments that its
    training handed to Lightning are left behind.
    """
    trained = {group: node for group, node in trained.items() if group not in cfg.choices}
    for group in ("data", "eval"):
        parts.refuse_strangers(trained.get(group), group, file)
    trained["trainer"] = {**trained.get("trainer", {}), "lightning": {}}
    return OmegaConf.merge(trained, without_nulls(OmegaConf.to_container(cfg)))


def checked(kind: type, trained: dict[str, Any], cfg: DictConfig) -> tuple[Any, dict[str, Any]]:
    """Return the options of an evaluation and the same as plain containers. Raises `ConfigError` for a wrong one."""
    known = [declared.name for declared in fields(kind)]
    merged = as_trained(trained, cfg, f"ckpt={cfg.ckpt}")
    config = OmegaConf.to_container(
        OmegaConf.masked_copy(merged, [key for key in known if key in merged]), resolve=True
    )
    if "callbacks" in config:  # of the training, there are more
        pictures = {
            **config["callbacks"].get("pictures", {}),
            **without_nulls(OmegaConf.to_container(cfg)).get("callbacks", {}).get("pictures", {}),
        }
        config["callbacks"] = {"pictures": {key: pictures[key] for key in ("count",) if key in pictures}}
    options = parse(kind, config)
    parts.check(options.data, "data")
    parts.check(options.eval.predictor, "eval.predictor")
    return options, config


def without_nulls(node: dict[str, Any]) -> dict[str, Any]:
    """Return nested dicts without the keys that are null."""
    return {
        key: without_nulls(value) if isinstance(value, dict) else value
        for key, value in node.items()
        if value is not None
    }


__all__ = ["EvaluateOptions", "as_trained", "checked", "without_nulls"]
