"""The options of `predict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from contextseg.commands.predict import inputs
from contextseg.door import REQUIRED, group, option
from contextseg.engine.options import EvalOptions
from contextseg.errors import ConfigError
from contextseg.files import existing_checkpoint
from contextseg.typed import Count, Positive

Formats = Literal["labels", "overlays", "probabilities", "polygons", "coco_rle"]
VideoFormats = Literal["overlays", "labels"]


@dataclass
class PredictOptions:
    """Label images and videos with a checkpoint.

    contextseg predict ckpt=runs/NAME/DATE/checkpoints/last.ckpt input=FOLDER output=FOLDER
    """

    ckpt: Path = option(REQUIRED, "a .ckpt file")
    input: str | list[str] = option(
        REQUIRED, "an image, a folder, a glob pattern, a video, webcam:0, or a list of those"
    )
    output: Path = option(REQUIRED, "a folder, which gets a folder for each format")
    formats: Formats | Annotated[list[Formats], MinLen(1)] = option(["labels", "overlays"], "for images")
    video_formats: VideoFormats | Annotated[list[VideoFormats], MinLen(1)] = option(
        ["overlays"], "for videos and webcams: overlays (a video), labels (a PNG per frame)"
    )
    frames: Count | None = option(None, "most frames of a video or webcam; null: all, or until Ctrl-C")
    batch_size: Count = option(1, "images or frames in one pass, if they have one size; more is faster on a GPU")
    tile: Literal["auto", "none"] | Count = option(
        "auto", "larger images in windows that overlap: auto (above 4 megapixels), none, or their side in pixels"
    )
    max_megapixels: Positive = option(200, "a larger image is refused, unread")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "auto is a GPU if there is one")
    eval: EvalOptions = group("ss", "protocol")
    choices: dict[str, str] = option({}, "the chosen options of the groups; filled in")

    def __post_init__(self) -> None:
        """Refuse a side of windows that does not fit, and inputs and checkpoints that do not exist."""
        if isinstance(self.formats, str):
            self.formats = [self.formats]
        if isinstance(self.video_formats, str):
            self.video_formats = [self.video_formats]
        if isinstance(self.tile, int) and self.tile % STEP:
            raise ConfigError(
                f"tile={self.tile}: give auto, none, or the side of the windows, a multiple of {STEP} pixels"
            )
        existing_checkpoint(self.ckpt)
        inputs.find(self.input)


STEP = 128  # pixels; see `inference.tiles`
