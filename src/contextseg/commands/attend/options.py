"""The options of `attend`."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from contextseg.data.limits import MAX_MEGAPIXELS, check_range
from contextseg.door import REQUIRED, option
from contextseg.errors import ConfigError
from contextseg.files import existing_checkpoint
from contextseg.folders import refuse_irregular
from contextseg.typed import Positive, shown

MORE = ("ckpt2", "ckpt3", "ckpt4")  # beside the first


@dataclass
class AttendOptions:
    """Draw where the context of a pixel came from.

    contextseg attend ckpt=FILE image=FILE point=[64,100]
    contextseg attend ckpt=FILE serve=true [ckpt2=FILE ...]    that of any pixel, on a local page; Ctrl-C ends it
    """

    ckpt: Path = option(REQUIRED, "a .ckpt file")
    image: Path | None = option(None, "an image file")
    point: tuple[int, int] | None = option(None, "[x,y] in pixels of the image")
    mask: Path | None = option(None, "its labels, train ids: adds the true class shares to the class probabilities")
    value_range: tuple[float, float] | None = option(
        None, "[black,white]: values that become 0 and 255 in an image of more than 8 bits; null: as in training"
    )
    max_megapixels: Positive = option(MAX_MEGAPIXELS, "a larger image is refused, unread")
    output: Path = option("attention.png", "the picture; one of the head's inside goes beside it, attention_inside.png")
    serve: bool = option(False, "true: a local page instead, where images and pixels are chosen")
    ckpt2: Path | None = option(None, "a second checkpoint beside the first, on the page")
    ckpt3: Path | None = option(None, "a third")
    ckpt4: Path | None = option(None, "a fourth")
    port: Annotated[int, Ge(1), Le(65535)] = option(7860, "on 127.0.0.1, which no other machine reaches")
    longest_side: Annotated[int, Ge(32), Le(4096)] = option(
        640, "pixels; the page scales larger images down, because a pass takes longer"
    )
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse options that are missing, or that belong to the other form of the command."""
        if self.serve:
            for name in ("image", "point", "mask"):
                if getattr(self, name) is not None:
                    value = getattr(self, name)
                    raise ConfigError(f"{name}={shown(value)}: with serve=true, the page asks for it; omit it")
            for package in ("starlette", "uvicorn"):
                if find_spec(package) is None:
                    raise ConfigError(f"serve=true needs {package}: pip install 'contextseg[inspector]'")
        else:
            for name in MORE:
                if (path := getattr(self, name)) is not None:
                    raise ConfigError(f"{name}={path}: checkpoints are compared on the page only; add serve=true")
            if self.image is None:
                raise ConfigError("image=null: give an image file, or serve=true to choose one on a page")
            if self.point is None:
                raise ConfigError("point=null: give [x,y], two whole numbers of pixels")
        check_range(self.value_range)
        existing_checkpoint(self.ckpt)
        for name in MORE:
            if (path := getattr(self, name)) is not None:
                existing_checkpoint(path, name)
        for name in ("image", "mask"):
            path = getattr(self, name)
            if path is not None and not path.exists():
                raise ConfigError(f"{name}={path}: no such file")
            if path is not None:
                refuse_irregular(path, name)
