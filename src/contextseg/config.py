"""Composing the configuration in `conf/`, for commands, tests and notebooks alike."""

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from contextseg.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMED = ("data", "backbone", "head", "loss", "eval")  # groups whose choice is recorded

# What may differ when a run goes on: limits of the trainer, loggers, paths; nothing that changes the numbers.
FREE = ("trainer.max_steps", "trainer.val_every_steps", "trainer.save_every_steps", "trainer.log_every_steps")
FREE += ("trainer.lightning", "logger", "callbacks", "paths", "run", "resume", "choices", "data.root")
FREE += ("data.num_workers",)

# The smallest value of options that libraries would refuse late or in their own words.
LEAST = {"seed": 0, "width": 1, "label_stride": 1, "data.batch_size": 1, "data.num_workers": 0, "eval.batch_size": 1}
LEAST |= {"data.train_size": 1, "data.val_size": 1, "data.test_size": 1, "head.channels": 1, "head.key_channels": 1}
LEAST |= {"optim.lr": 0, "optim.weight_decay": 0, "callbacks.pictures.count": 0, "trainer.gradient_clip": 0}
SWITCHES = ("frozen_batch_norm", "trainer.channels_last", "trainer.sync_batchnorm")  # any word would turn them on


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """The configuration that the command `config_name` would get from these overrides; within a command, too."""
    running = GlobalHydra.instance()
    command, running.hydra = running.hydra, None  # while a command's is there, nobody else may compose
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra_compose(config_name, list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = command
    choices = cfg.hydra.runtime.choices
    return record_choices(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), choices)


def record_choices(cfg: DictConfig, choices: Mapping[str, Any]) -> DictConfig:
    """The configuration with the chosen options written down in `choices`, and `name` made from them if it is null."""
    chosen = {group: str(choices[group]) for group in NAMED if choices.get(group)}
    with open_dict(cfg):
        cfg.choices = chosen
        if "head" in chosen and cfg.name is None:
            cfg.name = "_".join(chosen[group] for group in ("head", "backbone", "data"))
    return cfg


def check_values(cfg: DictConfig) -> None:
    """Raises `ConfigError` for an option of `LEAST` that is no number or too small, and one of `SWITCHES` that is no
    truth value."""
    for option in SWITCHES:
        if not isinstance(value := OmegaConf.select(cfg, option), bool):
            raise ConfigError(f"{option}={value}: give true or false")
    for option, least in LEAST.items():
        value = OmegaConf.select(cfg, option)
        if value is not None and (isinstance(value, bool | str) or value < least):
            raise ConfigError(f"{option}={value}: give a number that is at least {least}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that differ between two configurations, but for those in `FREE`: "optim.lr: 0.1 -> 0.2"."""
    before, now = flatten(before), flatten(now)
    return [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not any(f"{key}.".startswith(f"{free}.") for free in FREE)
    ]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one dict with dotted keys."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {
        key: value
        for name, child in node.items()
        for key, value in flatten(child, f"{prefix}.{name}".strip(".")).items()
    }


def no_login(host: str, variable: str) -> bool:
    """Whether there is neither an environment variable nor a netrc entry with a key for a host."""
    if os.environ.get(variable):
        return False
    try:
        return netrc.netrc().authenticators(host) is None
    except (OSError, netrc.NetrcParseError):
        return True


OmegaConf.register_new_resolver("no_login", no_login, replace=True)
