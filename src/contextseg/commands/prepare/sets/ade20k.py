"""ADE20K as the scene parsing benchmark has it: 150 classes, 20,210 training and 2,000 validation images."""

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split, Wrong
from contextseg.datamodules.ade20k import ADE20K

PAGE = "sceneparsing.csail.mit.edu"
GET = f"get ADEChallengeData2016.zip from {PAGE}"

LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "images and masks",
                "ADEChallengeData2016.zip",
                PAGE,
                r"annotations/(training|validation)/ADE_\w+\.png",
                (
                    Rule(r"(images|annotations)/(training|validation)/(ADE_\w+\.(?:jpg|png))", r"\1/\2/\3"),
                    Rule(r"(objectInfo150\.txt|sceneCategories\.txt)", r"\1"),
                ),
            ),
            Archive(
                "test images",
                "release_test.zip",
                PAGE,
                r"testing/ADE_test_\d+\.jpg",
                (Rule(r"testing/(ADE_test_\d+\.jpg)", r"release_test/testing/\1"),),
                optional=True,
            ),
        ),
        splits=(
            Split("train", "images/training/*.jpg", ("annotations/training/*.png",), ADE20K.counts["train"]),
            Split("val", "images/validation/*.jpg", ("annotations/validation/*.png",), ADE20K.counts["val"]),
            Split("test", "release_test/testing/*.jpg", (), ADE20K.counts["test"], optional=True),
        ),
        wrong=(
            Wrong(r"ADE20K_20\d\d_\d\d_\d\d/.*|ADE_\w+_seg\.png", f"the full ADE20K of over 3,000 classes; {GET}"),
            Wrong(r"annotations_instance/.*", f"the instance segmentation benchmark; {GET}"),
        ),
    ),
)
