"""The names of configurations: the few settings that tell each from the others, the head first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from contextseg.runs.store import named_settings, settings

HEAD = "head"
PLAIN = (HEAD, "backbone", "data")  # groups whose options need no name before them
Flat = Mapping[str, str]


def configuration_names(configs: Iterable[Mapping[str, Any]]) -> dict[tuple, str]:
    """Name the configurations of trainings, by their settings without the seed; no two have one name.

    A row of a paper's table keeps its name, followed by what tells its configurations apart, if there are several.
    Others are named by their head and what else is needed: "ocr, lr=0.001".
    """
    first: dict[tuple, Mapping[str, Any]] = {}
    for config in configs:
        first.setdefault(settings(config), config)
    names = {}
    for row in dict.fromkeys(config.get("row") for config in first.values()):
        same = {key: facts(config) for key, config in first.items() if config.get("row") == row}
        for key, words in zip(same, fewest_words(list(same.values()), always=() if row else (HEAD,)), strict=True):
            names[key] = f"{row} ({words})" if row and words else row or words or "all"
    return names


def facts(config: Mapping[str, Any]) -> Flat:
    """Return what may name a configuration: its chosen options, then the settings that change its scores."""
    return config.get("choices", {}) | dict(named_settings(config))


def fewest_words(configs: Sequence[Flat], always: Sequence[str] = ()) -> list[str]:
    """Name each of several configurations by the settings that it needs to be told from the others, and those of
    `always`; "" if it needs none."""
    told = telling(configs, always)
    keys = {key for config in configs for key in config}
    return [", ".join(word(key, config, keys) for key in needed(config, configs, told, always)) for config in configs]


def telling(configs: Sequence[Flat], always: Sequence[str]) -> list[str]:
    """Return the settings that tell all configurations apart: the head, then whichever leaves the fewest alike.

    Of several the one of the shortest words.
    """
    keys = sorted({key for config in configs for key in config})
    told = list(always) or [HEAD]
    while kinds(configs, told) < len(configs):
        rank = {key: (-kinds(configs, [*told, key]), *longest(key, configs, keys)) for key in keys if key not in told}
        told.append(min(rank, key=lambda key: rank[key]))
    return told


def kinds(configs: Sequence[Flat], told: Sequence[str]) -> int:
    """Count the configurations that differ in one of these settings."""
    return len({tuple(config.get(key) for key in told) for config in configs})


def longest(key: str, configs: Sequence[Flat], keys: Iterable[str]) -> tuple[int, str]:
    """Return the length of the longest word that a setting gives, and the setting."""
    return max(len(word(key, config, keys)) for config in configs if key in config), key


def needed(config: Flat, configs: Sequence[Flat], told: Sequence[str], always: Sequence[str]) -> Iterator[str]:
    """Yield the settings, of those that tell all apart, that this configuration needs and has."""
    alike = configs
    for key in told:
        same = [other for other in alike if other.get(key) == config.get(key)]
        if key in config and (key in always or len(same) < len(alike)):
            yield key
        alike = same


def word(key: str, config: Flat, keys: Iterable[str]) -> str:
    """Write a setting and its value: "lr=0.001"; the value alone where it says by itself what it is."""
    return config[key] if key in PLAIN else f"{short(key, keys)}={config[key]}"


def short(key: str, keys: Iterable[str]) -> str:
    """Return the last parts of a dotted key by which it is known: "lr" for optim.lr, "ce.weight" if aux has one too."""
    others = [named(other) for other in keys if other != key]
    tails = endings(named(key))
    return next((tail for tail in tails if not any(tail in endings(other) for other in others)), key)


def endings(key: str) -> list[str]:
    """Return the last part of a dotted key, the last two, ..., and the key."""
    parts = key.split(".")
    return [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]


def named(key: str) -> str:
    """Return the part whose class `_target_` is, and any other key as it is."""
    return key.removesuffix("._target_")


def meant(config: Mapping[str, Any]) -> set[str]:
    """Return the words by which a user may ask for a configuration: its options, "lr=0.001", "optim.lr=0.001"."""
    known = facts(config)
    words = {f"{tail}={value}" for key, value in known.items() for tail in endings(named(key))}
    return words | set(config.get("choices", {}).values())
