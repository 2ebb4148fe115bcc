"""The options of `convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from contextseg.door import REQUIRED, group, option
from contextseg.engine.options import Node
from contextseg.errors import ConfigError

SOURCES = Literal["openseg", "hrnet", "ccnet", "agln", "contextprior", "mmseg", "ctnet", "encoding", "fastfcn"]


@dataclass
class ConvertOptions:
    """Turn the authors' released weights into a checkpoint.

    contextseg convert from=ccnet input=FILE output=FILE     (docs/convert.md has a command for each source)
    """

    source: SOURCES = option(REQUIRED, "whose code the weights are of", name="from")
    input: Path = option(REQUIRED, "the released file: what torch.save wrote, .safetensors, or .npz")
    output: Path = option(
        REQUIRED, "the checkpoint to write; OUTPUT.keys.txt beside it lists the outcome of every tensor"
    )
    graph: str | None = option(None, "which network of that source; null: found by the names of the tensors")
    classes: str | Annotated[list[str], MinLen(1)] | None = option(
        None, "if no data set of ours has them: the name of a class set, or [name,name,...]"
    )
    inplace_abn: bool = option(False, "norms multiply by |weight| + 1e-5, as the kernels of InPlaceABN do")
    overwrite: bool = option(False, "true: replace the output")
    data: Node | None = group(None, "the data set of ours it was trained for; null: the one with as many classes")
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse paths that cannot be read or written, and two kinds of classes."""
        if not self.input.is_file():
            raise ConfigError(f"input={self.input}: no such file; give the released weights")
        if self.output.is_dir():
            raise ConfigError(
                f"output={self.output}: this is a folder; give a file, such as {self.output / 'converted.ckpt'}"
            )
        if self.output.exists() and not self.overwrite:
            raise ConfigError(f"output={self.output}: exists already; give another name or overwrite=true")
        if self.choices.get("data") is not None and self.classes is not None:
            raise ConfigError("data= and classes= both name the classes; give one of them")
