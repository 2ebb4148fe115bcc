"""PASCAL-Context on the images of VOC 2010, 59 or 60 classes: 4,998 train and 5,105 val images."""

from collections.abc import Mapping
from typing import Literal

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.labels import BySuffix, Indices, Matlab
from contextseg.data.source import FileSource
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.published import Published, choose
from contextseg.typed import Count, Natural

# Of the 459 labels in the .mat files, the 59 that are scored, in the order of the classes.
IDS_459: tuple[int, ...] = (2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105)
IDS_459 += (113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347)
IDS_459 += (349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458)
WANTED = "masks are PNGs with 0..59 (0: none of the 59 classes, which are sorted by name) or .mat files of 459 labels"


class PascalContext(Published):
    """Read JPEGImages/ of VOCdevkit/VOC2010 with SegmentationClassContext/*.png, or trainval/*.mat as released.

    protocol    59: pixels of none of the 59 classes are void; 60: they are the class background

    The released masks number 10,103; the merged JSON of the annotations gives 10,100 (4,996 and 5,104). There is no
    public test split. Other settings as in `Published`.
    """

    name = "pascal_context"
    title = "PASCAL-Context"
    classes = class_set("pascal_context_59")
    expected = (
        "JPEGImages/<id>.jpg, SegmentationClassContext/<id>.png (or trainval/<id>.mat) and "
        "ImageSets/SegmentationContext/{train,val}.txt (or ImageSets/Main/{train,val}.txt) of VOCdevkit/VOC2010"
    )
    folders = ("VOCdevkit/VOC2010", "VOC2010")
    counts: Mapping[str, tuple[int, ...]] = {"train": (4998, 4996), "val": (5105, 5104)}

    def __init__(
        self,
        *,
        root: str,
        protocol: Literal[59, 60] = 59,
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        self.protocol = choose("protocol", protocol, (59, 60))
        self.classes = class_set(f"pascal_context_{protocol}")
        super().__init__(root=root, batch_size=batch_size, num_workers=num_workers, transform=transform)

    def open(self, split: str) -> FileSource:
        if split == "test":
            raise self.no_test()
        images, masks = self.find("JPEGImages"), self.find_masks("SegmentationClassContext", "Context", "trainval")
        listed = self.names(
            f"ImageSets/SegmentationContext/{split}.txt",
            f"ImageSets/Segmentation/{split}_context.txt",
            f"ImageSets/Main/{split}.txt",
        )
        train_ids = range(60) if self.protocol == 60 else [IGNORE_INDEX, *range(59)]  # of all else, and the 59 classes
        relabel = dict.fromkeys(range(460), train_ids[0]) | dict(zip(IDS_459, train_ids[1:], strict=True))
        labels = BySuffix(
            Indices(dict(enumerate(train_ids)), strict=True, wanted=WANTED), Matlab("LabelMap", relabel, wanted=WANTED)
        )
        return self.pair(split, images, masks, labels, listed)
