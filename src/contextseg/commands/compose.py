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
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from contextseg.commands.table import COMMANDS
from contextseg.commands.words import refuse_wrong_words
from contextseg.conf import CONF
from contextseg.door import defaults, groups, parse, refuse_missing_groups, settings
from contextseg.engine.options import TrainerOptions
from contextseg.errors import ConfigError, how_to_run
from contextseg.runs.configuration import flatten

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
    return without_hydra(cfg, cfg.hydra.runtime.choices, overrides)


def options(overrides: Sequence[str] = (), config_name: str = "train") -> Any:
    """Compose and check the options of the command `config_name`."""
    return COMMANDS[config_name].check(compose(overrides, config_name))


def without_hydra(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str] = ()) -> DictConfig:
    """Return a composed configuration without Hydra's part, and with the chosen options in `choices`.

    A `name` that is null is made from them. Several protocols are composed one by one, with the settings of `eval`
    among the overrides. Raises `ConfigError` for several where a command takes one.
    """
    cfg = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    several = protocols(overrides, takes_several="protocols" in cfg)
    choices = {**choices, "eval": next(iter(several))} if several else choices
    chosen = {group: str(choices[group]) for group in RECORDED if choices.get(group)}
    with open_dict(cfg):
        if several:
            cfg.protocols, cfg.eval = several, several[chosen["eval"]]
        cfg.choices = chosen
        if "head" in chosen and cfg.get("name") is None:
            cfg.name = "_".join(chosen[group] for group in ("head", "backbone", "data"))
    return cfg


def protocols(overrides: Sequence[str], takes_several: bool) -> dict[str, DictConfig]:
    """Compose each protocol of a list, `eval=[...]`, with those overrides that set what it has; {} without a list.

    Hydra merges the options of a list, as if they were parts of one. Raises `ConfigError` for a command that takes one
    protocol, for a name that is there twice, and for settings that are added or left out.
    """
    typed = [OverridesParser.create().parse_override(word) for word in overrides if "eval" in word]
    names = next((one.value() for one in reversed(typed) if one.key_or_group == "eval"), None)
    if not isinstance(names, list):
        return {}
    listed = f"eval=[{','.join(names)}]"
    if not takes_several:
        raise ConfigError(f"{listed}: one protocol is needed; to score by several:  {how_to_run('evaluate')} {listed}")
    if len(set(names)) < len(names):
        raise ConfigError(f"{listed}: name each protocol once")
    typed = [one for one in typed if one.key_or_group.startswith("eval.")]
    if other := [one.input_line for one in typed if one.is_add() or one.is_delete()]:
        raise ConfigError(f"{other[0]}: with several protocols settings can only be changed; give one protocol")
    found = {}
    for name in names:
        there = [f"eval.{key}." for key in flatten(OmegaConf.to_container(compose([f"eval={name}"], "evaluate").eval))]
        its = [one.input_line for one in typed if any(key.startswith(f"{one.key_or_group}.") for key in there)]
        found[name] = compose([f"eval={name}", *its], "evaluate").eval
    return found


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
