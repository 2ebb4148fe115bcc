"""Make the ready tree of a data set from its official archives: find them, refuse wrong ones, fill the tree, count."""

import os
from pathlib import Path

from contextseg.commands.prepare import outcome
from contextseg.commands.prepare.fill import check_space, fill
from contextseg.commands.prepare.find import find
from contextseg.commands.prepare.options import PrepareOptions
from contextseg.commands.prepare.tree import Tree
from contextseg.errors import ConfigError


def main(options: PrepareOptions) -> None:
    """Make the ready tree."""
    prepare(options)


def prepare(options: PrepareOptions) -> Path:
    """Make the ready tree of `data=` in `root=` from the archives in `source=`; return its folder.

    A stopped command continues when it is repeated. Raises `ConfigError` for an archive that is missing, wrong, damaged
    or unsafe, for a file that exists and differs, and if the disk is too small.
    """
    workers = min(os.cpu_count() or 1, 8) if options.workers is None else options.workers
    name, root = options.choices["data"], options.folder
    layout, deliveries = find(options.sources, name, root)
    tree = Tree(root, options.overwrite)
    if tree.record.get("data", name) != name:
        raise ConfigError(f"root={root}: holds {tree.record['data']}; give another folder for {name}")
    check_space(tree, deliveries)
    if options.dry_run:
        outcome.show_dry_run(tree, deliveries)
        return root
    with tree:
        tree.record["data"] = name
        for delivery in deliveries:
            fill(tree, delivery, workers)
        if layout.finish:
            layout.finish(tree)
        counts = {split.name: outcome.counted(root, split) for split in layout.splits}
        tree.record["splits"] = {split: {"images": images, "masks": masks} for split, (images, masks) in counts.items()}
        tree.save()
    outcome.show(name, layout, root, counts)
    return root
