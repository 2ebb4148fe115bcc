"""Saved configurations as plain containers: flattening and comparison."""

from collections.abc import Mapping
from typing import Any

from contextseg.parts import completed

# Settings that may differ when a run continues. They change no score, but for `trainer.lightning` and callbacks of the
# user's: those may, and whoever passes them answers for it.
FREE_SETTINGS = (
    *("trainer.max_steps", "trainer.val_every_steps", "trainer.save_every_steps", "trainer.log_every_steps"),
    *("trainer.lightning", "logger", "callbacks", "paths", "run", "resume", "choices", "data.root", "name"),
    "data.num_workers",
    "data.max_megapixels",
    "features.cache",
)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the settings that differ between two configurations: "optim.lr: 0.1 -> 0.2".

    Those in `FREE_SETTINGS` do not count. A setting that only one of them has counts as null there, or as the default
    of the part that takes it.
    """
    before, now = flatten(completed(before)), flatten(completed(now))
    return [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not any(f"{key}.".startswith(f"{free}.") for free in FREE_SETTINGS)
    ]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one dict with dotted keys."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {
        key: value
        for name, child in node.items()
        for key, value in flatten(child, f"{prefix}.{name}".strip(".")).items()
    }
