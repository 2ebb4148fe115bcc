"""Errors in one line that names the option, its value and the way out."""

import errno
import re
from collections.abc import Sequence
from difflib import get_close_matches

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from contextseg import parts
from contextseg.commands.compose import compose
from contextseg.conf import groups_known, options_of
from contextseg.errors import ConfigError
from contextseg.runs import folder as run_folder
from contextseg.runs.configuration import flatten


def explain(error: BaseException, config_name: str, words: Sequence[str] = ()) -> tuple[str, int]:
    """Return one line on an error and the exit code, 2 if the user can correct it; "" if only the traceback helps.

    `words`: those of the command line, if they were being composed.
    """
    if own := own_error(error):
        return worker_error(str(own)), 2
    if isinstance(error, HydraException | OmegaConfBaseException) and str(error):
        return one_line(explain_hydra(error, config_name, words)), 2
    if said := of_a_word(error, config_name, words):
        return said, 2
    logged = [note for note in getattr(error, "__notes__", []) if note.startswith(run_folder.LOGGED)]
    said = of_the_disk(error) if isinstance(error, OSError) else ""
    if said and not logged:
        return said, 2
    what = said or one_line(f"{type(error).__name__}: {error}")[:500]
    return (f"{what} ({logged[0]})" if logged else ""), 1


def own_error(error: BaseException) -> ConfigError | None:
    """Return our error, which OmegaConf wraps if a resolver raised it; None if it is none of ours."""
    wrapped: BaseException | None = error
    while isinstance(wrapped, OmegaConfBaseException | HydraException):
        wrapped = wrapped.__cause__ or wrapped.__context__
    return wrapped if isinstance(wrapped, ConfigError) else None


def of_the_disk(error: OSError) -> str:
    """Return one line on a place that cannot be read or written; "" for an error that names no file."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not error.filename and not full:
        return ""
    way_out = "free some space, or give a folder on another disk" if full else "give another place"
    return f"{error.filename or 'the disk'}: {error.strerror}; {way_out}"


def of_a_word(error: BaseException, config_name: str, words: Sequence[str]) -> str:
    """Return one line on the word at which Hydra breaks, instead of refusing it; "" if there is none."""
    for count, word in enumerate(words, 1):
        try:
            compose(words[:count], config_name)
        except type(error) as again:
            return one_line(f"cannot read {word}: it sets nothing that there is ({again}); --help lists every option")
        except Exception:
            continue
    return ""


def one_line(text: str) -> str:
    return re.sub(r"\s*[\n\r\t\v\f\x85\u2028\u2029]\s*", " ", text).strip()


def worker_error(text: str) -> str:
    """Return the message of a `ConfigError`, also of one that torch wrapped in the traceback of a loader worker."""
    return one_line(text.rsplit("ConfigError: ", 1)[-1])


def explain_hydra(error: BaseException, config_name: str, words: Sequence[str] = ()) -> str:
    """Return Hydra's message as one line, with the way out."""
    text = one_line(str(error)).split(" Config search path:")[0].split(" full_key:")[0]
    if isinstance(error, OverrideParseException):
        return quoting(error.override)
    if ambiguous := re.match(r"Ambiguous value for argument '(.*?)' 1\.", text):
        return f"{quoting(ambiguous[1])}; to run one job for each value, add -m"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return no_such_option(error.missing_cfg_file)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(unknown[1], config_name, words)
    option = getattr(error, "full_key", None)
    return f"{option}: {text}; give a value, or quote a text with ${{...}} as \\${{...}}" if option else text


def quoting(override: str) -> str:
    """Say how to write an override that Hydra's grammar does not read."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"cannot read {override}: write key=value; a value with spaces needs quotes:  'key=\"two words\"'"
    return f"cannot read {override}: a value with = , [ ] {{ }} or ~ needs two pairs of quotes:  '{key}=\"{value}\"'"


def no_such_option(file: str) -> str:
    """List the options of a group, for one that does not exist."""
    depth = 2 if file.startswith(("hydra/", "loss/term/")) else 1  # of the group's name; options may lie in folders
    words = file.split("/")
    group, option = "/".join(words[:depth]), "/".join(words[depth:])
    known = options_of(group)
    return f"{group}={option}: no such option; choose one of {', '.join(known) or 'none'}"


def unknown_key(key: str, config_name: str, words: Sequence[str] = ()) -> str:
    """Name the option that was probably meant by one that does not exist, or those that the choices in `words` have."""
    groups = groups_known()
    choices = [word for word in words if word.partition("=")[0].lstrip("+") in groups]
    cfg = chosen([word.partition(",")[0] for word in choices], config_name)  # of a sweep the first one
    if key in groups:
        hint = "; give device=cpu, gpu or auto" if key == "trainer" and "device" in cfg else ""
        return f"unknown option {key}: {config_name} has no such group{hint}"
    above, _, last = key.rpartition(".")
    known = known_options(cfg)
    if any(option.startswith(f"{key}.") for option in known):
        return f"cannot replace {key} as a whole: set what is in it, {key}.NAME=value, or add to it, +{key}.NAME=value"
    same_group = [option for option in known if option.split(".")[0] == key.split(".")[0]]
    near = [option for option in same_group if last in option.rpartition(".")[2]]
    near += get_close_matches(key, [*known, *sorted(groups)], n=1, cutoff=0.75)
    there = ", ".join(option for option in known if option.rpartition(".")[0] == above)
    if key in known_options(compose(config_name=config_name)):
        hint = f"the chosen {key.split('.')[0]} does not list it" + f"; there are {there}" * bool(there)
    elif near:
        hint = f"did you mean {near[0]}?"
    else:
        hint = f"there are {there}" if there else "--help lists every option"
    return f"unknown option {key}: {hint} (+{key}=... adds a setting that the configuration does not list)"


def chosen(choices: Sequence[str], config_name: str) -> DictConfig:
    """Compose the choices of parts, or the defaults if these do not compose either."""
    try:
        return compose(list(choices), config_name)
    except (HydraException, OmegaConfBaseException):
        return compose(config_name=config_name)


def known_options(cfg: DictConfig) -> list[str]:
    """List the options of a composed configuration, and the settings that its parts have beside those listed."""
    known = flatten(OmegaConf.to_container(cfg))
    targets = {key.rpartition(".")[0]: value for key, value in known.items() if key.endswith("._target_")}
    settings = (
        f"{above}.{name}"
        for above, target in targets.items()
        for name in parts.signature(target, above, imported=False).settings
    )
    return list(dict.fromkeys([*(key for key in known if not key.endswith("_target_")), *settings]))
