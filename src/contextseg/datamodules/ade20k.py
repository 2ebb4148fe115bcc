"""ADE20K's scene parsing benchmark, 150 classes: 20,210 train, 2,000 val, 3,352 test images of many sizes."""

from collections.abc import Mapping

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.labels import Indices
from contextseg.data.source import FileSource
from contextseg.datamodules.published import Published
from contextseg.errors import ConfigError

FOLDERS = {"train": "training", "val": "validation"}
RELABEL = {0: IGNORE_INDEX} | {train_id + 1: train_id for train_id in range(150)}
WANTED = "the masks are the grey PNGs with 0..150 of ADEChallengeData2016, not those of the full ADE20K"
FULL = ("ADE20K_*", "index_ade20k.*", "images/ADE", "images/training/*/")  # in the full data set only


class ADE20K(Published):
    """Read {images,annotations}/{training,validation}/ of ADEChallengeData2016, and release_test/testing/.

    Stored labels are one more than train ids; 0 is void. Labels of the test split are kept back; published counts of
    its images differ. Settings as in `Published`. Raises `ConfigError` for the full ADE20K, which has other masks.
    """

    name = "ade20k"
    title = "ADE20K"
    classes = class_set("ade20k")
    submission = "ade20k"
    expected = "{images,annotations}/{training,validation}/ADE_*.{jpg,png} of ADEChallengeData2016.zip"
    folders = ("ADEChallengeData2016",)
    counts: Mapping[str, tuple[int, ...]] = {"train": (20210,), "val": (2000,), "test": (3352, 3000, 2000)}
    test = "release_test/testing"

    def open(self, split: str) -> FileSource:
        if split == "test":
            return self.unlabelled(self.find(self.test))
        for sign in FULL:
            if found := next(self.tree.glob(sign), None):
                raise ConfigError(
                    f"data.root={self.root} is the full ADE20K ({found}), which has other classes; {self.title} here "
                    f"means {self.expected}"
                )
        images, masks = (self.find(f"{part}/{FOLDERS[split]}") for part in ("images", "annotations"))
        return self.pair(split, images, masks, Indices(RELABEL, strict=True, wanted=WANTED))
