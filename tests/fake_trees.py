"""Tiny copies of the published data sets in their own layout: names, modes and labels as in the real ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from trees import save

from contextseg.classes import voc_colours
from contextseg.datamodules.camvid import COLOURS
from contextseg.datamodules.coco_stuff import IDS
from contextseg.datamodules.pascal_context import IDS_459

SPLITS = ("train", "val", "test")
CCP_ENDS = {"train": (0, 1, 2, 3, 5, 6, 7, 8), "val": (4,), "test": (9,)}  # last digits of a photo's number


class Tree:
    """Draws files below `root`: `counts` images per split of `size` (height, width)."""

    def __init__(self, root: Path, size: tuple[int, int], counts: dict[str, int]):
        self.root, self.size, self.counts = root, size, counts
        self.rng = np.random.default_rng(0)

    def image(self, path: str) -> None:
        save(self.root / path, self.rng.integers(0, 256, (*self.size, 3)))

    def labels(self, values: object) -> np.ndarray:
        """A label map (H, W) that holds all of these values, as far as there is room, in blocks of 4x4 pixels."""
        height, width = (-(-side // 4) for side in self.size)
        blocks = np.resize(self.rng.permutation(np.array(list(values))), (height, width))
        return blocks.repeat(4, 0).repeat(4, 1)[: self.size[0], : self.size[1]]

    def mask(self, path: str, values: object, palette: bool = False) -> None:
        """A PNG of mode L, or P with the colours of VOC."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(self.labels(values).astype(np.uint8))
        if palette:
            picture.putpalette(np.array(voc_colours(), np.uint8).tobytes())
        picture.save(self.root / path)

    def mat(self, path: str, field: str, values: object, dtype: type = np.uint8) -> None:
        """A .mat file; `field` as in "GTcls.Segmentation"."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        contents: object = self.labels(values).astype(dtype)
        for part in reversed(field.split(".")):
            contents = {part: contents}
        savemat(self.root / path, contents)

    def names(self, path: str, names: list[str]) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text("".join(f"{name}\n" for name in names))

    def numbered(self, pattern: str) -> dict[str, list[str]]:
        """Split -> the names of its images; numbers go on from split to split."""
        numbers = iter(range(1, 10**6))
        return {split: [pattern % next(numbers) for _ in range(self.counts[split])] for split in SPLITS}


def build(
    name: str,
    root: Path,
    *,
    size: tuple[int, int] = (48, 64),
    train: int = 4,
    val: int = 2,
    test: int = 2,
    variant: str | None = None,
) -> Path:
    """A ready tree of data set `name` in `root`: every stored label, void too, is somewhere if `size` has room.

    `variant`: "mat" for pascal_context, coco_stuff and ccp, "164k" for coco_stuff, "official" for camvid, "sbd" for
    voc2012 (cls/*.mat, no list of trainaug).
    """
    builder: Callable[[Tree, str | None], None] = BUILDERS[name]
    builder(Tree(root, size, {"train": train, "val": val, "test": test}), variant)
    return root


def cityscapes(tree: Tree, variant: str | None) -> None:
    """train_extra has as many images as train, and the broken one."""
    cities = {"train": "aachen", "val": "frankfurt", "test": "berlin", "train_extra": "augsburg"}
    for split, city in cities.items():
        keys = [f"{split}/{city}/{city}_{i:06d}_000019" for i in range(tree.counts.get(split, tree.counts["train"]))]
        if split == "train_extra":
            keys.append("train_extra/troisdorf/troisdorf_000000_000073")
        for key in keys:
            tree.image(f"leftImg8bit/{key}_leftImg8bit.png")
            for kind in ("gtFine", "gtCoarse") if split in ("train", "val") else ("gtCoarse",):
                if split != "test":
                    tree.mask(f"{kind}/{key}_{kind}_labelIds.png", range(34))
                    save(tree.root / f"{kind}/{key}_{kind}_color.png", np.zeros((*tree.size, 3)))


def ade20k(tree: Tree, variant: str | None) -> None:
    for split, folder in (("train", "training"), ("val", "validation")):
        for i in range(1, tree.counts[split] + 1):
            tree.image(f"images/{folder}/ADE_{split}_{i:08d}.jpg")
            tree.mask(f"annotations/{folder}/ADE_{split}_{i:08d}.png", range(151))
    for i in range(1, tree.counts["test"] + 1):
        tree.image(f"release_test/testing/ADE_test_{i:08d}.jpg")


def voc2012(tree: Tree, variant: str | None) -> None:
    """SBD's masks: of train, of val, and of as many more images as train has."""
    stored = [*range(21), 255]
    split = tree.numbered("2007_%06d")
    more = [f"2008_{i:06d}" for i in range(1, tree.counts["train"] + 1)]
    for key in (*split["train"], *split["val"], *split["test"], *more):
        tree.image(f"JPEGImages/{key}.jpg")
    for key in (*split["train"], *split["val"]):
        tree.mask(f"SegmentationClass/{key}.png", stored, palette=True)
    for key in (*split["train"], *split["val"], *more):
        if variant == "sbd":
            tree.mat(f"benchmark_RELEASE/dataset/cls/{key}.mat", "GTcls.Segmentation", range(21))
        else:
            tree.mask(f"SegmentationClassAug/{key}.png", range(21))
    lists = split | {"trainval": split["train"] + split["val"]}
    if variant != "sbd":
        lists["trainaug"] = split["train"] + more
    for name, keys in lists.items():
        tree.names(f"ImageSets/Segmentation/{name}.txt", keys)


def pascal_context(tree: Tree, variant: str | None) -> None:
    """There is no test split."""
    split = tree.numbered("2008_%06d")
    lists = "Main" if variant == "mat" else "SegmentationContext"
    for name in ("train", "val"):
        tree.names(f"ImageSets/{lists}/{name}.txt", split[name])
        for key in split[name]:
            tree.image(f"JPEGImages/{key}.jpg")
            if variant == "mat":
                tree.mat(f"trainval/{key}.mat", "LabelMap", [*IDS_459, 1, 431, 459], np.uint16)
            else:
                tree.mask(f"SegmentationClassContext/{key}.png", range(60))


def lip(tree: Tree, variant: str | None) -> None:
    for split, names in tree.numbered("100%03d_48368").items():
        tree.names(f"{split}_id.txt", names)
        for name in names:
            tree.image(f"{split}_images/{name}.jpg")
            if split != "test":
                tree.mask(f"{split}_segmentations/{name}.png", range(20))


def coco_stuff(tree: Tree, variant: str | None) -> None:
    """Without `variant`, 10k with PNGs. There is no test split."""
    pattern = "%012d" if variant == "164k" else "COCO_train2014_%012d"
    split = tree.numbered(pattern)
    for name in ("train", "val"):
        folder = f"/{name}2017" if variant == "164k" else ""
        for key in split[name]:
            tree.image(f"images{folder}/{key}.jpg")
            if variant == "164k":
                tree.mask(f"annotations{folder}/{key}.png", [*(label - 1 for label in IDS), 255])
            elif variant == "mat":
                tree.mat(f"annotations/{key}.mat", "S", [0, *IDS])
            else:
                tree.mask(f"annotations/{key}.png", [0, *IDS])
        if variant != "164k":
            tree.names(f"imageLists/{'test' if name == 'val' else name}.txt", split[name])


def camvid(tree: Tree, variant: str | None) -> None:
    """Official masks hold an anti-aliased colour too, which is of no class."""
    colours = [colour for some in COLOURS.values() for colour in some] + [(0, 0, 0), (1, 2, 3)]
    for split, names in tree.numbered("0001TP_%06d").items():
        rows = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png" for name in names]
        tree.names(f"{split}.txt", rows)
        for name in names:
            if variant == "official":
                tree.image(f"701_StillsRaw_full/{name}.png")
                mask = np.array(colours)[tree.labels(range(len(colours)))]
                save(tree.root / f"LabeledApproved_full/{name}_L.png", mask)
            else:
                tree.image(f"{split}/{name}.png")
                tree.mask(f"{split}annot/{name}.png", range(12))


def ccp(tree: Tree, variant: str | None) -> None:
    """With "mat" as released, else with PNGs. The last photo has no mask."""
    numbers = {split: iter([n for n in range(1, 10**4) if n % 10 in ends]) for split, ends in CCP_ENDS.items()}
    for split in SPLITS:
        for _ in range(tree.counts[split]):
            number = f"{next(numbers[split]):04d}"
            tree.image(f"photos/{number}.jpg")
            if variant == "mat":
                tree.mat(f"annotations/pixel-level/{number}.mat", "groundtruth", range(59))
            else:
                tree.mask(f"annotations/pixel-level/{number}.png", range(59))
    tree.image("photos/2098.jpg")


BUILDERS = {
    "cityscapes": cityscapes,
    "ade20k": ade20k,
    "voc2012": voc2012,
    "pascal_context": pascal_context,
    "lip": lip,
    "coco_stuff": coco_stuff,
    "camvid": camvid,
    "ccp": ccp,
}
