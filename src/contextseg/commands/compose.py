"""Composing the configuration of a command, by Hydra, from `conf/` and the command's dataclass of options."""

import netrc
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from contextseg.commands.table import COMMANDS
from contextseg.commands.words import refuse_wrong_words
from contextseg.conf import CONF
from contextseg.door import defaults, groups, parse, refuse_missing_groups, settings
from contextseg.engine.options import TrainerOptions

RECORDED = ("data", "backbone", "head", "loss", "eval")  # groups whose choice is recorded
HYDRA = {"output_subdir": None, "run": {"dir": "."}}
QUIET = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]


@cache
def register(name: str) -> type:
    """Give Hydra the primary configuration of a command, made from its dataclass of options; return the dataclass.

    Groups come after the options and in their order, so that a later group may override an earlier one.
    """
    command = COMMANDS[name]
    kind = command.options_class()
    chosen = groups(kind)
    node: dict[str, Any] = {
        "defaults": [
            "_self_",
            *({group: declared.metadata["choice"]} for group, declared in chosen.items()),
            *QUIET,
            *({f"override hydra/{group}": option} for group, option in command.hydra_groups.items()),
        ]
    }
    node |= {key: value for key, value in defaults(kind).items() if key != "choices"}
    node |= {group: values for group, declared in chosen.items() if (values := settings(declared))}
    ConfigStore.instance().store(group="trainer", name="base", node=defaults(TrainerOptions))
    ConfigStore.instance().store(name=name, node=node | {"hydra": HYDRA | dict(command.hydra)})
    return kind


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """Compose the configuration of the command `config_name` with these overrides; within a command, too.

    Raises `ConfigError` for words that name nothing, and what Hydra and OmegaConf raise.
    """
    register(config_name)
    refuse_wrong_words(overrides)
    running = GlobalHydra.instance()
    command, running.hydra = running.hydra, None  # Hydra refuses a second composition while a command runs
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra_compose(config_name, list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = command
    return without_hydra(cfg, cfg.hydra.runtime.choices)


def options(overrides: Sequence[str] = (), config_name: str = "train") -> Any:
    """Compose and check the options of the command `config_name`."""
    return COMMANDS[config_name].check(compose(overrides, config_name))


def without_hydra(cfg: DictConfig, choices: Mapping[str, Any]) -> DictConfig:
    """Return a composed configuration without Hydra's part, and with the chosen options in `choices`.

    A `name` that is null is made from them.
    """
    cfg = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    chosen = {group: str(choices[group]) for group in RECORDED if choices.get(group)}
    with open_dict(cfg):
        cfg.choices = chosen
        if "head" in chosen and cfg.get("name") is None:
            cfg.name = "_".join(chosen[group] for group in ("head", "backbone", "data"))
    return cfg


def parsed(kind: type, cfg: DictConfig) -> Any:
    """Check a composed configuration against a dataclass of options and return its instance."""
    refuse_missing_groups(kind, OmegaConf.to_container(cfg))  # first: references to a group that is not there fail
    return parse(kind, OmegaConf.to_container(cfg, resolve=True))


def no_login(host: str, variable: str) -> bool:
    """Tell whether there is neither an environment variable nor a netrc entry with a key for a host."""
    if os.environ.get(variable):
        return False
    try:
        return netrc.netrc().authenticators(host) is None
    except (OSError, netrc.NetrcParseError):
        return True


OmegaConf.register_new_resolver("no_login", no_login, replace=True)
