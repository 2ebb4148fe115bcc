"""Objects from options, and checks that the parts fit together. Above this file configurations are `DictConfig`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torchmetrics import Metric

from contextseg import blocks, parts
from contextseg import recipe as recipes
from contextseg.backbones.image_sizes import is_tied
from contextseg.classes import ClassSet
from contextseg.contract import LossTerm, Maps
from contextseg.data.source import Source
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine.module import SegModule
from contextseg.engine.options import EvalOptions, TrainOptions
from contextseg.errors import ConfigError
from contextseg.inference import PAD_COLOUR, Predictor, WholeImage
from contextseg.losses.total import LossSum
from contextseg.metrics import BoundaryIoU, ContextReach, ImageCells, PerImageIoU, SegMetrics
from contextseg.runs.provenance import versions
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)
EXTRA_METRICS = {"boundary_iou": BoundaryIoU, "miou_per_image": PerImageIoU}


def plain(node: Any) -> Any:
    """Turn a config node into plain containers, its interpolations resolved; return anything else as it is."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def instantiate(node: Mapping | DictConfig, option: str, base: type | None = None, **facts: Any) -> Any:
    """Build the object that a config node describes, each setting checked against its annotation (`parts.make`)."""
    return parts.make(plain(node), option, base, **facts)


class HasData(Protocol):
    """Options with a data set."""

    data: dict[str, Any]


def datamodule(options: HasData) -> SegDataModule:
    """Build the data module of `data=`."""
    return instantiate(options.data, "data", SegDataModule)


def loss_terms(options: TrainOptions) -> dict[str, LossTerm]:
    """Build the terms of `loss=`, by name."""
    return {name: instantiate(term, f"loss.term.{name}", LossTerm) for name, term in options.loss["term"].items()}


def loss(options: TrainOptions) -> LossSum:
    """Build the loss sum of `loss=`."""
    return LossSum(loss_terms(options))


def recipe(options: TrainOptions, classes: ClassSet) -> dict[str, Any]:
    """Collect the settings that rebuild the network, as plain containers; every checkpoint stores them."""
    nodes = {part: dict(plain(getattr(options, part))) for part in recipes.PARTS}
    if "crop_size" in nodes["head"] and nodes["head"]["crop_size"] is None:
        nodes["head"]["crop_size"] = crop_size(options)
        if nodes["head"]["crop_size"] is None:
            raise ConfigError("this head is tied to one image size; give data.transform.crop_size=[height,width]")
    backbone = nodes["backbone"]
    if "model" in backbone and is_tied(str(backbone["model"])) and backbone.get("window") is None:
        backbone["window"] = crop_size(options)
        if backbone["window"] is None:
            raise ConfigError(
                f"backbone.model={backbone['model']} is tied to one image size; give "
                "data.transform.crop_size=[height,width]"
            )
    facts: dict[str, Any] = {"align_corners": options.align_corners, "attention": options.attention}
    if values := options.data.get("value_range"):
        facts["value_range"] = list(values)
    fill = (plain(options.data).get("transform") or {}).get("fill")
    if fill and tuple(fill) != PAD_COLOUR:
        facts["fill"] = list(fill)
    return {"format": recipes.FORMAT} | nodes | facts | {"classes": classes.to_dict(), "versions": versions()}


def crop_size(options: TrainOptions) -> list[int] | None:
    """Return height and width of the training images; None if they vary."""
    data = plain(options.data)
    size = (data.get("transform") or {}).get("crop_size") or data.get("size")
    if size is None:
        return None
    return [size, size] if isinstance(size, int) else list(size)


def network(options: TrainOptions, classes: ClassSet, *, pretrained: bool = True) -> tuple[Segmenter, dict[str, Any]]:
    """Build the network of a configuration for these classes, and its recipe.

    It has an auxiliary head if the loss reads one. With `pretrained=False` it starts at random, whatever
    `backbone.weights` says. Raises `ConfigError` if the parts do not fit together.
    """
    found = recipe(options, classes)
    if not pretrained:
        found["backbone"] |= {"weights": "none"}
    built = recipes.network(found, reads={name: term.reads for name, term in loss_terms(options).items()})
    found["backbone"].pop("freeze", None)  # of this training, not of the network
    if built.aux_head is None:
        found["aux_head"] = None
    return built, found


def module(options: TrainOptions, data: SegDataModule) -> SegModule:
    """Build the LightningModule that trains the network of a configuration."""
    built, found = network(options, data.classes)
    try_out(built, crop_size(options) or data.source("train").read(0)[0].shape[:2])
    set_switches(built, options)
    return SegModule(
        built,
        loss(options),
        predictor(options.eval, built),
        metrics(options.eval, data),
        optimizer=lambda model: instantiate(options.optim, "optim", model=model),
        schedule=lambda optimizer, max_steps: instantiate(
            options.schedule, "schedule", optimizer=optimizer, max_steps=max_steps
        ),
        recipe=found,
        seed=options.seed,
        frozen_batch_norm=options.frozen_batch_norm,
    )


