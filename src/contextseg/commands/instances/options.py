"""The options of `instances`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from contextseg.door import option
from contextseg.errors import ConfigError
from contextseg.files import existing_checkpoint
from contextseg.typed import Count, Natural, Positive


@dataclass
class InstancesOptions:
    """Train, score or use Mask R-CNN with a context block (CCNet, Table 8).

    contextseg instances context=rcca output=run             trains on generated scenes, scores, draws
    contextseg instances ckpt=run/detector.ckpt              scores again
    contextseg instances ckpt=run/detector.ckpt images=FOLDER output=found
    """

    context: Literal["none", "nonlocal", "rcca"] = option("none", "before the last block of res4")
    recurrence: Count = option(2, "loops of rcca")
    trunk: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = option("resnet50", "a ResNet with a pyramid")
    weights: str = option("none", "of the backbone: none, imagenet, or a file with torchvision's names")
    source: Literal["instance_scenes", "coco_instances"] = option("instance_scenes", "data set")
    root: Path = option(Path("data/coco"), "of coco_instances: the folder of train2017, val2017 and annotations")
    train_size: Count = option(1000, "of instance_scenes: training images")
    val_size: Count = option(200, "of instance_scenes: validation images")
    sides: tuple[Count, Count] | None = option(
        None, "shorter and longer side to which images are resized; null: [800,1333], of instance_scenes [128,128]"
    )
    anchor: Count | None = option(None, "side of the smallest anchor, pixels; null: 32, of instance_scenes 8")
    proposals: Count | None = option(None, "regions of an image that are looked at; null: 1000, of instance_scenes 64")
    batch_size: Count = option(8, "images per step, all devices together")
    max_steps: Count = option(180_000, "training steps; instance_scenes needs some 600")
    warmup: Natural = option(500, "steps over which the rate grows")
    lr: Positive = option(0.01, "learning rate")
    accelerator: Literal["auto", "cpu", "gpu"] = option("auto", "what it runs on")
    devices: Count = option(1, "processes")
    num_workers: Natural = option(0, "loader processes of each")
    seed: Natural = option(0, "of initialisation and data order")
    least_score: Annotated[float, Ge(0), Le(1)] = option(0.5, "of what is drawn and written")
    ckpt: Path | None = option(None, "score or use this detector instead of training one")
    images: Path | None = option(None, "a folder of images, or one, to find instances in; needs ckpt")
    output: Path = option(Path("instances"), "folder of what is written")
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse what cannot be read, written or used together."""
        if self.images is not None and self.ckpt is None:
            raise ConfigError(f"images={self.images} without a detector: give ckpt=FILE")
        if self.images is not None and not self.images.exists():
            raise ConfigError(f"images={self.images}: no such file or folder")
        if self.ckpt is not None:
            existing_checkpoint(self.ckpt)
        elif (self.output / "detector.ckpt").exists():
            raise ConfigError(f"output={self.output}: holds a detector already; give another folder")
        if self.batch_size % self.devices:
            raise ConfigError(f"batch_size={self.batch_size} is no multiple of devices={self.devices}; give one")
        if self.weights not in ("none", "imagenet") and not Path(self.weights).is_file():
            raise ConfigError(f"weights={self.weights}: no such file; give none, imagenet or a file")
        if self.source == "coco_instances" and self.images is None and not self.root.is_dir():
            raise ConfigError(f"root={self.root}: no such folder; give the folder of COCO")

    def settings(self) -> dict:
        """Return the settings of `mask_rcnn` that are plain values."""
        generated = self.source == "instance_scenes"
        sides = self.sides or ((128, 128) if generated else (800, 1333))
        return {
            "backbone": self.trunk,
            "context": self.context,
            "recurrence": self.recurrence,
            "weights": self.weights,
            "sides": tuple(sides),
            "anchor": self.anchor or (8 if generated else 32),
            "proposals": self.proposals or (64 if generated else 1000),
        }
