"""The words of a command line that Hydra reads without complaint, or breaks at: refused before it sees them."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from contextseg.conf import groups_known
from contextseg.door import FILLED_IN
from contextseg.errors import ConfigError
from contextseg.typed import shown


def refuse_wrong_words(words: Sequence[str]) -> None:
    """Raise `ConfigError` for a word without a key, a group whose value is no name, and what would change nothing.

    Words that Hydra cannot read are left to it.
    """
    if "--resolve" in words and not any(word.startswith(("--cfg", "-c")) for word in words):
        raise ConfigError("--resolve: goes with --cfg job, which prints the configuration")
    parser = OverridesParser.create()
    for word in words:
        try:
            one = parser.parse_override(word)
        except HydraException:
            continue
        key = one.key_or_group
        if not key:
            raise ConfigError(f"cannot read {word!r}: write key=value")
        if (head := key.partition(".")[0]) in FILLED_IN:
            raise ConfigError(f"{word}: {head} are filled in; choose an option of a group, group=OPTION")
        if one.is_sweep_override():
            continue
        if one.value() == {} and not one.is_delete():
            raise ConfigError(f"{word}: an empty mapping changes nothing; '~{key}.NAME' leaves an entry out")
        if key in groups_known():
            if not one.is_delete():
                refuse_no_name(key, one.value())
            elif not isinstance(one.value(), str | None):
                raise ConfigError(f"{word}: to omit the group, write  '~{key}'")


def refuse_no_name(group: str, value: Any) -> None:
    """Raise `ConfigError` for a value of a group that chooses nothing: a mapping sets options instead."""
    names = value if isinstance(value, list) and value else [value]
    if value is None:
        raise ConfigError(f"{group}=null: an option of the group is needed; to omit the group, write  '~{group}'")
    if not isinstance(value, dict) and not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{group}={shown(value)}: give the name of an option of the group; --help lists them")
