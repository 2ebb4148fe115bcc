"""What the inputs are made from: a trained network, its run folder, an image with its mask, their folder."""

import shutil
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

NAMES = ("background", "ball", "box")


class World:
    """Files below a folder, made once; cases write into `scratch`, which is theirs.

    trained: the folder of a short run.
    """

    def __init__(self, folder: Path, trained: Path):
        self.folder, self.run = folder, trained
        self.scratch = folder / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / "last.ckpt"

    @cached_property
    def contents(self) -> dict:
        """The contents of the checkpoint."""
        return torch.load(self.checkpoint, weights_only=True)

    @cached_property
    def image(self) -> Path:
        """An image of 80 x 64 pixels, with its mask in `mask`."""
        path = self.folder / "images" / "val" / "one.png"
        if not path.is_file():
            rng = np.random.default_rng(0)
            for split in ("train", "val"):
                for name in ("one", "two"):
                    for kind, shape, top in (("images", (64, 80, 3), 256), ("masks", (64, 80), len(NAMES))):
                        file = self.folder / kind / split / f"{name}.png"
                        file.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(rng.integers(0, top, shape, np.uint8)).save(file)
            (self.folder / "classes.yaml").write_text(f"names: [{', '.join(NAMES)}]\n")
        return path

    @cached_property
    def mask(self) -> Path:
        return self.folder / "masks" / "val" / self.image.name

    def empty(self) -> Path:
        """Return the scratch folder, emptied."""
        shutil.rmtree(self.scratch)
        self.scratch.mkdir()
        return self.scratch

    def needed(self, command: str) -> tuple[str, ...]:
        """Return the words without which a command says what is missing."""
        return {
            "predict": (f"ckpt={self.checkpoint}", f"input={self.image}", f"output={self.scratch}/out"),
            "attend": (f"ckpt={self.checkpoint}", f"image={self.image}", "point=[9,9]", f"output={self.scratch}/a.png"),
            "evaluate": (f"ckpt={self.checkpoint}", f"paths.runs={self.scratch}"),
            "submit": (f"ckpt={self.checkpoint}", f"output={self.scratch}/out"),
            "convert": ("from=ccnet", f"input={self.checkpoint}", f"output={self.scratch}/c.ckpt"),
            "prepare": ("data=camvid", f"source={self.folder}", f"root={self.scratch}/root"),
            "report": (f"runs={self.run.parent}", f"output={self.scratch}/report"),
            "features": (f"cache={self.folder}",),
            "check_data": (f"paths.runs={self.scratch}",),
            "samples": (f"output={self.scratch}/s.png",),
            "train": (f"paths.runs={self.scratch}",),
            "compare": (
                f"ckpts=[{self.checkpoint},{self.run}/checkpoints/last.ckpt]",
                f"output={self.scratch}/compare",
            ),
            "faithfulness": (f"ckpt={self.checkpoint}", f"output={self.scratch}/faithfulness"),
            "attention_statistics": (f"ckpt={self.checkpoint}", f"output={self.scratch}/reach"),
            "instances": (f"output={self.scratch}/instances",),
        }.get(command, ())
