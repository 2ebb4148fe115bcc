"""The options of `samples`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contextseg.door import group, option
from contextseg.engine.options import Node
from contextseg.typed import Count, Natural


@dataclass
class SamplesOptions:
    """Draw a sheet of samples of a data set.

    contextseg samples data=context_scenes count=12 output=samples.png
    """

    split: Literal["train", "val", "test"] = option("train", "which images")
    count: Count = option(12, "how many, evenly spaced")
    augment: bool = option(False, "true: show them after the training transform")
    seed: Natural = option(0, "fixes the augmentation")
    output: Path = option("samples.png", "the picture")
    data: Node = group("context_scenes", "data set")
    choices: dict[str, str] = option({}, "filled in")
