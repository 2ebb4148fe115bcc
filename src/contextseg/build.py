"""From configuration to objects, and the checks that the parts fit together."""

import importlib
import importlib.metadata
import inspect
import logging
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
import lightning as L
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch._subclasses import FakeTensorMode
from torchmetrics import Metric

from contextseg import __version__, heads, necks
from contextseg.backbones.timm_features import TimmBackbone
from contextseg.backbones.tiny import Tiny
from contextseg.classes import ClassSet
from contextseg.contract import ConfigError, Head, Neck
from contextseg.data.datamodule import SegDataModule
from contextseg.heads.fcn import FCNHead
from contextseg.inference import Predictor, WholeImage
from contextseg.losses.total import LossSum
from contextseg.metrics import BoundaryIoU, ContextReach, PerImageIoU, SegMetrics
from contextseg.module import SegModule
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)
LIBRARIES = ("torch", "lightning", "timm", "torchmetrics", "albumentations", "hydra-core")
EXTRA_METRICS = {"boundary_iou": BoundaryIoU, "miou_per_image": PerImageIoU}


def instantiate(node: Mapping | DictConfig, option: str, **facts: Any) -> Any:
    """The object that a config node describes, with run-time facts as plain arguments.

    A null in the node means the constructor's default. Raises `ConfigError`, naming the `option`, for an argument that
    the constructor does not have, or whose value it refuses.
    """
    node = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    node = {key: value for key, value in node.items() if value is not None}
    try:
        return hydra.utils.instantiate(node, _partial_=True, _convert_="all")(**facts)
    except InstantiationException as error:
        cause = error.__cause__
        raise (cause if isinstance(cause, ConfigError) else ConfigError(f"{option}: {error}")) from error
    except ConfigError:
        raise
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"{option}: {error}") from error
    except TypeError as error:
        raise ConfigError(f"{option}: {error}; see the constructor of {node.get('_target_')}") from error


def datamodule(cfg: DictConfig) -> SegDataModule:
    """The data module of `cfg.data`."""
    return instantiate(cfg.data, "data")


def recipe(cfg: DictConfig, classes: ClassSet) -> dict:
    """All that rebuilds the network: plain containers, stored in every checkpoint."""
    parts = {part: OmegaConf.to_container(cfg[part], resolve=True) for part in ("backbone", "neck", "head", "aux_head")}
    if "crop_size" in parts["head"] and parts["head"]["crop_size"] is None:
        parts["head"]["crop_size"] = crop_size(cfg)
        if parts["head"]["crop_size"] is None:
            raise ConfigError("this head is tied to one image size; give data.transform.crop_size=[height,width]")
    return parts | {"align_corners": cfg.align_corners, "classes": classes.to_dict(), "versions": versions()}


