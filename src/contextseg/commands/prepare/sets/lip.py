"""LIP, single persons: 30,462 training, 10,000 validation and 10,000 test images; the zips lie in zips."""

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split, Wrong
from contextseg.commands.prepare.tree import Tree
from contextseg.datamodules.lip import LIP

PAGE = "sysu-hcp.net/lip, single person"


def lists(tree: Tree) -> None:
    """Write the id lists that the archives did not bring."""
    for split in ("train", "val", "test"):
        ids = sorted(path.stem for path in (tree.root / f"{split}_images").glob("*.jpg"))
        if ids and not tree.has(f"{split}_id.txt"):
            tree.put_lines(f"{split}_id.txt", ids)


def _split(name: str, masks: tuple[str, ...], optional: bool = False) -> Split:
    return Split(name, f"{name}_images/*.jpg", masks, LIP.counts[name], f"{name}_id.txt", optional)


LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "images",
                "TrainVal_images.zip",
                PAGE,
                r"(train|val)_images/\d+_\d+\.jpg",
                (
                    Rule(r"(train|val)_images/(\d+_\d+\.jpg)", r"\1_images/\2"),
                    Rule(r"((?:train|val)_id\.txt)", r"\1"),
                ),
            ),
            Archive(
                "masks",
                "TrainVal_parsing_annotations.zip",
                PAGE,
                r"(train|val)_segmentations/\d+_\d+\.png",
                (Rule(r"(train|val)_segmentations/(\d+_\d+\.png)", r"\1_segmentations/\2"),),
            ),
            Archive(
                "test images",
                "Testing_images.zip",
                PAGE,
                r"test(ing)?_images/\d+_\d+\.jpg",
                (
                    Rule(r"test(?:ing)?_images/(\d+_\d+\.jpg)", r"test_images/\1"),
                    Rule(r"(test_id\.txt)", r"\1"),
                ),
                optional=True,
            ),
        ),
        splits=(
            _split("train", ("train_segmentations/*.png",)),
            _split("val", ("val_segmentations/*.png",)),
            _split("test", (), optional=True),
        ),
        wrong=(
            Wrong(
                r"train_segmentations_reversed/.*", "mirrored masks; they are not needed, training mirrors by itself"
            ),
            Wrong(r"(Human_ids|Category_ids|Instance_ids)/.*", "CIHP, several persons; get LIP, single person"),
            Wrong(r"humanparsing/.*", "ATR; get LIP, single person"),
            Wrong(r"lip_(train|val)_set\.csv", "the poses; they are not needed"),
        ),
        finish=lists,
    ),
)
