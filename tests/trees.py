"""A small data set of files, as a user might have it, and ways to damage it."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

NAMES = ["background", "ball", "box"]
PALETTE = [[0, 0, 0], [200, 0, 0], [0, 0, 200]]


def plant(root: Path, images: str = "images/{split}", masks: str = "masks/{split}", **counts: int) -> Path:
    """Images (JPEG) and masks (PNG) `<split>0`, `<split>1`, ... of 24x32, 24x33, ... pixels with the labels 0 to 2."""
    rng = np.random.default_rng(0)
    for split, count in (counts or {"train": 4, "val": 3, "test": 2}).items():
        for i in range(count):
            size = (24, 32 + i)
            save(root / images.replace("{split}", split) / f"{split}{i}.jpg", rng.integers(0, 256, (*size, 3)))
            save(root / masks.replace("{split}", split) / f"{split}{i}.png", rng.integers(0, 3, size))
    write_classes(root)
    return root


def write_classes(root: Path, **facts: object) -> None:
    """The class file: three names, and what else is given."""
    (root / "classes.yaml").write_text(yaml.safe_dump({"names": NAMES, **facts}))


def save(path: Path, pixels: object, **options: object) -> None:
    """A picture of these numbers, with 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels).astype(np.uint8)).save(path, **options)
