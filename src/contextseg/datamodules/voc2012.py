"""PASCAL VOC 2012 segmentation, 21 classes: 1,464 train (10,582 with SBD's masks), 1,449 val, 1,456 test images."""

from collections.abc import Mapping
from typing import Literal

from contextseg.classes import class_set
from contextseg.data.labels import BySuffix, Indices, Matlab
from contextseg.data.source import FileSource
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.published import Published, choose
from contextseg.errors import ConfigError
from contextseg.typed import Count, Natural

LISTS = "ImageSets/Segmentation"
AUGMENTED = ("SegmentationClassAug", "VOCaug/dataset/cls", "benchmark_RELEASE/dataset/cls", "../VOCaug/dataset/cls")
WANTED = "masks hold 0..20 and 255: palette PNGs as in VOC, grey PNGs, or SBD's .mat files"
SAME = {label: label for label in range(21)}
LABELS = BySuffix(Indices(SAME, strict=True, wanted=WANTED), Matlab("GTcls.Segmentation", SAME, wanted=WANTED))


class VOC2012(Published):
    """Read JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/ of VOCdevkit/VOC2012.

    train_set    train, trainval, or trainaug: with the masks of SBD, in SegmentationClassAug/ or as SBD's cls/*.mat.
                 VOC's mask is used where there is one. Without ImageSets/Segmentation/trainaug.txt the list is train
                 and SBD less val, the published 10,582 names

    SBD has no void borders. Labels of the test split are kept back. Other settings as in `Published`.
    """

    name = "voc2012"
    title = "PASCAL VOC 2012"
    classes = class_set("voc2012")
    submission = "voc2012"
    expected = (
        "JPEGImages/<id>.jpg, SegmentationClass/<id>.png, ImageSets/Segmentation/{train,val}.txt of VOCdevkit/VOC2012, "
        "for data.train_set=trainaug also SegmentationClassAug/<id>.png"
    )
    folders = ("VOCdevkit/VOC2012", "VOC2012")
    counts: Mapping[str, tuple[int, ...]] = {
        "train": (1464,),
        "trainval": (2913,),
        "trainaug": (10582,),
        "val": (1449,),
        "test": (1456,),
    }
    test = f"{LISTS}/test.txt"

    def __init__(
        self,
        *,
        root: str,
        train_set: Literal["train", "trainval", "trainaug"] = "trainaug",
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        super().__init__(root=root, batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.train_set = choose("train_set", train_set, ("train", "trainval", "trainaug"))

    def open(self, split: str) -> FileSource:
        images = self.find("JPEGImages")
        if split == "test":
            return self.unlabelled(images, self.names(self.test))
        chosen = self.train_set if split == "train" else split
        masks = self.find("SegmentationClass")
        if chosen != "trainaug":
            return self.pair(chosen, images, masks, LABELS, self.names(f"{LISTS}/{chosen}.txt"))
        augmented = self.find_masks(*AUGMENTED)
        if (self.tree / LISTS / "trainaug.txt").is_file():
            listed = self.names(f"{LISTS}/trainaug.txt")
            if both := sorted(set(listed) & set(self.names(f"{LISTS}/val.txt"))):
                raise ConfigError(
                    f"{self.tree / LISTS / 'trainaug.txt'} holds {len(both)} images of val, first {both[0]}, which "
                    "would bias its scores; remove them, or the file: the list is then made of VOC and SBD"
                )
        else:
            either = augmented.keys() | set(self.names(f"{LISTS}/train.txt"))
            listed = sorted(either - set(self.names(f"{LISTS}/val.txt")))
        return self.pair(chosen, images, augmented | masks, LABELS, listed)