def metrics(protocol: EvalOptions, data: SegDataModule) -> dict[str, Metric]:
    """Build the metrics of every data set, those that this one adds, and `eval.extra_metrics`, by name."""
    chosen: dict[str, Metric] = {"seg": SegMetrics(data.classes), "images": ImageCells(data.classes)}
    if data.context_rules:
        chosen["reach"] = ContextReach(rules=data.context_rules)
    for name in protocol.extra_metrics:
        if name not in EXTRA_METRICS:
            raise ConfigError(f"eval.extra_metrics={name}: choose from {', '.join(EXTRA_METRICS)}")
        chosen[name] = EXTRA_METRICS[name](data.classes)
    return chosen


def predictor(protocol: EvalOptions, network: Segmenter) -> Predictor:
    """Build the predictor of `eval=`, in windows if the network takes one image size only.

    Raises `ConfigError` for an oracle unless it sees the whole image: its mask is neither resized, mirrored nor cut.
    """
    chosen = instantiate(protocol.predictor, "eval.predictor", Predictor)
    if network.classes is not None:
        chosen.flip_pairs = network.classes.flip_pairs
    if network.head.needs_mask and not isinstance(chosen, WholeImage):
        raise ConfigError(f"{type(network.head).__name__} needs the mask of the whole image: use eval=ss")
    window = network.window
    if window is not None:
        tied = network.head if network.head.window else network.backbone
        log.info("%s takes images of %dx%d only: predicting in windows", type(tied).__name__, *window)
    return network.adapted(chosen)


def try_out_evaluation(module: SegModule, data: SegDataModule, options: TrainOptions) -> None:
    """Run forward passes on the shapes of what is evaluated of a validation image; raises as `try_out` does."""
    image, _, _ = data.source("val").read(0)
    for size in sizes_shown(module.predictor, image.shape[:2], len(data.classes)):
        if list(size) != crop_size(options):  # `module` has tried that
            try_out(module.segmenter, size)


def sizes_shown(predictor: Predictor, size: Sequence[int], classes: int = 1) -> list[tuple[int, int]]:
    """List the sizes (height, width) of what a network of so many classes is shown of an image of `size`, in pixels."""
    seen: list[tuple[int, int]] = []

    def network(images: Tensor) -> Tensor:
        seen.append((images.shape[-2], images.shape[-1]))
        return torch.zeros(len(images), classes, 1, 1)

    predictor.views(network, torch.zeros(1, 3, *size, dtype=torch.uint8))
    return list(dict.fromkeys(seen))


def try_out(network: Segmenter, size: Sequence[int]) -> None:
    """Run a forward pass on shapes alone. Raises `ConfigError` if the parts do not fit together.

    `size`: height and width of the training images, or of those that are evaluated.
    """
    network.eval()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            trial = Trial(network)
            # made as fakes: to turn the real ones into fakes takes five times as long as the pass
            state = {name: torch.empty(x.shape, dtype=x.dtype, device=x.device) for name, x in named_tensors(trial)}
            functional_call(trial, state, (torch.empty(1, 3, *size, dtype=torch.uint8),))
    except ConfigError:
        raise
    except (ValueError, IndexError, TypeError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"{type(network.head).__name__} cannot follow {type(network.neck).__name__} and the backbone's maps of "
            f"{list(network.backbone.channels)} channels at strides {list(network.backbone.strides)} on images of "
            f"{size[0]}x{size[1]} ({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            "choose another neck, backbone or data.transform.crop_size"
        ) from error
    network.train()


class Trial(nn.Module):
    """The pass of `try_out`, as a module whose tensors `functional_call` can replace."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> None:
        """Pass (1, 3, H, W) on, with a mask of its size for a head that needs one; the logits are not wanted."""
        network, size = self.network, image.shape[-2:]
        maps = Maps(network.backbone(image))
        refuse_other_sizes(maps, network.backbone.strides, size)
        network.forward(maps, torch.empty(1, *size, dtype=torch.uint8))  # not what `compile` has made of it


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and buffers of a module with their names."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def refuse_other_sizes(maps: Maps, strides: Sequence[int], size: Sequence[int]) -> None:
    """Raise `ConfigError` for maps of an image of `size` that are not as their strides say: it was resized inside."""
    for x, stride in zip(maps, strides, strict=True):
        if any(abs(place - side / stride) > 1.5 for place, side in zip(x.shape[-2:], size, strict=True)):
            raise ConfigError(
                f"backbone: a map of stride {stride} has {x.shape[-2]}x{x.shape[-1]} places on images of "
                f"{size[0]}x{size[1]}, so it resizes images itself; choose another backbone.model"
            )


def refuse_other_clips(network: Segmenter, source: Source) -> None:
    """Raise `ConfigError` for clips of another number of frames than the head takes; images stand for all frames."""
    head = network.head
    if source.frames not in (1, head.frames):
        fitting = "1, or head=ccnet3d" if head.frames == 1 else f"{head.frames}, or 1"
        raise ConfigError(
            f"data.frames={source.frames}: {type(head).__name__} takes {head.frames} of a clip; give {fitting}"
        )


def set_switches(network: Segmenter, options: TrainOptions) -> None:
    """Set memory format, checkpointing and compilation of a network that is to be trained, as `trainer=` says."""
    switches = options.trainer
    if switches.channels_last:
        network.to(memory_format=torch.channels_last)
    if switches.activation_checkpointing:
        blocks.compute_again(network)
    if switches.compile:
        backend = "inductor" if switches.compile is True else switches.compile
        if switches.compile_region == "blocks":
            blocks.compile_each(network, backend)
        else:
            network.compile(backend=backend)
