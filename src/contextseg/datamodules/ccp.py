"""Clothing Co-Parsing, 59 classes: 1,004 street photos with a label per pixel, 803 train, 101 val, 100 test.

Source: Yang, Luo, Lin: Clothing Co-Parsing by Joint Image Segmentation and Labeling, CVPR 2014.
"""

from collections.abc import Mapping

from contextseg.classes import class_set
from contextseg.data.labels import BySuffix, Indices, Matlab
from contextseg.data.source import FileSource
from contextseg.datamodules.datamodule import SPLITS
from contextseg.datamodules.published import Published
from contextseg.errors import ConfigError

SAME = {label: label for label in range(59)}
WANTED = "the masks are those of annotations/pixel-level, .mat files of 59 labels 0..58, or grey PNGs of the same"


def split_of(number: str) -> str:
    """Return the split of a photo: "test" if its number ends in 9, "val" if in 4, else "train".

    By number, because the files of the release name no split. Raises `ConfigError` for a name that is no number.
    """
    if not number.isdecimal():
        raise ConfigError(f"annotations/pixel-level/{number}: masks of Clothing Co-Parsing are called 0001 to 1004")
    return {"9": "test", "4": "val"}.get(number[-1], "train")


class CCP(Published):
    """Read photos/*.jpg and annotations/pixel-level/*.mat as released, or PNGs of the same labels.

    Background, `null` in the release, is a class. More than half of the 2,098 photos have no mask, only labels of the
    whole image; they are not used. Settings as in `Published`.
    """

    name = "ccp"
    title = "Clothing Co-Parsing"
    classes = class_set("ccp")
    expected = "photos/<number>.jpg and annotations/pixel-level/<number>.{mat,png}"
    folders = ("clothing-co-parsing", "clothing-co-parsing-master")
    counts: Mapping[str, tuple[int, ...]] = {"train": (803,), "val": (101,), "test": (100,)}

    def splits(self) -> tuple[str, ...]:
        """Return all three: the masks of the test split are public."""
        return SPLITS

    def open(self, split: str) -> FileSource:
        """Pair the masks of a split with their photos. Raises `ConfigError` if one has none."""
        images, masks = self.find("photos"), self.find_masks("annotations/pixel-level")
        labels = BySuffix(Indices(SAME, strict=True, wanted=WANTED), Matlab("groundtruth", SAME, wanted=WANTED))
        return self.pair(split, images, masks, labels, sorted(key for key in masks if split_of(key) == split))
