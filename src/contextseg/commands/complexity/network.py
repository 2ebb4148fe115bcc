"""The cost of a composed network, part by part."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from contextseg.classes import ClassSet
from contextseg.commands.complexity.flops import conv_matmul, leaf_modules
from contextseg.commands.complexity.memory import peak_alive, saved_for_backward
from contextseg.engine import build
from contextseg.engine.options import TrainOptions
from contextseg.errors import ConfigError
from contextseg.segmenter import Segmenter

PARTS = {"backbone": "trunk", "neck": "neck", "head": "head", "aux_head": "aux"}
PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Cost:
    """The cost of one network on one size of image; "aux" runs in training only.

    name          its head
    parameters    part -> number
    trained       part -> those of them that training changes; a frozen backbone has none
    flops         part -> FLOPs of an image, 2 per multiply-add of convolutions and matrix products, forward only
    module_flops  part -> those counted as CTNet and AGLN do, 1 per multiply-add (`flops.leaf_modules`)
    training      precision -> part -> bytes that autograd saves, for a whole batch, without the loss; a frozen backbone
                  saves none, but a part that learns counts the maps that it gets
    inference     precision -> bytes of tensors alive at the peak, for one image, beside parameters and image
    """

    name: str
    parameters: Mapping[str, int]
    trained: Mapping[str, int]
    flops: Mapping[str, int]
    module_flops: Mapping[str, int]
    training: Mapping[str, Mapping[str, int]]
    inference: Mapping[str, int]

    def inference_flops(self) -> tuple[int, int]:
        """Return the sums of `flops` and `module_flops` over the parts that inference needs."""
        flops, module_flops = (
            sum(counts[part] for part in counts if part != "aux") for counts in (self.flops, self.module_flops)
        )
        return flops, module_flops


def measure(cfg: TrainOptions, classes: ClassSet, size: tuple[int, int], batch_size: int) -> Cost:
    """Measure the network of `cfg` on images of `size` (height, width), `batch_size` of them in training.

    Raises `ConfigError` if the parts do not fit together, or cannot train on so few images.
    """
    with FakeTensorMode():
        network, _ = build.network(cfg, classes, pretrained=False)
        build.try_out(network, size)
        batch, one = images(batch_size, size), images(1, size)
        try:
            training = {name: trained(network, batch, dtype) for name, dtype in PRECISIONS.items()}
        except ValueError as error:
            raise ConfigError(f"batch_size={batch_size}: {error}") from error
        changed = {part: parameters(network.get_submodule(part), trained=True) for part in parts(network)}
        network.eval().requires_grad_()  # frozen is a training, not a network: autocast keeps copies of what may learn
        flops, module_flops = conv_matmul(network, *one), leaf_modules(network, *one)
        aux_head, network.aux_head = network.aux_head, None
        inference = {name: alive(network, one, dtype) for name, dtype in PRECISIONS.items()}
        network.aux_head = aux_head
    present = parts(network)
    return Cost(
        name=cfg.choices["head"],
        parameters={label: parameters(network.get_submodule(part)) for part, label in present.items()},
        trained={label: changed[part] for part, label in present.items()},
        flops={label: flops[part] for part, label in present.items()},
        module_flops={label: module_flops[part] for part, label in present.items()},
        training=training,
        inference=inference,
    )


def images(count: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images uint8 (B, 3, H, W) and masks uint8 (B, H, W), which only an oracle reads."""
    return torch.empty(count, 3, *size, dtype=torch.uint8), torch.empty(count, *size, dtype=torch.uint8)


def parts(network: Segmenter) -> dict[str, str]:
    """Return the parts that a network has: attribute -> name in the results."""
    present = {name: label for name, label in PARTS.items() if getattr(network, name) is not None}
    return {name: label for name, label in present.items() if name != "neck" or parameters(network.neck)}


def parameters(network: nn.Module, *, trained: bool = False) -> int:
    """Count the parameters of a network, or only those that are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad or not trained)


def trained(network: Segmenter, batch: tuple, dtype: torch.dtype | None) -> dict[str, int]:
    """Count the bytes saved for the backward pass by part, in automatic mixed precision unless `dtype` is None."""
    present = parts(network)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        saved = saved_for_backward(network.train(), *batch, parts=tuple(present))
    saved["backbone"] += saved.pop("")  # the normalised image
    return {label: saved[part] for part, label in present.items()}


def alive(network: Segmenter, image: tuple, dtype: torch.dtype | None) -> int:
    """Count the bytes at the peak of inference, in automatic mixed precision unless `dtype` is None."""
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        return peak_alive(network, *image)


def anonymous(count: int) -> ClassSet:
    """Return `count` classes, named by their number."""
    return ClassSet("classes", tuple(f"class {i}" for i in range(count)), ((0, 0, 0),) * count)
