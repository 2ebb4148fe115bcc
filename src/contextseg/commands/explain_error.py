"""Errors in words: one line that names the option, its value and the way out."""

import re
from difflib import get_close_matches

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from contextseg.commands.compose import compose
from contextseg.conf import CONF, options_of
from contextseg.errors import ConfigError
from contextseg.runs import folder as run_folder
from contextseg.runs.configuration import flatten


def explain(error: BaseException, config_name: str) -> tuple[str, int]:
    """One line on an error, and the exit code: 2 if the user can put it right; "" if only the traceback tells more."""
    if isinstance(error, ConfigError):
        return worker_error(str(error)), 2
    if isinstance(error, HydraException | OmegaConfBaseException) or "Config group override" in str(error):
        return explain_hydra(error, config_name), 2
    logged = [note for note in getattr(error, "__notes__", []) if note.startswith(run_folder.LOGGED)]
    return (f"{one_line(f'{type(error).__name__}: {error}')[:500]} ({logged[0]})" if logged else ""), 1


def one_line(text: str) -> str:
    return " ".join(text.split())


def worker_error(text: str) -> str:
    """The message of a `ConfigError`, also if a loader worker raised it: torch wraps it in the worker's traceback."""
    return one_line(text.rsplit("ConfigError: ", 1)[-1])


def explain_hydra(error: Exception, config_name: str) -> str:
    """Hydra's message as one line, with the way out."""
    if str(error).startswith("Config group override must be"):
        return "GROUP=null: an option of the group is needed; to leave the group out, write  '~GROUP'"
    text = one_line(str(error)).split(" Config search path:")[0].split(" full_key:")[0]
    if isinstance(error, OverrideParseException):
        return quoting(error.override)
    if ambiguous := re.match(r"Ambiguous value for argument '(.*?)' 1\.", text):
        return f"{quoting(ambiguous[1])}; to run one job for each value, add -m"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return no_such_option(error.missing_cfg_file)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(unknown[1], config_name)
    return text


def quoting(override: str) -> str:
    """How to write an override that Hydra's grammar does not read."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"cannot read {override}: write key=value; a value with spaces needs quotes:  'key=\"two words\"'"
    return f"cannot read {override}: a value with = , [ ] {{ }} or ~ needs two pairs of quotes:  '{key}=\"{value}\"'"


def no_such_option(file: str) -> str:
    """The options of a group, for one that does not exist."""
    group, _, option = file.rpartition("/")
    known = options_of(group)
    return f"{group}={option}: no such option; choose one of {', '.join(known) or 'none'}"


def unknown_key(key: str, config_name: str) -> str:
    """The nearest known key, for one that does not exist."""
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    known = [*groups, *flatten(OmegaConf.to_container(compose(config_name=config_name)))]
    near = get_close_matches(key, known, n=1)
    if key in groups:
        hint = f"{config_name} has no such group"
    elif key in known:
        hint = f"the chosen {key.split('.')[0]} does not have it"
    else:
        hint = f"did you mean {near[0]}?" if near else "--help lists every option"
    return f"unknown option {key}: {hint} (+{key}=... adds an argument that the configuration does not list)"