def crop_size(cfg: DictConfig) -> list[int] | None:
    """Height and width of the training images; None if they vary."""
    size = cfg.data.transform.get("crop_size") or cfg.data.get("size")
    if size is None:
        return None
    return [size, size] if isinstance(size, int) else list(size)


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers."""
    return {"contextseg": __version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def segmenter(recipe: dict, reads: Mapping[str, str] | None = None) -> Segmenter:
    """The network of a recipe, with the auxiliary head if a loss term reads what the head does not emit.

    `reads`: what each loss term reads, by the term's name. Raises `ConfigError` if that is nothing the head emits.
    """
    classes = ClassSet.from_dict(recipe["classes"])
    backbone = instantiate(recipe["backbone"], "backbone")
    neck = instantiate(recipe["neck"], "neck", in_channels=backbone.channels, strides=backbone.strides)
    try:
        kind = hydra.utils.get_class(recipe["head"]["_target_"])
        head = instantiate(recipe["head"], "head", num_classes=len(classes), **maps_known(kind, neck))
    except IndexError as error:
        raise ConfigError(
            f"{recipe['head']['_target_']} reads more maps than the {len(neck.channels)} it gets; use neck=none"
        ) from error
    missing = {name: term for term, name in (reads or {}).items() if name not in head.emits | {"logits"}}
    aux_head = None
    if "aux_logits" in missing:
        aux_head = instantiate(recipe["aux_head"], "aux_head", in_channels=backbone.channels, num_classes=len(classes))
    for name in missing.keys() - {"aux_logits"}:
        fitting = sorted(other for other, kind in head_classes().items() if name in kind.emits)
        raise ConfigError(
            f"loss term {missing[name]} reads {name!r}, but head {type(head).__name__} emits "
            f"{', '.join(sorted(head.emits)) or 'nothing'}; heads that emit it: {', '.join(fitting) or 'none'}; "
            "or choose another loss"
        )
    align_corners = recipe.get("align_corners", False)  # a checkpoint may be older than the option
    return Segmenter(backbone, neck, head, aux_head, classes=classes, align_corners=align_corners)


def maps_known(kind: type[Head], neck: Neck) -> dict[str, Sequence[int]]:
    """What a head is told about the maps of its neck: their channels, and their strides if its constructor asks."""
    facts = {"in_channels": neck.channels}
    return facts | ({"strides": neck.strides} if "strides" in inspect.signature(kind).parameters else {})


def corners_known(kind: type[Neck] | type[Head], align_corners: bool) -> dict[str, bool]:
    """`align_corners` for a part that has such a setting."""
    return {"align_corners": align_corners} if "align_corners" in inspect.signature(kind).parameters else {}


def head_classes() -> dict[str, type[Head]]:
    """The one head of every file in `contextseg.heads`, by the file's name."""
    names = sorted(info.name for info in pkgutil.iter_modules(heads.__path__))
    return {name: only_class(f"contextseg.heads.{name}", Head) for name in names}


def only_class(module: str, base: type) -> type:
    """The one subclass of `base` that a module defines."""
    module = importlib.import_module(module)
    (kind,) = (
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, base) and kind.__module__ == module.__name__
    )
    return kind


def create_model(
    name: str,
    *,
    num_classes: int,
    backbone: str = "resnet50",
    weights: str = "none",
    output_stride: int | None = None,
    neck: str | None = None,
    aux_head: bool = False,
    align_corners: bool = False,
    **settings: Any,
) -> Segmenter:
    """A network without any configuration: `create_model("ocr", backbone="resnet50", num_classes=19)`.

    `name` is a file in `contextseg/heads`, `backbone` "tiny" or a timm name; neck and output stride are the head's own
    companions unless given. `settings` go to the head's constructor. `aux_head` adds an FCN head on the last map but
    one. `align_corners` is how logits, and maps in the neck and the head, are resized. Returns a `Segmenter`: image
    uint8 (B, 3, H, W) -> `SegOutput`. Raises `ConfigError` listing the known names.
    """
    known = head_classes()
    if name not in known:
        raise ConfigError(f"no head {name!r}; known: {', '.join(known)}")
    kind = known[name]
    stride = output_stride or kind.output_stride
    if backbone == "tiny":
        body = Tiny(output_stride=stride, weights=weights)
    else:
        body = TimmBackbone(backbone, output_stride=stride, weights=weights)
    necks_known = [info.name for info in pkgutil.iter_modules(necks.__path__)]
    if neck not in (None, *necks_known):
        raise ConfigError(f"no neck {neck!r}; known: {', '.join(sorted(necks_known))}")
    joint = only_class(f"contextseg.necks.{neck or kind.neck}", Neck)
    between = joint(body.channels, body.strides, **corners_known(joint, align_corners))
    settings = corners_known(kind, align_corners) | settings
    head = kind(num_classes=num_classes, **maps_known(kind, between), **settings)
    aux = FCNHead(body.channels, num_classes, source=-2) if aux_head else None
    return Segmenter(body, between, head, aux, align_corners=align_corners)


