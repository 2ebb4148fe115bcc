"""Clothing Co-Parsing: the repository of the release, or a zip of it; masks become PNGs, and three lists are added."""

from functools import partial
from io import BytesIO
from itertools import zip_longest

from scipy.io import loadmat

from contextseg.commands.prepare.layout import Archive, Layout, Rule, Split, Wrong
from contextseg.commands.prepare.masks import to_png
from contextseg.commands.prepare.tree import Tree
from contextseg.data.labels import Matlab
from contextseg.datamodules.ccp import CCP, SAME, WANTED, split_of
from contextseg.errors import ConfigError

PAGE = "github.com/bearpaw/clothing-co-parsing"
MASKS = "annotations/pixel-level"
TO_PNG = partial(to_png, Matlab("groundtruth", SAME, wanted=WANTED))


def names(data: bytes) -> bytes:
    """Turn label_list.mat into a list, a name per line. Raises `ConfigError` if labels are numbered otherwise."""
    try:
        found = [str(name) for name in loadmat(BytesIO(data), simplify_cells=True)["label_list"]]
    except Exception as error:  # a damaged file makes SciPy raise anything
        raise ConfigError(f"cannot read label_list ({error!r}); get the files from {PAGE}") from error
    for label, (theirs, ours) in enumerate(zip_longest(found, ("null", *CCP.classes.names[1:]))):
        if theirs != ours:
            raise ConfigError(f"label {label} is {theirs}, not {ours} as in the release; get the files from {PAGE}")
    return "".join(f"{name}\n" for name in found).encode()


def lists(tree: Tree) -> None:
    """Write the lists of the three splits, which the release does not have."""
    numbers = sorted(path.stem for path in (tree.root / MASKS).glob("*.png"))
    for split in CCP.counts:
        tree.put_lines(f"{split}.txt", [number for number in numbers if split_of(number) == split])


LAYOUTS = (
    Layout(
        archives=(
            Archive(
                "photos and masks",
                "clothing-co-parsing (the folder, or a zip of it)",
                PAGE,
                rf"{MASKS}/\d+\.mat",
                (
                    Rule(r"photos/(\d+\.jpg)", r"photos/\1"),
                    Rule(rf"{MASKS}/(\d+)\.mat", rf"{MASKS}/\1.png", TO_PNG),
                    Rule(r"label_list\.mat", "label_list.txt", names),
                ),
            ),
        ),
        splits=tuple(
            Split(split, "photos/*.jpg", (f"{MASKS}/*.png",), tuple(count), f"{split}.txt")
            for split, count in CCP.counts.items()
        ),
        wrong=(Wrong(r"annotations/image-level/\d+\.mat", "labels of whole images; get annotations/pixel-level too"),),
        finish=lists,
    ),
)
