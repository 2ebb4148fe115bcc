"""Checkpoint files, damaged or with other contents: the same labels as before, or refused."""

import os
import pickle
import random
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contextseg import load_checkpoint
from fuzzing.case import Case, Fault, damaged, mutated, text
from fuzzing.world import World


class Runs:
    """What a pickle may do to whoever loads it: make a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@cache
def image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8))


def draw(rng: random.Random, world: World) -> Case:
    """Draw a file that is no checkpoint, a damaged one, or one with other contents."""
    folder = world.empty()
    path = folder / "one.ckpt"
    how = rng.choice(("bytes", "bytes", "recipe", "recipe", "weights", "weights", "contents", "foreign"))
    if how == "bytes":
        said, data = damaged(rng, world.checkpoint.read_bytes())
        path.write_bytes(data)
    elif how == "foreign":
        said = foreign(rng, path)
    else:
        contents = dict(world.contents)
        if how == "recipe":
            said, contents["recipe"] = mutated(rng, contents["recipe"])
        elif how == "weights":
            said, contents["state_dict"] = weights(rng, contents["state_dict"])
        else:
            said, contents = mutated(rng, contents)
        torch.save(contents, path)
    return Case(f"{how}: {said}", lambda: ask(path, world, how, said), (str(path),))


def weights(rng: random.Random, state: dict[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """Change one weight, or the names of the weights."""
    name = rng.choice(list(state))
    one = state[name]
    floats = one.is_floating_point()
    kinds = {
        "gone": lambda: None,
        "twice as long": lambda: torch.cat([one.reshape(-1)] * 2),
        "a row less": lambda: one[:-1] if one.ndim else one[None],
        "no shape": lambda: one.sum(),
        "flat": lambda: one.reshape(-1)[None],
        "float64": lambda: one.double(),
        "float16": lambda: one.half(),
        "int64": lambda: one.long(),
        "bool": lambda: one.bool(),
        "complex": lambda: one.to(torch.complex64),
        "text": lambda: text(rng),
        "a list": lambda: one.tolist(),
        "sparse": lambda: one.to_sparse() if one.ndim else one,
        "empty": lambda: one.new_empty(0),
        "meta": lambda: one.to("meta"),
    }
    if floats:
        for word, value in (("nan", torch.nan), ("inf", torch.inf), ("-inf", -torch.inf)):
            kinds[word] = lambda value=value: one.reshape(-1).index_fill(0, torch.tensor([0]), value).reshape(one.shape)
    kind = rng.choice([*kinds, "nan", "renamed", "one more"] if floats else [*kinds, "renamed", "one more"])
    if kind in ("renamed", "one more"):
        return f"{name} {kind}", {
            other: value for other, value in state.items() if kind == "one more" or other != name
        } | {f"{name}x": one}
    changed = {other: kinds[kind]() if other == name else value for other, value in state.items()}
    return f"{name} {kind}", {other: value for other, value in changed.items() if value is not None}


def foreign(rng: random.Random, path: Path) -> str:
    """Write a file of another kind."""
    kinds = {
        "zip": lambda: zipfile.ZipFile(path, "w").writestr("archive/data.pkl", rng.randbytes(50)),
        "zip of text": lambda: zipfile.ZipFile(path, "w").writestr("a.txt", "a"),
        "pickle that runs": lambda: path.write_bytes(
            pickle.dumps({"recipe": Runs(path.parent / "ran"), "state_dict": {}})
        ),
        "torch file that runs": lambda: torch.save({"recipe": Runs(path.parent / "ran"), "state_dict": {}}, path),
        "a list": lambda: torch.save([1, 2], path),
        "a tensor": lambda: torch.save(torch.zeros(3), path),
        "weights alone": lambda: torch.save({"head.weight": torch.zeros(3)}, path),
        "a network": lambda: torch.save(torch.nn.Linear(2, 2), path),
        "empty mappings": lambda: torch.save({"recipe": {}, "state_dict": {}}, path),
        "nothing": lambda: torch.save({"recipe": None, "state_dict": None}, path),
        "text": lambda: path.write_text(text(rng, 200)),
        "noise": lambda: path.write_bytes(rng.randbytes(rng.randint(1, 3000))),
        "npz": lambda: np.savez(path.open("wb"), a=np.zeros(3)),
        "a folder": lambda: path.mkdir(),
        "a pipe": lambda: os.mkfifo(path),
        "a link to itself": lambda: path.symlink_to(path),
        "deep": lambda: torch.save({"recipe": deep(), "state_dict": {}}, path),
    }
    kind = rng.choice(list(kinds))
    kinds[kind]()
    return kind


def deep() -> Any:
    node: Any = []
    for _ in range(300):
        node = [node]
    return node


def ask(path: Path, world: World, how: str, said: str) -> None:
    """Load the network and predict; with nothing but bytes changed, the labels are those of the whole file."""
    network = load_checkpoint(path)
    labels = network.predict(image())
    if (path.parent / "ran").exists():
        raise Fault("silent: code in the file was run")
    if how == "foreign":
        raise Fault("silent: a file of another kind was loaded")
    if said.endswith((" nan", " inf", "-inf")) and how == "weights":
        raise Fault("silent: weights that are no numbers were loaded")
    if how in ("bytes", "weights") and not torch.equal(labels, reference(world.checkpoint)):
        raise Fault("silent: other labels")


@cache
def reference(path: Path) -> torch.Tensor:
    return load_checkpoint(path).predict(image())
