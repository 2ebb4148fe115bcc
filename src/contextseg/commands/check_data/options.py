"""The options of `check_data`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from contextseg.door import group, option
from contextseg.engine.options import Node, Paths
from contextseg.typed import Natural


@dataclass
class CheckDataOptions:
    """Read every image and mask of a data set and report what is wrong.

    contextseg check_data data=folder data.root=FOLDER
    Exit code 0: fit for training; 1: there are errors.
    """

    splits: Annotated[list[Literal["train", "val", "test"]], MinLen(1)] | None = option(
        None, "such as [train,val]; null: those that the data set has"
    )
    workers: Natural | None = option(None, "processes; null: one per core, 8 at most; 0: none but this")
    count: Natural = option(4, "pictured samples per split")
    output: Path | None = option(None, "a folder; null: <paths.runs>/check_data/<data>/<date>_<time>")
    paths: Paths = option(Paths, "")
    data: Node = group("context_scenes", "data set")
    choices: dict[str, str] = option({}, "filled in")
