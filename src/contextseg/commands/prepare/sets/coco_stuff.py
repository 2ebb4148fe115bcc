"""COCO-Stuff: the 10k set in version 1.1, its maps as raw ids in PNGs, and the 164k set on COCO's images of 2017."""

from collections.abc import Sequence
from functools import partial
from io import BytesIO

import numpy as np
from scipy.io import loadmat

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split, Wrong
from contextseg.commands.prepare.masks import to_png
from contextseg.data.labels import Matlab
from contextseg.datamodules.coco_stuff import IDS, LISTS, UNUSED, WANTED_10K, COCOStuff

PAGE_10K = "github.com/nightrome/cocostuff10k"
PAGE = "github.com/nightrome/cocostuff#downloads"
IMAGES = "cocodataset.org/#download"
RAW = {label: label for label in (0, *IDS)}
TO_PNG = partial(to_png, Matlab("S", RAW, wanted=WANTED_10K))


def version(samples: Sequence[bytes]) -> str:
    """Say what is wrong with .mat files of version 1.0, whose labels are 1 to 172 without gaps; "" for version 1.1."""
    labels = {label for data in samples for label in np.unique(loadmat(BytesIO(data), variable_names=["S"])["S"])}
    if labels & UNUSED or (len(samples) >= 10 and min(labels) >= 1 and max(labels) <= 172):
        return f"COCO-Stuff 10k version 1.0, whose labels differ; get cocostuff-10k-v1.1.zip from {PAGE_10K}"
    return ""


def _images(split: str) -> Archive:
    return Archive(
        f"images of {split}",
        f"{split}2017.zip",
        IMAGES,
        rf"{split}2017/\d{{12}}\.jpg",
        (Rule(rf"({split}2017)/(\d{{12}}\.jpg)", r"images/\1/\2"),),
    )


LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "images and masks",
                "cocostuff-10k-v1.1.zip",
                PAGE_10K,
                r"annotations/COCO_train2014_\d{12}\.mat",
                (
                    Rule(r"images/(COCO_train2014_\d{12}\.jpg)", r"images/\1"),
                    Rule(r"annotations/(COCO_train2014_\d{12})\.mat", r"annotations/\1.png", TO_PNG),
                    Rule(r"imageLists/((?:train|test|all)\.txt)", r"imageLists/\1"),
                ),
                suspect=version,
            ),
        ),
        splits=tuple(
            Split(name, "images/*.jpg", ("annotations/*.png",), count, f"imageLists/{LISTS[name]}.txt")
            for name, count in COCOStuff(root="", version="10k").counts.items()
        ),
        wrong=(
            Wrong(
                r"annotations/.*\.json|stuff_\w+2017\.json",
                "json files, not label maps; docs/data.md names the archives",
            ),
            Wrong(
                r"(train|val)2014/COCO_\w+\.jpg", f"COCO's images of 2014; get cocostuff-10k-v1.1.zip from {PAGE_10K}"
            ),
        ),
        options=("data.version=10k",),
    ),
    Layout(
        archives=(
            _images("train"),
            _images("val"),
            Archive(
                "masks",
                "stuffthingmaps_trainval2017.zip",
                PAGE,
                r"(train|val)2017/\d{12}\.png",
                (Rule(r"((?:train|val)2017)/(\d{12}\.png)", r"annotations/\1/\2"),),
            ),
        ),
        splits=tuple(
            Split(name, f"images/{name}2017/*.jpg", (f"annotations/{name}2017/*.png",), count)
            for name, count in COCOStuff(root="", version="164k").counts.items()
        ),
        wrong=(
            Wrong(
                r"stuff_\w+2017_pixelmaps/.*",
                f"the stuff challenge's maps, things merged into one; get stuffthingmaps_trainval2017.zip from {PAGE}",
            ),
            Wrong(r"panoptic_\w+2017/.*", f"panoptic maps; get stuffthingmaps_trainval2017.zip from {PAGE}"),
        ),
        options=("data.version=164k",),
    ),
)
