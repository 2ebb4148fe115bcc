"""COCO-Stuff, 80 things and 91 sorts of stuff: 10k (9,000 train, 1,000 val) and 164k (118,287 train, 5,000 val)."""

from typing import Literal

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.labels import BySuffix, Indices, Matlab
from contextseg.data.source import FileSource
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.published import Published, choose
from contextseg.typed import Count, Natural

UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}  # labels of COCO without a mask
IDS = tuple(label for label in range(1, 183) if label not in UNUSED)  # train id -> label, 0 is void
WANTED_10K = (
    "masks of data.version=10k hold labels 0..182 of COCO-Stuff v1.1, without the 11 unused ones; those of v1.0 are "
    "numbered otherwise: get cocostuff-10k-v1.1.zip"
)
WANTED_164K = (
    "masks of data.version=164k are the grey PNGs of stuffthingmaps_trainval2017.zip, labels less one and 255, not the "
    "stuff_*_pixelmaps"
)
LABELS_10K = {0: IGNORE_INDEX} | {label: train_id for train_id, label in enumerate(IDS)}
LABELS_164K = {label - 1: train_id for train_id, label in enumerate(IDS)}
LISTS = {"train": "train", "val": "test"}  # of 10k


class COCOStuff(Published):
    """Read images and masks of `version` 10k or 164k; labels are mapped to 171 train ids.

    10k     images/*.jpg, annotations/*.mat or PNGs of the same labels, imageLists/{train,test}.txt; test is val here,
            as in the papers
    164k    images/{train2017,val2017}/*.jpg, annotations/{train2017,val2017}/*.png (stuffthingmaps)

    Images of the 10k test list are in train2017: never train on 164k and score on 10k. Neither has a public test
    split. Other settings as in `Published`.
    """

    name = "coco_stuff"
    title = "COCO-Stuff"
    classes = class_set("coco_stuff")

    def __init__(
        self,
        *,
        root: str,
        version: Literal["10k", "164k"] = "10k",
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        super().__init__(root=root, batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.version = choose("version", version, ("10k", "164k"))
        if version == "10k":
            self.folders = ("cocostuff-10k-v1.1",)
            self.counts = {"train": (9000,), "val": (1000,)}
            self.expected = "images/*.jpg, annotations/*.{mat,png} and imageLists/{train,test}.txt (data.version=10k)"
        else:
            self.counts = {"train": (118287,), "val": (5000,)}
            self.expected = (
                "images/{train2017,val2017}/*.jpg and annotations/{train2017,val2017}/*.png (data.version=164k)"
            )

    def open(self, split: str) -> FileSource:
        if split == "test":
            raise self.no_test()
        if self.version == "10k":
            images, masks = self.find("images"), self.find_masks("annotations")
            labels = BySuffix(
                Indices(LABELS_10K, strict=True, wanted=WANTED_10K), Matlab("S", LABELS_10K, wanted=WANTED_10K)
            )
            return self.pair(split, images, masks, labels, self.names(f"imageLists/{LISTS[split]}.txt"))
        images = self.find(f"images/{split}2017", f"{split}2017")
        masks = self.find(f"annotations/{split}2017", f"stuffthingmaps/{split}2017")
        return self.pair(split, images, masks, Indices(LABELS_164K, strict=True, wanted=WANTED_164K))
