"""The options of `predict`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import MinLen

from contextseg.commands.predict import inputs
from contextseg.data.limits import MAX_MEGAPIXELS, check_range
from contextseg.door import REQUIRED, group, option
from contextseg.engine.options import EvalOptions, ExtraMetrics
from contextseg.errors import ConfigError
from contextseg.files import existing_checkpoint
from contextseg.typed import Count, Positive

Format = Literal["labels", "overlays", "probabilities", "polygons", "coco_rle"]
VideoFormat = Literal["overlays", "labels"]
Formats = Annotated[
    Format | Annotated[list[Format], MinLen(1)],
    f"one or several of {', '.join(get_args(Format))}; several: [labels,polygons]",
]
VideoFormats = Annotated[
    VideoFormat | Annotated[list[VideoFormat], MinLen(1)], "overlays, labels, or both: [overlays,labels]"
]


@dataclass
class Protocol(EvalOptions):
    """The part of `eval=` that prediction uses."""

    batch_size: Count = (
        8  # not declared as options: they stand in every file of `conf/eval`, and only scoring uses them
    )
    extra_metrics: ExtraMetrics = field(default_factory=list)


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
    formats: Formats = option(["labels", "overlays"], "for images")
    video_formats: VideoFormats = option(
        ["overlays"], "for videos and webcams: overlays (a video), labels (a PNG per frame)"
    )
    frames: Count | None = option(None, "most frames of a video or webcam; null: all, or until Ctrl-C")
    clip_step: Count = option(1, "of a network for clips: frames of the video from one of a clip to the next")
    batch_size: Count = option(1, "images or frames in one pass, if they have one size; more is faster on a GPU")
    tile: Literal["auto", "none"] | Count = option(
        "auto", "larger images in windows that overlap: auto (above 4 megapixels), none, or their side in pixels"
    )
    max_megapixels: Positive = option(MAX_MEGAPIXELS, "a larger image is refused, unread")
    value_range: tuple[float, float] | None = option(
        None, "[black,white]: values that become 0 and 255 in images of more than 8 bits; null: as in training"
    )
    device: Literal["auto", "cpu", "gpu", "cuda"] = option("auto", "auto is a GPU if there is one")
    eval: Protocol = group("ss", "evaluation protocol; not that of the training")
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
        check_range(self.value_range)
        existing_checkpoint(self.ckpt)
        inputs.find(self.input)


STEP = 128  # pixels; see `inference.tiles`
