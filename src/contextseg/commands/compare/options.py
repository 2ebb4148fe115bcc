"""The options of `compare`, over those that the first checkpoint was trained with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, MinLen
from omegaconf import DictConfig, OmegaConf

from contextseg import parts
from contextseg.commands.evaluate.options import without_nulls
from contextseg.door import REQUIRED, group, option, parse
from contextseg.engine.options import EvalOptions, Node, Paths
from contextseg.errors import ConfigError
from contextseg.files import existing_checkpoint
from contextseg.typed import Count


@dataclass
class CompareOptions:
    """Show where one network is right and another is not, on any data set, as one page that opens offline.

    contextseg compare ckpts=[fcn.ckpt,ocr.ckpt] split=test
    contextseg compare ckpts=[fcn.ckpt,ocr.ckpt,ccnet.ckpt] images=50    each of the others against the first
    Writes compare.html, images.csv, regions.csv, classes.csv, confusion.csv and the pictures (docs/compare.md).
    """

    ckpts: Annotated[list[Path], MinLen(2)] = option(REQUIRED, "two .ckpt files or more; the first is compared with")
    names: list[str] | None = option(None, "of the networks on the page; null: their heads")
    split: Literal["train", "val", "test"] = option("val", "which images")
    images: Count | None = option(None, "so many, evenly spaced in the split; null: all")
    count: Count = option(4, "pictured images of each kind: gains, losses, worst, best, confused classes")
    boxes: Count = option(3, "most boxes for gains, and for losses, on an image")
    least: Annotated[float, Ge(0)] = option(0.1, "percent of an image that a boxed region has at least")
    output: Path | None = option(None, "a folder; null: <paths.runs>/compare/<date>_<time>")
    device: Literal["auto", "cpu", "gpu", "cuda"] = option("auto", "auto is a GPU if there is one")
    paths: Paths = option(Paths, "")
    data: Node = group(None, "data set", root=option(None, "its folder"))
    eval: EvalOptions = group(None, "evaluation protocol", batch_size=None, extra_metrics=None)
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse names that are too few, too many, or equal."""
        if self.names is not None and (len(self.names) != len(self.ckpts) or len(set(self.names)) < len(self.names)):
            raise ConfigError(
                f"names=[{','.join(self.names)}]: give {len(self.ckpts)} different names, one for each of ckpts"
            )


def first_look(cfg: DictConfig) -> None:
    """Check the options of the command line before a checkpoint is read. Raises `ConfigError`."""
    options = parse(CompareOptions, without_nulls(OmegaConf.to_container(cfg, resolve=True)))
    if "data" in cfg.choices:
        parts.check(options.data, "data")
    if "eval" in cfg.choices:
        parts.check(options.eval.predictor, "eval.predictor")
    for file in options.ckpts:
        existing_checkpoint(file, "ckpts")
