"""The format of each server: names, stored values, kind of PNG, archive. Sources: docs/submit.md."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from contextseg.classes import voc_colours
from contextseg.commands.archives import InMemory
from contextseg.contract import IGNORE_INDEX
from contextseg.data.labels import Indices
from contextseg.data.pixels import UNREADABLE
from contextseg.datamodules import ade20k, cityscapes, lip, voc2012
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.errors import ConfigError


@dataclass(frozen=True)
class Format:
    """The format of the label maps of a data set. In the names, {name} is that of an image, {split} val or test.

    archive    file name; .zip, or .tgz for a compressed tar
    member     path of a label map in the archive
    values     stored value of each train id
    labels     the data set's own reader of masks, with which an archive is read back: file -> train ids (H, W)
    coloured   an indexed PNG in the colours of VOC (mode P); else a grey one (mode L)
    open_point a question about it that no published source answers
    """

    archive: str
    member: str
    values: Sequence[int]
    labels: Callable[[InMemory], np.ndarray]
    coloured: bool = False
    open_point: str = ""

    @property
    def mode(self) -> str:
        return "P" if self.coloured else "L"

    def picture(self, labels: np.ndarray) -> Image.Image:
        """Turn train ids uint8 (H, W) into the picture to save as PNG."""
        picture = Image.fromarray(np.array(self.values, np.uint8)[labels])
        if self.coloured:
            picture.putpalette([value for colour in voc_colours() for value in colour])
        return picture

    def read(self, data: bytes, size: tuple[int, int]) -> np.ndarray:
        """Read train ids uint8 (H, W) from a PNG of the archive.

        Raises `ConfigError` unless it has that `size` (height, width), the right mode, and a class at every pixel.
        """
        try:
            with Image.open(BytesIO(data)) as picture:
                found = (picture.format, picture.mode, picture.size[::-1])
        except UNREADABLE as error:
            raise ConfigError(f"cannot be read ({error})") from error
        if found != ("PNG", self.mode, size):
            raise ConfigError(f"is {found[0]}, mode {found[1]}, {found[2]} pixels, not PNG, {self.mode}, {size}")
        labels = self.labels(InMemory(data))
        if (labels == IGNORE_INDEX).any():
            raise ConfigError("holds values that stand for no class")
        return labels


FORMATS = {
    "ade20k": Format(
        archive="ade20k_{split}.zip",
        member="{name}.png",
        values=range(1, 151),
        labels=Indices(ade20k.RELABEL, strict=True, wanted=ade20k.WANTED),
    ),
    "cityscapes": Format(
        archive="cityscapes_{split}.zip",
        member="{name}_labelIds.png",
        values=cityscapes.IDS,
        labels=Indices(cityscapes.RELABEL, strict=True, wanted=cityscapes.WANTED),
    ),
    "lip": Format(
        archive="lip_{split}.zip",
        member="{name}.png",
        values=range(20),
        labels=lip.LABELS,
        open_point="which name the archive must have, and whether its files lie in a folder, is published nowhere we "
        "found: see the server's page before you upload",
    ),
    "voc2012": Format(
        archive="results.tgz",
        member="results/VOC2012/Segmentation/comp6_{split}_cls/{name}.png",
        values=range(21),
        labels=voc2012.LABELS.picture,
        coloured=True,
    ),
}


def format_of(data: SegDataModule) -> Format:
    """Return the format of a data set. Raises `ConfigError`, naming those that have one, if it has no server."""
    if data.submission is None:
        raise ConfigError(
            f"data={data.name}: no server scores its test split; {', '.join(FORMATS)} have one; evaluate scores "
            "splits with labels"
        )
    return FORMATS[data.submission]
