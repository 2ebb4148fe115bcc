"""Cityscapes: fine labels of train and val, coarse labels, all as labelIds; no polygons, no colour pictures."""

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split, Wrong
from contextseg.datamodules.cityscapes import BROKEN, Cityscapes

PAGE = "www.cityscapes-dataset.com/downloads (needs an account)"


def _rule(kind: str, files: str) -> Rule:
    return Rule(rf"{kind}/(train|val|test|train_extra)/(?!{BROKEN})(\w+/\w+_{files}\.png)", rf"{kind}/\1/\2")


def _split(name: str, masks: str | None, count: str, optional: bool = False) -> Split:
    labels = (f"{masks}/{name}/*/*_{masks}_labelIds.png",) if masks else ()
    return Split(name, f"leftImg8bit/{name}/*/*_leftImg8bit.png", labels, Cityscapes.counts[count], optional=optional)


LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "images",
                "leftImg8bit_trainvaltest.zip",
                PAGE,
                r"leftImg8bit/(train|val|test)/\w+/\w+_leftImg8bit\.png",
                (_rule("leftImg8bit", "leftImg8bit"),),
            ),
            Archive(
                "fine labels",
                "gtFine_trainvaltest.zip",
                PAGE,
                r"gtFine/\w+/\w+/\w+_gtFine_labelIds\.png",
                (_rule("gtFine", "gtFine_labelIds"),),
            ),
            Archive(
                "coarse labels",
                "gtCoarse.zip",
                PAGE,
                r"gtCoarse/\w+/\w+/\w+_gtCoarse_labelIds\.png",
                (_rule("gtCoarse", "gtCoarse_labelIds"),),
                optional=True,
            ),
            Archive(
                "images of the coarse labels",
                "leftImg8bit_trainextra.zip",
                PAGE,
                r"leftImg8bit/train_extra/\w+/\w+_leftImg8bit\.png",
                (_rule("leftImg8bit", "leftImg8bit"),),
                optional=True,
            ),
        ),
        splits=(
            _split("train", "gtFine", "train"),
            _split("val", "gtFine", "val"),
            _split("test", None, "test"),
            _split("train_extra", "gtCoarse", "coarse", optional=True),
        ),
        wrong=(
            Wrong(r"leftImg8bit_blurred/.*", "the images with blurred faces; get leftImg8bit_trainvaltest.zip"),
            Wrong(r"rightImg8bit\w*/.*", "the right camera's images; get leftImg8bit_trainvaltest.zip"),
            Wrong(r"leftImg8bit_\w+/.*|leftImg8bit/demoVideo/.*", "video or made-up weather; get ..._trainvaltest.zip"),
            Wrong(r"leftImg16bit/.*", "the images with 16 bits; get leftImg8bit_trainvaltest.zip"),
            Wrong(r"gt(Fine_?[Pp]anoptic|Bbox)\w*/.*", "panoptic or box labels; get gtFine_trainvaltest.zip"),
            Wrong(r"(disparity|camera|vehicle|timestamp)\w*/.*", "no pictures and no labels; it is not needed"),
        ),
    ),
)
