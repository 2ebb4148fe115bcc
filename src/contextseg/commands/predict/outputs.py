"""Writing the results of images in their formats; a file is there as a whole or not at all."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.commands.predict.regions import Coco, features, save_features
from contextseg.errors import ConfigError
from contextseg.files import side_file
from contextseg.inference.labeller import Labelled

BAND = 256  # rows that are painted at a time, to save memory
SUFFIXES = {"labels": "png", "overlays": "png", "probabilities": "npz", "polygons": "json"}  # of the files of a format
MAX_NAME = 255  # bytes that a file system takes


def save_labels(labels: np.ndarray, classes: ClassSet, path: Path) -> None:
    """Write train ids (H, W) as an indexed PNG in the colours of the classes."""
    picture = Image.fromarray(labels)
    picture.putpalette([value for colour in classes.palette for value in colour])
    with side_file(path) as side:
        picture.save(side)


def paint(image: np.ndarray, labels: np.ndarray, classes: ClassSet) -> np.ndarray:
    """Lay the colours of labels (H, W) over their image uint8 (H, W, 3), in place; return the image."""
    for top in range(0, len(image), BAND):
        rows = slice(top, top + BAND)
        image[rows] = viz.overlay(image[rows], labels[rows], classes)
    return image


class ImageWriter:
    """Write results into a folder: a folder for each format, and one coco.json at the end.

    A context manager, so that an interrupted command leaves the coco.json of its images. Raises `ConfigError` for
    a format whose library is missing.
    """

    def __init__(self, folder: Path, formats: Iterable[str], classes: ClassSet):
        self.folder, self.formats, self.classes = folder, list(formats), classes
        self.coco = Coco(classes) if "coco_rle" in self.formats else None

    def __enter__(self) -> "ImageWriter":
        return self

    def __exit__(self, *error) -> None:
        if self.coco is not None and self.coco.images:
            with side_file(self.folder / "coco.json") as side:
                side.write_text(json.dumps(self.coco.to_dict()))

    def check(self, file: Path, name: str) -> None:
        """Raise `ConfigError` if a result called `name`, of the input `file`, has a name that no file can have."""
        for kind in self.formats:
            refuse_long(file, f"{name}.{SUFFIXES[kind]}" if kind in SUFFIXES else "")

    def write(self, done: Labelled, file_name: str) -> None:
        """Write the files of one result; `file_name`: of the image in coco.json. Paints the overlay into `done`."""
        if "labels" in self.formats:
            save_labels(done.labels, self.classes, self._path("labels", done))
        if "probabilities" in self.formats and done.probabilities is not None:
            with side_file(self._path("probabilities", done)) as side:
                np.savez_compressed(side, probabilities=done.probabilities, classes=np.array(self.classes.names))
        if "polygons" in self.formats:
            with side_file(self._path("polygons", done)) as side:
                save_features(features(done.labels, self.classes), side)
        if self.coco is not None:
            self.coco.add(file_name, done.labels)
        if "overlays" in self.formats:
            with side_file(self._path("overlays", done)) as side:
                Image.fromarray(paint(done.image, done.labels, self.classes)).save(side, compress_level=3)

    def _path(self, kind: str, done: Labelled) -> Path:
        return self.folder / kind / f"{done.name}.{SUFFIXES[kind]}"


def refuse_long(file: Path | int, name: str) -> None:
    """Raise `ConfigError` if the `name` of a result of the input `file` is longer than a file system takes."""
    if (length := len(os.fsencode(name))) > MAX_NAME:
        raise ConfigError(
            f"{file}: a result called {name[:20]}... has {length} bytes in its name, and {MAX_NAME} are "
            "the most; give the file a shorter name"
        )
