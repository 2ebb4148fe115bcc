"""The checkpoints of an evaluation, and what those must share that are scored in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from contextseg.checkpoint import network_weights
from contextseg.engine.options import EvaluateOptions
from contextseg.errors import ConfigError
from contextseg.recipe import backbone_settings
from contextseg.runs.configuration import flatten
from contextseg.runs.provenance import versions
from contextseg.typed import shown

SHARED = ("data", "eval", "trainer.accelerator", "trainer.devices", "trainer.precision", "trainer.deterministic")
OF_TRAINING = ("data.transform", "data.batch_size", "data.num_workers")  # no score depends on them
WAY_OUT = "or score them one by one"


@dataclass
class Candidate:
    """A checkpoint to be scored by one protocol.

    checkpoint  what it holds; those of one file share it
    config      the options as plain containers, for config.yaml
    """

    file: str
    checkpoint: dict[str, Any]
    options: EvaluateOptions
    config: dict[str, Any]

    @property
    def protocol(self) -> str | None:
        """Return the option of `eval=`; None if the checkpoint's own has no name."""
        return self.options.choices.get("eval")

    def facts(self, together: int) -> dict[str, Any]:
        """Return what `metrics.json` holds at the start of an evaluation with so many records."""
        options = self.options
        known = {"status": "running", "ckpt": self.file, "trained_steps": self.checkpoint["global_step"]}
        known |= {"force": options.force, "split": options.split, "protocol": self.protocol}
        return known | ({"together": together} if together > 1 else {}) | {"versions": versions()}


def refuse_unlike(candidates: Sequence[Candidate]) -> None:
    """Raise `ConfigError`, naming both files, if a pass over the data cannot be shared by all checkpoints.

    They need equal classes, data sets, protocols, devices and backbones.
    """
    first, *others = candidates
    several = "protocols" if all(one.checkpoint is first.checkpoint for one in candidates) else "checkpoints"
    if others and first.options.trainer.devices > 1:
        raise ConfigError(
            f"trainer.devices={first.options.trainer.devices}: several {several} are scored on one device; give 1, "
            f"{WAY_OUT}"
        )
    if others and (folder := first.options.callbacks.pictures.folder):
        raise ConfigError(
            f"callbacks.pictures.folder={folder}: the pictures of several {several} would have the same names; leave "
            f"it out, {WAY_OUT}"
        )
    own = {one.protocol: one for one in candidates if one.checkpoint is first.checkpoint}
    for other in (one for one in others if one.checkpoint is not first.checkpoint):
        like = own.get(other.protocol, first)
        pair = f"ckpt={other.file}", f"ckpt={first.file}"
        if classes(first) != classes(other):
            raise ConfigError("{} was trained for other classes than {}; score them one by one".format(*pair))
        here, there = pass_settings(like.config), pass_settings(other.config)
        for key in sorted(here.keys() | there.keys(), key=lambda key: (not key.endswith("_target_"), key)):
            if (mine := here.get(key)) != (its := there.get(key)):
                option = key.partition(".")[0] if key.endswith("_target_") else key
                raise ConfigError(
                    f"{pair[0]} has {key}={shown(its)}, but {pair[1]} has {shown(mine)}; give {option}= for all, "
                    f"{WAY_OUT}"
                )
        if not same_backbone(first.checkpoint, other.checkpoint):
            raise ConfigError("{} has another backbone than {}; score them one by one".format(*pair))


def classes(candidate: Candidate) -> list[str]:
    """Return the names of the classes that a network was trained for."""
    return candidate.checkpoint["recipe"]["classes"]["names"]


def pass_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a pass over the data depends on, by their dotted names."""
    return {
        key: value
        for key, value in flatten(config).items()
        if any(f"{key}.".startswith(f"{shared}.") for shared in SHARED)
        and not any(f"{key}.".startswith(f"{free}.") for free in OF_TRAINING)
    }


def same_backbone(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether the backbones in two checkpoints give the same maps: equal settings, weights and memory format."""
    if backbone_settings(one["recipe"]) != backbone_settings(other["recipe"]):
        return False
    here, there = (
        {name: value for name, value in network_weights(checkpoint).items() if name.startswith("backbone.")}
        for checkpoint in (one, other)
    )
    return here.keys() == there.keys() and all(
        value.stride() == there[name].stride() and torch.equal(value, there[name]) for name, value in here.items()
    )
