"""Composing the configuration in `conf/`, for commands, tests and notebooks alike."""

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMED = ("data", "backbone", "head", "loss", "eval")  # groups whose choice is recorded


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """The configuration that the command `config_name` would get from these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra_compose(config_name, list(overrides), return_hydra_config=True)
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


def no_login(host: str, variable: str) -> bool:
    """Whether there is neither an environment variable nor a netrc entry with a key for a host."""
    if os.environ.get(variable):
        return False
    try:
        return netrc.netrc().authenticators(host) is None
    except (OSError, netrc.NetrcParseError):
        return True


OmegaConf.register_new_resolver("no_login", no_login, replace=True)
