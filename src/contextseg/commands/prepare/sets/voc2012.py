"""PASCAL VOC 2012, with SBD's masks as SegmentationClassAug and the list `trainaug`: VOC train + SBD - VOC val."""

from functools import partial

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split, Wrong
from contextseg.commands.prepare.masks import to_png
from contextseg.commands.prepare.tree import Tree
from contextseg.data.labels import Matlab
from contextseg.datamodules.voc2012 import LISTS, SAME, VOC2012, WANTED

PAGE = "host.robots.ox.ac.uk/pascal/VOC/voc2012"
SERVER = "host.robots.ox.ac.uk:8080 (needs an account)"
SBD = "www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours"
GET = f"get VOCtrainval_11-May-2012.tar from {PAGE}"
VOC_MASK, SBD_MASK = "SegmentationClass/*.png", "SegmentationClassAug/*.png"
TO_PNG = partial(to_png, Matlab("GTcls.Segmentation", SAME, wanted=WANTED))


def trainaug(tree: Tree) -> None:
    """Write the list of the augmented training set if SBD is there: 10,582 names, none of VOC's val."""
    sbd = {path.stem for path in (tree.root / "SegmentationClassAug").glob("*.png")}
    if sbd:
        train, val = (set(tree.lines(f"{LISTS}/{split}.txt")) for split in ("train", "val"))
        tree.put_lines(f"{LISTS}/trainaug.txt", sorted((train | sbd) - val))


def _split(name: str, masks: tuple[str, ...] = (VOC_MASK,), optional: bool = False) -> Split:
    return Split(name, "JPEGImages/*.jpg", masks, VOC2012.counts[name], f"{LISTS}/{name}.txt", optional)


LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "images and masks",
                "VOCtrainval_11-May-2012.tar",
                PAGE,
                rf"VOC2012/{LISTS}/train\.txt",
                (
                    Rule(r"VOC2012/JPEGImages/(\w+\.jpg)", r"JPEGImages/\1"),
                    Rule(r"VOC2012/SegmentationClass/(\w+\.png)", r"SegmentationClass/\1"),
                    Rule(rf"VOC2012/{LISTS}/((?:train|val|trainval)\.txt)", rf"{LISTS}/\1"),
                ),
            ),
            Archive(
                "test images",
                "VOC2012test.tar",
                SERVER,
                rf"VOC2012/{LISTS}/test\.txt",
                (
                    Rule(r"VOC2012/JPEGImages/(\w+\.jpg)", r"JPEGImages/\1"),
                    Rule(rf"VOC2012/{LISTS}/(test\.txt)", rf"{LISTS}/\1"),
                ),
                optional=True,
            ),
            Archive(
                "SBD's masks",
                "benchmark.tgz",
                SBD,
                r"cls/\d{4}_\d{6}\.mat",
                (Rule(r"cls/(\d{4}_\d{6})\.mat", r"SegmentationClassAug/\1.png", TO_PNG),),
                optional=True,
            ),
            Archive(
                "SBD's masks",
                "SegmentationClassAug (PNGs that another tool made of them)",
                SBD,
                r"SegmentationClassAug/\d{4}_\d{6}\.png",
                (Rule(r"SegmentationClassAug/(\d{4}_\d{6}\.png)", r"SegmentationClassAug/\1"),),
                optional=True,
            ),
        ),
        splits=(
            _split("train"),
            _split("val"),
            _split("trainval"),
            _split("trainaug", (VOC_MASK, SBD_MASK), optional=True),
            _split("test", (), optional=True),
        ),
        wrong=(
            Wrong(r"VOC20(?!12)\d\d/.*", f"VOC of another year; {GET}"),
            Wrong(r"VOC2012/.*", f"another part of VOC 2012; {GET}"),
            Wrong(r"trainval/\d{4}_\d{6}\.mat", "PASCAL-Context's labels, for data=pascal_context"),
        ),
        finish=trainaug,
    ),
)