def loss(cfg: DictConfig) -> LossSum:
    """The loss sum of `cfg.loss`."""
    terms = {name: instantiate(term, f"loss.term.{name}") for name, term in cfg.loss.term.items()}
    return LossSum(terms)


def module(cfg: DictConfig, data: SegDataModule, network: Segmenter | None = None) -> SegModule:
    """The LightningModule for training (`network` None), or for evaluating a given network."""
    criterion = loss(cfg) if network is None else LossSum({})
    parts = recipe(cfg, data.classes) if network is None else {}
    if network is None:
        network = segmenter(parts, reads={name: term.reads for name, term in criterion.term.items()})
        if network.aux_head is None:
            parts["aux_head"] = None
        try_out(network, crop_size(cfg) or data.source("train").read(0)[0].shape[:2])
        prepare(network, cfg)
    return SegModule(
        network,
        criterion,
        predictor(cfg, network),
        metrics(cfg, data),
        optimizer=lambda model: instantiate(cfg.optim, "optim", model=model),
        schedule=lambda optimizer, max_steps: instantiate(
            cfg.schedule, "schedule", optimizer=optimizer, max_steps=max_steps
        ),
        recipe=parts,
        config=OmegaConf.to_container(cfg, resolve=True),
        seed=cfg.seed,
        frozen_batch_norm=cfg.frozen_batch_norm,
    )


def metrics(cfg: DictConfig, data: SegDataModule) -> dict[str, Metric]:
    """What every data set is scored by, what it adds, and those of `cfg.eval.extra_metrics`."""
    chosen: dict[str, Metric] = {"seg": SegMetrics(data.classes)}
    if data.context_rules:
        chosen["reach"] = ContextReach(rules=data.context_rules)
    for name in cfg.eval.get("extra_metrics") or ():  # a checkpoint may be older than the option
        if name not in EXTRA_METRICS:
            raise ConfigError(f"eval.extra_metrics={name}: choose of {', '.join(EXTRA_METRICS)}")
        chosen[name] = EXTRA_METRICS[name](data.classes)
    return chosen


def predictor(cfg: DictConfig, network: Segmenter) -> Predictor:
    """The predictor of `cfg.eval`, within the one image size that the head takes, if it does.

    Raises `ConfigError` for an oracle that would see resized, mirrored or cut images: its mask is the whole image's.
    """
    chosen = instantiate(cfg.eval.predictor, "eval.predictor")
    if network.classes is not None:
        chosen.flip_pairs = network.classes.flip_pairs
    if network.head.needs_mask and not isinstance(chosen, WholeImage):
        raise ConfigError(f"{type(network.head).__name__} needs the mask of what it sees: use eval=ss")
    window = network.head.window
    if window is not None:
        log.info("%s takes images of %dx%d only: predicting in windows", type(network.head).__name__, *window)
    return network.adapted(chosen)


def try_out(network: Segmenter, size: Sequence[int]) -> None:
    """A forward pass that computes no numbers. Raises `ConfigError` if the parts do not fit together.

    `size`: height and width of the training images.
    """
    network.eval()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            network(torch.empty(1, 3, *size, dtype=torch.uint8), torch.empty(1, *size, dtype=torch.uint8))
    except (ValueError, IndexError, TypeError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"{type(network.head).__name__} cannot follow {type(network.neck).__name__} and the backbone's maps of "
            f"{list(network.backbone.channels)} channels at strides {list(network.backbone.strides)} on images of "
            f"{size[0]}x{size[1]} ({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            "choose another neck, backbone or data.transform.crop_size"
        ) from error
    network.train()


def prepare(network: Segmenter, cfg: DictConfig) -> None:
    """Memory format and compilation of a network about to be trained."""
    if cfg.trainer.channels_last:
        network.to(memory_format=torch.channels_last)
    if cfg.trainer.compile:
        network.compile(backend="inductor" if cfg.trainer.compile is True else cfg.trainer.compile)


