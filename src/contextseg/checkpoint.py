"""Checkpoints that carry their own recipe: one file rebuilds the model, with no network and no other file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contextseg import recipe as recipes
from contextseg.errors import ConfigError
from contextseg.files import first_damaged
from contextseg.parts import refuse_strangers
from contextseg.segmenter import Segmenter
from contextseg.typed import shown

CONTENTS = {"recipe": dict, "state_dict": dict, "config": dict, "global_step": int}  # of a checkpoint, that we use


def read_checkpoint(path: str | Path, option: str = "ckpt") -> dict[str, Any]:
    """Read a checkpoint in the present format; see `read_as_saved`, which raises `ConfigError` for a bad file."""
    return recipes.upgrade(read_as_saved(path, option), f"{option}={path}")


def read_as_saved(path: str | Path, option: str = "ckpt") -> dict[str, Any]:
    """Read a checkpoint as its version wrote it: plain containers and tensors, on the CPU; nothing in it is executed.

    Raises `ConfigError` if there is no such file, if it cannot be read, if a byte of it has changed, or if it was not
    written by this project; the message begins with `option`.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{option}={path}: no such file; give a .ckpt of a run folder's checkpoints/")
    try:
        damaged = first_damaged(path)
        checkpoint = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = f"cannot be read ({type(error).__name__})"
        raise ConfigError(f"{option}={path}: {reason}; is it a whole .ckpt file?{way_back(path)}") from error
    if damaged:
        raise ConfigError(f"{option}={path}: is damaged, its part {damaged} is not as it was written{way_back(path)}")
    if not isinstance(checkpoint, dict) or "recipe" not in checkpoint or "state_dict" not in checkpoint:
        raise ConfigError(f"{option}={path}: holds no recipe, so it is not a contextseg checkpoint")
    refuse_wrong_contents(checkpoint, f"{option}={path}")
    return checkpoint


def refuse_wrong_contents(checkpoint: dict[str, Any], file: str) -> None:
    """Raise `ConfigError` if weights are no plain finite tensors, or if a part of the contents is of another kind."""
    for part, kind in CONTENTS.items():
        if part in checkpoint and not isinstance(checkpoint[part], kind):
            raise ConfigError(f"{file}: its {part} is {shown(checkpoint[part])!r}, which none of ours is")
    for name, weight in checkpoint["state_dict"].items():
        plain = isinstance(weight, Tensor) and weight.layout == torch.strided and weight.device.type == "cpu"
        if not plain or not isinstance(name, str):
            raise ConfigError(f"{file}: its weight {shown(name)!r} is no plain tensor")
        if not weight.isfinite().all():
            raise ConfigError(f"{file}: its weight {name} holds NaN or infinity; nothing can be predicted with it")


def way_back(path: Path) -> str:
    """Say which other checkpoint of its run can take the place of a damaged one; "" if there is none."""
    best = sorted(path.parent.glob("best-*.ckpt"))
    others = [str(file) for file in best if file.resolve() != path.resolve()]
    if not others:
        return ""
    go_on = f", or copy it to {path.name} to go on from its step" if path.stem == "last" else ""
    return f"; use {others[-1]}{go_on}"


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by the names that they have in the network."""
    prefix = "segmenter."
    named = checkpoint["state_dict"].items()
    return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}


def load_checkpoint(path: str | Path) -> Segmenter:
    """Load the trained network of a checkpoint, on the CPU, in evaluation mode. Raises `ConfigError`."""
    return restore(read_checkpoint(path), path)


def restore(checkpoint: dict[str, Any], path: str | Path) -> Segmenter:
    """Build the trained network from the contents of a checkpoint; `path` is for the message of a `ConfigError`."""
    network = rebuild(checkpoint["recipe"], f"ckpt={path}")
    weights, here = network_weights(checkpoint), network.state_dict()
    for name in weights.keys() & here.keys():  # torch assigns any type, and a list of one number for a number
        there, ours = (f"{one.dtype} {list(one.shape)}" for one in (weights[name], here[name]))
        if there != ours:
            raise ConfigError(f"ckpt={path}: weights and recipe do not fit ({name} is {there}, not {ours})")
    try:
        # assigned, they keep their memory format, on which the last bit depends
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ConfigError(
            f"ckpt={path}: weights and recipe do not fit ({str(error).splitlines()[-1].strip()})"
        ) from error
    return network.eval()


def rebuild(recipe: Mapping[str, Any], file: str) -> Segmenter:
    """Build the network of a saved recipe, with no weights. Raises `ConfigError`, which begins with `file`."""
    for part in recipes.PARTS:
        refuse_strangers(recipe[part], part, file)
    recipe = {**recipe, "backbone": {**recipe["backbone"], "weights": "none"}}
    try:
        return recipes.network(recipe, reads={"aux": "aux_logits"} if recipe["aux_head"] else {})
    except ConfigError as error:
        raise ConfigError(f"{file}: its recipe builds no network: {error}") from error
