"""PASCAL-Context: VOC 2010's images, masks 0..59 from the .mat archive, or PNGs that another tool made of the json."""

import json
from functools import partial

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split, Wrong
from contextseg.commands.prepare.masks import to_png
from contextseg.commands.prepare.tree import Tree
from contextseg.data.labels import Matlab
from contextseg.datamodules.pascal_context import IDS_459, WANTED, PascalContext

VOC = "host.robots.ox.ac.uk/pascal/VOC/voc2010"
CONTEXT = "cs.stanford.edu/~roozbeh/pascal-context (a copy: roozbehm.info/pascal-context)"
LISTS = "ImageSets/SegmentationContext"
GET = f"get VOCtrainval_03-May-2010.tar from {VOC}"

# The masks call the 59 classes 1 to 59, and everything else 0.
LABELS = dict.fromkeys(range(460), 0) | {label: index for index, label in enumerate(IDS_459, 1)}
TO_PNG = partial(to_png, Matlab("LabelMap", LABELS, wanted=WANTED))


def phase(name: str, data: bytes) -> bytes:
    """Return the images of a split in trainval_merged.json, one per line."""
    numbers = sorted(image["image_id"] for image in json.loads(data)["images"] if image["phase"] == name)
    return "".join(f"{number // 10**6}_{number % 10**6:06d}\n" for number in numbers).encode()


def lists(tree: Tree) -> None:
    """Write the lists that the json did not give: VOC's own, without images that have no mask."""
    for split in ("train", "val"):
        if not tree.has(f"{LISTS}/{split}.txt"):
            names = tree.lines(f"ImageSets/Main/{split}.txt")
            masked = [name for name in names if tree.has(f"SegmentationClassContext/{name}.png")]
            tree.put_lines(f"{LISTS}/{split}.txt", masked)


LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "images",
                "VOCtrainval_03-May-2010.tar",
                VOC,
                r"VOC2010/ImageSets/Main/train\.txt",
                (
                    Rule(r"VOC2010/JPEGImages/(\w+\.jpg)", r"JPEGImages/\1"),
                    Rule(r"VOC2010/(ImageSets/Main/(?:train|val)\.txt)", r"\1"),
                ),
            ),
            Archive(
                "masks",
                "trainval.tar.gz",
                CONTEXT,
                r"trainval/\d{4}_\d{6}\.mat",
                (Rule(r"trainval/(\d{4}_\d{6})\.mat", r"SegmentationClassContext/\1.png", TO_PNG),),
            ),
            Archive(
                "masks",
                "SegmentationClassContext (PNGs of 0 to 59 that another tool made)",
                "mmsegmentation's converter, for example",
                r"SegmentationClassContext/\d{4}_\d{6}\.png",
                (Rule(r"SegmentationClassContext/(\d{4}_\d{6}\.png)", r"SegmentationClassContext/\1"),),
            ),
            Archive(
                "the split of PASCAL in Detail",
                "trainval_merged.json",
                "where you got the PNGs from",
                r"trainval_merged\.json",
                (
                    Rule(r"trainval_merged\.json", rf"{LISTS}/train.txt", partial(phase, "train")),
                    Rule(r"trainval_merged\.json", rf"{LISTS}/val.txt", partial(phase, "val")),
                ),
                optional=True,
            ),
        ),
        splits=tuple(
            Split(name, "JPEGImages/*.jpg", ("SegmentationClassContext/*.png",), counts, f"{LISTS}/{name}.txt")
            for name, counts in PascalContext.counts.items()
        ),
        wrong=(
            Wrong(r"VOC20(?!10)\d\d/.*", f"VOC of another year; {GET}"),
            Wrong(r"Annotations_Part/.*", f"PASCAL-Part; get trainval.tar.gz from {CONTEXT}"),
            Wrong(r"cls/\d{4}_\d{6}\.mat", f"SBD, for data=voc2012; get trainval.tar.gz from {CONTEXT}"),
            Wrong(r"(train|val)\.pth", f"pickles, which are not read; get trainval.tar.gz from {CONTEXT}"),
        ),
        finish=lists,
    ),
)