def precision(wanted: str | int, accelerator: str) -> str:
    """Lightning's precision: "auto" is bf16 where the processor has it, else 32. Refuses float16 on the CPU."""
    names = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    names |= {full: full for full in names.values()}
    cuda = accelerator in ("gpu", "cuda")
    if wanted == "auto":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else cpu_has_bf16()
        return "bf16-mixed" if has_bf16 else "32-true"
    if str(wanted) not in names:
        raise ConfigError(f"trainer.precision={wanted}: choose auto, 32, bf16 or 16")
    if names[str(wanted)] == "16-mixed" and not cuda:
        raise ConfigError(f"trainer.precision={wanted}: float16 needs a GPU; use trainer.precision=bf16, 32 or auto")
    return names[str(wanted)]


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices natively (AVX512-BF16 or AMX)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # a newer torch has it
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def accelerator(wanted: str) -> str:
    """The accelerator meant by `trainer.accelerator`: "auto" is a GPU if there is one."""
    if wanted == "gpu" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=gpu: torch sees no CUDA device; use trainer=cpu or trainer=auto")
    return ("gpu" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def accumulation(cfg: DictConfig, world_size: int) -> int:
    """Batches per optimizer step so that no device holds more than `trainer.max_device_batch` images at once."""
    most = cfg.trainer.max_device_batch
    per_device = cfg.data.batch_size // world_size
    if not most or per_device <= most:
        return 1
    return next(n for n in range(1, per_device + 1) if per_device % n == 0 and per_device // n <= most)


def trainer(cfg: DictConfig, callbacks: list, loggers: list, **overrides: Any) -> L.Trainer:
    """Lightning's Trainer for `cfg.trainer`; `trainer.lightning` goes to it as it is."""
    node = cfg.trainer
    for name in ("max_steps", "save_every_steps", "log_every_steps"):
        if not isinstance(node[name], int) or node[name] < 1:
            raise ConfigError(f"trainer.{name}={node[name]}: give a positive number of optimizer steps")
    if node.val_every_steps is not None and node.val_every_steps < 1:
        raise ConfigError(
            f"trainer.val_every_steps={node.val_every_steps}: give a positive number, or null: at the end"
        )
    kind = accelerator(node.accelerator)
    if node.sync_batchnorm and kind == "cpu":
        raise ConfigError("trainer.sync_batchnorm=true: synchronised batch norm needs CUDA; set it to false on the CPU")
    if not isinstance(node.devices, int) or node.devices < 1:
        raise ConfigError(f"trainer.devices={node.devices}: give the number of devices, 1 or more")
    if kind == "gpu" and node.devices > torch.cuda.device_count():
        raise ConfigError(f"trainer.devices={node.devices}: there are {torch.cuda.device_count()} GPUs here")
    accumulate = accumulation(cfg, node.devices)
    settings = {
        "accelerator": kind,
        "devices": node.devices,
        "strategy": "ddp" if node.devices > 1 else "auto",
        "precision": precision(node.precision, kind),
        "max_steps": node.max_steps,
        "max_epochs": -1,
        "accumulate_grad_batches": accumulate,
        "val_check_interval": (node.val_every_steps or node.max_steps) * accumulate,
        "check_val_every_n_epoch": None,
        "gradient_clip_val": node.gradient_clip,
        "sync_batchnorm": node.sync_batchnorm,
        "deterministic": node.deterministic,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # the data module's samplers know rank and world size
        "enable_model_summary": False,
        "enable_progress_bar": False,  # `callbacks.progress` shows its own
        "enable_checkpointing": True,
    }
    try:
        return L.Trainer(**settings | dict(node.lightning) | overrides, callbacks=callbacks, logger=loggers)
    except TypeError as error:
        raise ConfigError(f"trainer.lightning={dict(node.lightning)}: {error}") from error
