"""The outcome: the numbers of images and masks, the differences to the publication, and the next commands."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.table import Table

from contextseg.commands.prepare.fill import to_write
from contextseg.commands.prepare.find import Delivery
from contextseg.commands.prepare.layout import Layout, Split
from contextseg.commands.prepare.tree import Tree, read_lines
from contextseg.console import console
from contextseg.errors import how_to_run

NO_FILE = ".none"  # a pattern that fits nothing

log = logging.getLogger(__name__)


def counted(root: Path, split: Split) -> tuple[int, int]:
    """Count the images and the masks of a split."""
    if not split.listed:
        images, masks = (sum(1 for _ in root.glob(pattern)) for pattern in (split.images, *(split.masks or [NO_FILE])))
        return images, masks
    names = [Path(line).stem for line in read_lines(root / split.listed)]
    there = [[(root / path.replace("*", name)).is_file() for path in (split.images, *split.masks)] for name in names]
    return sum(image for image, *_ in there), sum(any(masks) for _, *masks in there)


def warnings(split: Split, images: int, masks: int) -> Iterator[str]:
    """Yield the differences of a split to the publication, in words."""
    if not images and split.optional:
        return
    if split.expected and images not in split.expected:
        yield f"{split.name} has {images} images; published: {' or '.join(map(str, split.expected))}"
    if split.masks and masks != images:
        yield f"{split.name} has {images} images but {masks} masks"


def show(name: str, layout: Layout, root: Path, counts: dict[str, tuple[int, int]]) -> None:
    """Print the table of the splits, the differences to the publication, and the next commands."""
    table = Table("split", title=f"{name} in {root}", title_justify="left")
    for column in ("images", "masks", "published"):
        table.add_column(column, justify="right")
    table.add_column("where", overflow="fold")
    for split in layout.splits:
        images, masks = counts[split.name]
        if images or not split.optional:
            expected = " or ".join(map(str, split.expected))
            table.add_row(split.name, str(images), str(masks) if split.masks else "-", expected, split.images)
            for warning in warnings(split, images, masks):
                log.warning("%s", warning)
    console.print(table)
    options = " ".join((f"data={name}", *layout.options, f"data.root={root}"))
    console.print(f"next: {how_to_run('check_data')} {options}", soft_wrap=True, highlight=False)
    console.print(f"then: {how_to_run('train')} {options}", soft_wrap=True, highlight=False)


def show_dry_run(tree: Tree, deliveries: Iterable[Delivery]) -> None:
    """Print the files that would be written."""
    table = Table("archive", "gives", title=f"would write to {tree.root}", title_justify="left")
    for column in ("files", "to write", "MiB"):
        table.add_column(column, justify="right")
    for delivery in deliveries:
        rest = to_write(tree, delivery)
        parts = ", ".join(archive.part for archive in delivery.archives)
        size = sum(size for _, size in rest)
        table.add_row(delivery.name, parts, str(len(delivery.targets)), str(len(rest)), f"{size / 2**20:.1f}")
    console.print(table)
