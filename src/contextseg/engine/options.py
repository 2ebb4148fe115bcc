"""The options of a training and of an evaluation: name, type, range, default and meaning of each.

Groups of parts (`data`, `head`, ...) are plain nodes (`parts`), from which `engine.build` makes objects.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt, MinLen

from contextseg.door import REQUIRED, group, option
from contextseg.errors import ConfigError
from contextseg.typed import Count, Natural, NonNegative, Positive, shown

Node = dict[str, Any]
OURS = {  # arguments of lightning.Trainer -> the option that sets them
    "accelerator": "trainer.accelerator",
    "devices": "trainer.devices",
    "num_nodes": "trainer.nodes",
    "precision": "trainer.precision",
    "max_steps": "trainer.max_steps",
    "accumulate_grad_batches": "trainer.max_device_batch",
    "val_check_interval": "trainer.val_every_steps",
    "gradient_clip_val": "trainer.gradient_clip",
    "sync_batchnorm": "trainer.sync_batchnorm",
    "deterministic": "trainer.deterministic",
    "callbacks": "+callbacks.NAME={_target_: ...}",
    "logger": "logger=NAME",
}
Precision = Annotated[  # Lightning's names too, and numbers as YAML reads them
    Literal["auto", "32", "bf16", "16", "32-true", "bf16-mixed", "16-mixed", 32, 16], "one of auto, 32, bf16, 16"
]
FREEZE = option(None, "true: its weights stay as they are; a number: those of that many stages")
ExtraMetrics = list[Literal["boundary_iou", "miou_per_image"]]


@dataclass
class TrainerOptions:
    """Settings of `trainer=`; `lightning` passes any other argument to lightning.Trainer."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = option("auto", "auto is a GPU if there is one")
    devices: Count = option(1, "processes, one a device; of each node")
    nodes: Count | None = option(
        None, "machines on each of which torchrun or srun has started them; null: the command starts them itself"
    )
    max_steps: Count = option(40000, "optimizer steps")
    val_every_steps: Count | None = option(4000, "optimizer steps between evaluations; null: only at the end")
    save_every_steps: Count = option(500, "optimizer steps from one last.ckpt to the next")
    log_every_steps: Count = option(10, "optimizer steps from one row of metrics.csv to the next")
    max_device_batch: Count | None = option(None, "most images on a device at once; gradients of more are accumulated")
    precision: Precision = option("auto", "auto is bf16 where the processor has it, else 32")
    gradient_clip: NonNegative | None = option(None, "largest gradient norm")
    sync_batchnorm: bool = option(False, "batch statistics of all devices together; needs CUDA")
    channels_last: bool = option(True, "memory format of the network")
    compile: bool | Literal["inductor", "aot_eager", "eager", "cudagraphs"] = option(
        False, "torch.compile; true is the backend inductor"
    )
    compile_region: Literal["network", "blocks"] = option(
        "network",
        "what is compiled as one; blocks: each block of the backbone, and the head, alone, which is sooner done",
    )
    activation_checkpointing: bool = option(
        False, "keep the input of each block alone, and compute what is inside again: less memory, more time"
    )
    deterministic: bool | Literal["warn"] = option(False, "torch's deterministic algorithms only")
    lightning: dict[str, Any] = option({}, "further arguments of lightning.Trainer: +trainer.lightning.NAME=VALUE")

    def __post_init__(self) -> None:
        """Refuse arguments of Lightning that have an option of ours, or that would switch evaluation off."""
        for name, value in self.lightning.items():
            if name in OURS:
                raise ConfigError(f"trainer.lightning.{name}={shown(value)}: give {OURS[name]} instead")
            if name in ("limit_val_batches", "limit_test_batches") and value == 0:
                raise ConfigError(
                    f"trainer.lightning.{name}=0: nothing would be evaluated; to evaluate at the end only, give "
                    "trainer.val_every_steps=null"
                )


@dataclass
class EvalOptions:
    """Settings of the evaluation protocol, `eval=`."""

    predictor: Node = option({"_target_": "WholeImage"}, "how an image is predicted")
    batch_size: Count = option(8, "images per evaluation batch, per device")
    extra_metrics: ExtraMetrics = option([], "further metrics")


@dataclass
class FeatureOptions:
    """Training on the maps of whole images, which a frozen backbone makes (docs/features.md)."""

    whole: bool | None = option(
        None, "true: crop maps of whole images, not images; needs backbone.freeze=true, and no change of size or colour"
    )
    cache: Path | None = option(None, "a folder that keeps the maps; null: they are computed at each step")
    dtype: Literal["float32", "float16"] | None = option(None, "of the cache; null: float32")


@dataclass
class Paths:
    """Folders of results."""

    runs: Path = option("runs", "the folder that holds all run folders")


@dataclass
class RunPlace:
    """Folder and name of the run."""

    dir: Path | None = option(None, "the run folder; null: a new one, chosen at the start")
    id: str | None = option(None, "name of the run in loggers; null: made from the run folder")


