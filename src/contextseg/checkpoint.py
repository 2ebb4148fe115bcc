"""Checkpoints that carry their own recipe: one file rebuilds the model, with no network and no other file."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contextseg import recipe as recipes
from contextseg.classes import ClassSet
from contextseg.errors import ConfigError
from contextseg.parts import refuse_strangers
from contextseg.segmenter import Segmenter


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
    return checkpoint


def first_damaged(path: Path) -> str | None:
    """Return the first part of a checkpoint whose checksum does not fit; None if all do. `torch.load` checks none."""
    if not zipfile.is_zipfile(path):
        return None  # `torch.load` knows more, or says what is wrong
    with zipfile.ZipFile(path) as parts:
        return parts.testzip()


def way_back(path: Path) -> str:
    """Say which other checkpoint of its run can take the place of a damaged one; "" if there is none."""
    best = sorted(path.parent.glob("best-*.ckpt"))
    others = [str(file) for file in best if file.resolve() != path.resolve()]
    if not others:
        return ""
    go_on = f", or copy it to {path.name} to go on from its step" if path.stem == "last" else ""
    return f"; use {others[-1]}{go_on}"


def read_start(path: str | Path) -> dict[str, Any]:
    """Read the checkpoint that `init_from` names: a .ckpt, or the last one of a run folder. Raises `ConfigError`."""
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"init_from={path}: no such run; give the folder of the run to start from, or a .ckpt")
    return read_checkpoint(path / "checkpoints" / "last.ckpt" if path.is_dir() else path, "init_from")


def start_from(network: Segmenter, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Give a network all weights of a checkpoint.

    Raises `ConfigError`, with `path` in the message, if classes, or names or shapes of weights, are not the same.
    """
    there, here = ClassSet.from_dict(checkpoint["recipe"]["classes"]), network.named_classes
    if there.names != here.names:
        raise ConfigError(
            f"init_from={path}: it was trained for the {len(there)} classes of {there.name}, not for the {len(here)} "
            f"of {here.name}; give a run on the same classes"
        )
    weights, ours = network_weights(checkpoint), network.state_dict()
    unlike = [name for name in sorted(weights.keys() | ours.keys()) if shape(weights, name) != shape(ours, name)]
    if unlike:
        raise ConfigError(
            f"init_from={path}: its network differs in {len(unlike)} weights, first {unlike[0]} "
            f"({shape(weights, unlike[0])} there, {shape(ours, unlike[0])} here); choose head, backbone, neck, loss "
            "and width as there"
        )
    network.load_state_dict(weights)


def network_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by the names that they have in the network."""
    prefix = "segmenter."
    named = checkpoint["state_dict"].items()
    return {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}


def shape(weights: dict[str, Tensor], name: str) -> str:
    """Return the shape of a weight in words, "none" if there is none of that name."""
    return "x".join(map(str, weights[name].shape)) or "number" if name in weights else "none"


def load_checkpoint(path: str | Path) -> Segmenter:
    """Load the trained network of a checkpoint, on the CPU, in evaluation mode. Raises `ConfigError`."""
    return restore(read_checkpoint(path), path)


def restore(checkpoint: dict[str, Any], path: str | Path) -> Segmenter:
    """Build the trained network from the contents of a checkpoint; `path` is for the message of a `ConfigError`."""
    recipe = checkpoint["recipe"]
    for part in recipes.PARTS:
        refuse_strangers(recipe[part], part, f"ckpt={path}")
    recipe = recipe | {"backbone": recipe["backbone"] | {"weights": "none"}}
    network = recipes.network(recipe, reads={"aux": "aux_logits"} if recipe["aux_head"] else {})
    try:
        # assigned, they keep their memory format, on which the last bit depends
        network.load_state_dict(network_weights(checkpoint), assign=True)
    except RuntimeError as error:
        raise ConfigError(
            f"ckpt={path}: weights and recipe do not fit ({str(error).splitlines()[-1].strip()})"
        ) from error
    return network.eval()
