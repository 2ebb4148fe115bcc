"""Start a network from the weights of another run (`init_from`), which may have been trained for other classes.

Other classes: the weights whose shape depends on their number stay as they are; all others are taken. Renamed classes
are the same classes, so all weights are taken. The caller says what was done.
"""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contextseg.checkpoint import network_weights, read_checkpoint, rebuild
from contextseg.classes import ClassSet, voc_colours
from contextseg.errors import ConfigError
from contextseg.segmenter import Segmenter


def read_start(path: str | Path) -> dict[str, Any]:
    """Read the checkpoint that `init_from` names: a .ckpt, or the last one of a run folder. Raises `ConfigError`."""
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"init_from={path}: no such run; give the folder of the run to start from, or a .ckpt")
    return read_checkpoint(path / "checkpoints" / "last.ckpt" if path.is_dir() else path, "init_from")


def start_from(network: Segmenter, checkpoint: dict[str, Any], path: str | Path) -> str:
    """Give a network the weights of a checkpoint and return in words which.

    Raises `ConfigError`, with `path` in the message, if names or shapes of weights are not the same for another reason
    than the classes.
    """
    there, here = ClassSet.from_dict(checkpoint["recipe"]["classes"]), network.named_classes
    new_names = renamed(there, here)
    anew = set() if new_names is not None else class_weights(checkpoint["recipe"], f"init_from={path}")
    weights, ours = network_weights(checkpoint), network.state_dict()
    anew &= weights.keys() & ours.keys()
    unlike = [n for n in sorted(weights.keys() | ours.keys()) if n not in anew and shape(weights, n) != shape(ours, n)]
    if unlike:
        raise ConfigError(
            f"init_from={path}: its network differs in {len(unlike)} weights, first {unlike[0]} "
            f"({shape(weights, unlike[0])} there, {shape(ours, unlike[0])} here); choose head, backbone, neck, loss "
            "and width as there"
        )
    network.load_state_dict({name: weights[name] for name in weights.keys() - anew}, strict=False)
    if anew:
        return (
            f"all weights but the {len(anew)} that depend on the classes, which are others ({len(there)} of "
            f"{there.name} there, {len(here)} of {here.name} here): {', '.join(sorted(anew))}"
        )
    names = ", ".join(f"{old} -> {new}" for old, new in (new_names or {}).items())
    return f"all weights; classes that have other names here: {names}" if names else "all weights"


def renamed(there: ClassSet, here: ClassSet) -> dict[str, str] | None:
    """Return the new names of classes by the old ones if these are the same classes, else None.

    They are the same if they are as many, none stands at another place, and most have the same name or all the same
    colours (other than those that a data set without colours gets). Spelling is no difference: case, accents' Unicode
    form, and blanks, hyphens or underscores.
    """
    old, new = [plain(name) for name in there.names], [plain(name) for name in here.names]
    if len(old) != len(new):
        return None
    kept = [a == b for a, b in zip(old, new, strict=True)]
    moved = any(name in old for name, same in zip(new, kept, strict=True) if not same)
    own_colours = there.palette == here.palette and any(
        list(c) not in voc_colours()[: len(old) + 1] for c in here.palette
    )
    if moved or not (own_colours or 2 * sum(kept) > len(kept)):
        return None
    return {a: b for a, b in zip(there.names, here.names, strict=True) if a != b}


def plain(name: str) -> str:
    """Return a class name without what is spelling only."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter not in " -_")


def class_weights(recipe: Mapping[str, Any], file: str) -> set[str]:
    """Return the names of the weights whose shape depends on the number of classes.

    The network is built for one class more, without memory for its weights. Raises `ConfigError`.
    """
    classes = recipe["classes"]
    more = {**classes, "names": [*classes["names"], "one more"], "palette": [*classes["palette"], [0, 0, 0]]}
    with torch.device("meta"):
        now, then = (rebuild({**recipe, "classes": c}, file).state_dict() for c in (classes, more))
    return {name for name in now.keys() | then.keys() if shape(now, name) != shape(then, name)}


def shape(weights: Mapping[str, Tensor], name: str) -> str:
    """Return the shape of a weight in words, "none" if there is none of that name."""
    return "x".join(map(str, weights[name].shape)) or "number" if name in weights else "none"
