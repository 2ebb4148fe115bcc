"""Cityscapes, 19 classes, 2048x1024: 2,975 train (19,998 more with coarse masks), 500 val, 1,525 test images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.labels import Indices
from contextseg.data.source import FileSource
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.published import Published, choose
from contextseg.typed import Count, Natural

IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # train id -> label as stored
RELABEL = dict.fromkeys(range(256), IGNORE_INDEX) | {label: train_id for train_id, label in enumerate(IDS)}
WANTED = "the masks are the grey PNGs *_labelIds.png, not the colours"
TRAIN = ("gtFine", "train")
VAL = ("gtFine", "val")
COARSE = ("gtCoarse", "train_extra")
SETS = {
    "train": (TRAIN,),
    "trainval": (TRAIN, VAL),
    "coarse": (COARSE,),
    "train+coarse": (TRAIN, COARSE),
    "trainval+coarse": (TRAIN, VAL, COARSE),
}
BROKEN = "troisdorf/troisdorf_000000_000073"  # a black image with a coarse mask of one label


class Cityscapes(Published):
    """Read {leftImg8bit,gtFine,gtCoarse}/<split>/<city>/ as published; labelIds are mapped to train ids.

    train_set    train, trainval, coarse (train_extra), train+coarse or trainval+coarse

    The one broken image of train_extra is omitted, so coarse has 19,997. Labels of the test split are kept back. Other
    settings as in `Published`.
    """

    name = "cityscapes"
    title = "Cityscapes"
    classes = class_set("cityscapes")
    submission = "cityscapes"
    expected = (
        "leftImg8bit/{train,val}/<city>/*_leftImg8bit.png and gtFine/{train,val}/<city>/*_gtFine_labelIds.png, for "
        "coarse masks also {leftImg8bit,gtCoarse}/train_extra/"
    )
    folders = ("cityscapes",)
    counts: Mapping[str, tuple[int, ...]] = {
        "train": (2975,),
        "trainval": (3475,),
        "coarse": (19997,),
        "train+coarse": (22972,),
        "trainval+coarse": (23472,),
        "val": (500,),
        "test": (1525,),
    }
    test = "leftImg8bit/test"

    def __init__(
        self,
        *,
        root: str,
        train_set: Literal["train", "trainval", "coarse", "train+coarse", "trainval+coarse"] = "train",
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        super().__init__(root=root, batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.train_set = choose("train_set", train_set, SETS)

    def open(self, split: str) -> FileSource:
        if split == "test":
            return self.unlabelled(self.find(f"{self.test}/*/*_leftImg8bit.png"))
        count = self.train_set if split == "train" else split
        images: dict[str, Path] = {}
        masks: dict[str, Path] = {}
        for kind, folder in SETS[count] if split == "train" else (VAL,):
            images |= self.find(f"leftImg8bit/{folder}/*/*_leftImg8bit.png")
            masks |= self.find(f"{kind}/{folder}/*/*_{kind}_labelIds.png")
        images.pop(BROKEN, None)
        masks.pop(BROKEN, None)
        return self.pair(count, images, masks, Indices(RELABEL, wanted=WANTED))
