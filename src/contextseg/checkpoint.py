"""Checkpoints that carry their own recipe: one file rebuilds the model, with no network and no other file."""

from pathlib import Path
from typing import Any

import torch

from contextseg import build
from contextseg.contract import ConfigError
from contextseg.segmenter import Segmenter


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint: plain containers and tensors, on the CPU; nothing in the file is executed.

    Raises `ConfigError` if there is no such file, if it cannot be read, or if it was not written by this project.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"ckpt={path}: no such file; give a .ckpt of a run folder's checkpoints/")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"ckpt={path}: cannot be read ({type(error).__name__}); is it a whole .ckpt file?") from error
    if not isinstance(checkpoint, dict) or "recipe" not in checkpoint or "state_dict" not in checkpoint:
        raise ConfigError(f"ckpt={path}: holds no recipe, so it is not a contextseg checkpoint")
    return checkpoint


def load_checkpoint(path: str | Path) -> Segmenter:
    """The trained network of a checkpoint, in evaluation mode, on the CPU, its weights loaded strictly."""
    return restore(read_checkpoint(path), path)


def restore(checkpoint: dict[str, Any], path: str | Path) -> Segmenter:
    """As `load_checkpoint`, from contents that were read already; `path` is for the error message."""
    recipe = checkpoint["recipe"]
    recipe = recipe | {"backbone": recipe["backbone"] | {"weights": "none"}}
    network = build.segmenter(recipe, reads={"aux": "aux_logits"} if recipe["aux_head"] else {})
    prefix = "segmenter."
    weights = {
        name.removeprefix(prefix): value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)
    }
    try:
        network.load_state_dict(weights, assign=True)  # with their memory format, on which the last bit depends
    except RuntimeError as error:
        raise ConfigError(
            f"ckpt={path}: weights and recipe do not fit ({str(error).splitlines()[-1].strip()})"
        ) from error
    return network.eval()
