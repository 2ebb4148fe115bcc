"""The options of the commands that look inside several networks on a split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen

from contextseg.door import REQUIRED, group, option
from contextseg.engine.options import Node
from contextseg.errors import ConfigError
from contextseg.typed import Count


@dataclass
class InspectionOptions:
    """Look inside several networks on the same images."""

    ckpt: Path | Annotated[list[Path], MinLen(1)] = option(
        REQUIRED, "a .ckpt file, or several whose classes are equal: [FILE,FILE]"
    )
    output: Path = option(REQUIRED, "a folder, which gets the picture, the table and the numbers")
    split: Literal["val", "test"] = option("val", "which images are looked at")
    images: Count = option(16, "of them, evenly spread over the split")
    device: Literal["auto", "cpu", "gpu", "cuda"] = option("auto", "auto is a GPU if there is one")
    resamples: Annotated[int, Ge(100), Le(1_000_000)] = option(10_000, "of the images, for intervals")
    data: Node = group(
        None,
        "data set; without it that of the first checkpoint",
        root=option(None, "its folder"),
        val_size=option(None, "generated images of split=val"),
        test_size=option(None, "generated images of split=test"),
    )
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse a file as the output."""
        if self.output.suffix in (".png", ".csv", ".json"):
            raise ConfigError(f"output={self.output}: several files are written; give a folder")