@dataclass
class TrainOptions:
    """Train a context head.

    contextseg train head=ocr data=context_scenes
    contextseg train experiment=ocr/cityscapes_r101    a recipe of the papers (docs/recipes.md)
    contextseg train -m head=fcn,ocr seed=0,1,2        a sweep: every combination
    """

    name: str | None = option(None, "folder of the run, below paths.runs; null: <head>_<backbone>_<data>")
    rows: str | list[str] | None = option(None, "with ablation=: only the rows whose names match, such as ccnet_*")
    row: str | None = option(None, "filled in by ablation=: <table>/<row> of the papers that the run stands for")
    seed: Annotated[int, Ge(0), Lt(2**32)] = option(0, "fixes initialisation, data order, augmentation and dropout")
    init_from: str | None = option(
        None, "another run, its folder or a .ckpt: start from its weights; optimizer and schedule start anew"
    )
    resume: str | None = option(
        None,
        "auto: continue the newest unfinished run of this name, with -m only what is missing; or a run folder",
    )
    frozen_batch_norm: bool = option(False, "keep the batch statistics as they are")
    width: Count | None = option(None, "channels of the head; null: the paper's")
    label_stride: Annotated[int, Ge(1), Le(32)] = option(1, "losses compare with every n-th label")
    class_weights: Annotated[list[Positive], MinLen(1)] | None = option(None, "in the cross-entropies, one per class")
    attention: Literal["learned", "uniform", "local"] = option(
        "learned", "of the head; uniform: it weighs all alike, local: it sees only its window (docs/heads.md)"
    )
    align_corners: bool = option(
        False, "true: logits and maps are resized with aligned corner pixels, as in much released code"
    )
    holdout: Annotated[float, Ge(0), Lt(1)] = option(
        0.0,
        "share of the training split that is not trained on, and scored in the place of val: to choose settings by",
    )
    features: FeatureOptions = option(FeatureOptions, "")
    paths: Paths = option(Paths, "")
    run: RunPlace = option(RunPlace, "")
    data: Node = group("context_scenes", "data set")
    loss: Node = group("ce", "loss terms")
    neck: Node = group("none", "between backbone and head")
    backbone: Node = group("tiny", "backbone", freeze=FREEZE)
    aux_head: Node = group("fcn", "auxiliary head, built if a loss term reads it")
    head: Node = group("ocr", "context head")
    optim: Node = group("sgd", "optimizer")
    schedule: Node = group("poly", "learning-rate schedule")
    eval: EvalOptions = group("ss", "evaluation protocol")
    trainer: TrainerOptions = group("auto", "device and budget")
    callbacks: Node = group("default", "callbacks")
    logger: Node | None = group("csv", "loggers")
    experiment: None = group("context_scenes", "a recipe, which sets the groups above")
    ablation: None = group(None, "with -m: the rows of a paper's table (docs/ablations.md)")
    debug: None = group(None, "debug=fast: four steps of everything")
    choices: dict[str, str] = option({}, "the chosen options of the groups; filled in")


@dataclass
class PicturesOptions:
    """Pictures that an evaluation draws."""

    folder: Path | None = option(None, "folder of the pictures; null: predictions/ of the run folder")
    count: Natural | None = option(None, "how many images are drawn; null: as many as in training")


@dataclass
class EvaluateCallbacks:
    """Callbacks of an evaluation, which do not depend on the checkpoint."""

    pictures: PicturesOptions = option(PicturesOptions, "")


@dataclass
class EvaluateFeatures:
    """Maps of whole images in their place (docs/features.md)."""

    cache: Path | None = option(
        None, "with eval=ss, a folder that keeps the maps; null: that of the training, if it has all in float32"
    )
    dtype: Literal["float32", "float16"] | None = option(None, "of the cache; null: that of the training")

    def __post_init__(self) -> None:
        """Refuse a type without a cache."""
        if self.dtype and self.cache is None:
            raise ConfigError(f"features.dtype={self.dtype}: it is that of the cache; give features.cache=FOLDER")


@dataclass
class EvaluateOptions:
    """Score a checkpoint by any protocol.

    contextseg evaluate ckpt=runs/NAME/DATE/checkpoints/last.ckpt split=test
    contextseg evaluate ckpt=FILE eval=[ss,ms_flip]              several protocols, in one pass
    contextseg evaluate ckpt=[FILE,FILE] eval=ms_flip    heads on one backbone, in one pass (docs/evaluation.md)
    """

    ckpt: Path | Annotated[list[Path], MinLen(1)] = option(
        REQUIRED, "a .ckpt file, or several whose backbones are equal"
    )
    split: Literal["val", "test"] = option("val", "which images are scored")
    force: bool = option(False, "true: score images that were trained on, too")
    name: str | None = option(
        None, "folder of the run, below paths.runs; null: the name of the training run; the folder ends in _evaluate"
    )
    callbacks: EvaluateCallbacks = option(EvaluateCallbacks, "")
    features: EvaluateFeatures = option(EvaluateFeatures, "")
    paths: Paths = option(Paths, "")
    run: RunPlace = option(RunPlace, "")
    data: Node = group(
        None,
        "data set",
        root=option(None, "its folder"),
        num_workers=option(None, "processes that load images"),
        val_size=option(None, "generated images of split=val"),
        test_size=option(None, "generated images of split=test"),
    )
    eval: EvalOptions = group(None, "evaluation protocol, or a list", batch_size=None, extra_metrics=None)
    trainer: TrainerOptions = group(None, "device", accelerator=None, devices=None, precision=None)
    choices: dict[str, str] = option({}, "the chosen options of the groups; filled in")
    protocols: dict[str, Node] = option({}, "the settings of each protocol of a list; filled in")
