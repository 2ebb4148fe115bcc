"""The command line of a sweep: the values of its options, and their combinations."""

import itertools
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.types import Override

from contextseg.errors import ConfigError

Given = Mapping[str, str]  # key -> override, as on the command line


def key(override: Override) -> str:
    """Return the group or option that an override sets."""
    return override.key_or_group


def values(override: Override) -> list[str]:
    """List the values of an override, one for each job."""
    if override.is_interval_sweep():
        raise ConfigError(f"{override.input_line}: an interval is for hydra/sweeper=optuna; give a list of values")
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator())


def names(override: Override) -> list[str]:
    """Return the values of ablation= or rows=: `a,b`, or the list `[a,b]`, which is no sweep."""
    value = override.value()
    return [str(name) for name in value] if isinstance(value, list) else values(override)


def combinations(command_line: Sequence[Override]) -> list[Given]:
    """List the combinations of all values; of two overrides of one key the later one counts."""
    options = {key(override): typed(override) for override in command_line}
    return [dict(zip(options, chosen, strict=True)) for chosen in itertools.product(*options.values())]


def typed(override: Override) -> list[str]:
    """Write an override for each of its values, as on the command line."""
    if not override.is_sweep_override():
        return [override.input_line]
    return [f"{override.get_key_element()}={value}" for value in values(override)]
