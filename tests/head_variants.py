"""The heads under test: each class as it is, and under every setting that switches one of its mechanisms.

Every head in `contextseg.heads` is here by itself; `VARIANTS` only adds settings.
"""

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from contextseg.contract import Head
from contextseg.recipe import head_classes

K = 5
CHANNELS = (5, 6, 7)
SIZES = ((9, 14), (5, 7), (3, 4))  # fine to coarse
HEADS = head_classes()

MINUS = {"channel_resampling": False, "spatial_gating": False}
OCR_RELEASED = {"coarse_kernel": 3, "coarse_channels": 8, "transform_layers": 2, "scale": True, "bias": True}
AGLN_RELEASED = {"value_conv": True, "output_conv": True, "inverted_resampling": True, "residual": True, "psi": False}
CTNET_RELEASED = {"conv_bias": True, "channel_bias": False, "class_norm": True, "attention_scale": True}
CTNET_RELEASED |= {"residual": True, "init_std": 0.1}

VARIANTS: dict[str, list[dict[str, Any]]] = {  # beside the default settings
    "agln": [
        {"dense": False},
        {"lite": True},
        {"value_conv": True},
        {"channel_resampling": False},
        {"spatial_gating": False},
        {"dense": False, **MINUS},
        {"gathering": "gap"},
        {"gathering": "gap", "value_conv": True, **MINUS},
        {"num_descriptors": 1},
        {"alpha": 1.0},
        {"beta": 1.0},
        {"alpha": 1.0, "beta": 1.0, "align_corners": True},
        {"lateral_kernel": 3},
        {"conv_bias": False, **AGLN_RELEASED},
    ],
    "ce2p": [
        {"context": "rcca", "embedding_channels": 16},
        {"context": "ocr"},
        {"context": "ocr", "region_supervision": False, "embedding_channels": 16},
        {"parsing": False, "edge": False, "low_stride": 2, "align_corners": True},
    ],
    "ccnet": [
        {"recurrence": 1},
        {"recurrence": 3},
        {"attention": "hv"},
        {"attention": "hv_vh"},
        {"embedding_channels": 0},
        {"gate": True, "refine": True, "leaky": 0.01},
    ],
    "ccnet3d": [{"frames": 2, "recurrence": 1}, {"frames": 1}],
    "cpnet": [
        {"contexts": "intra"},
        {"contexts": "inter"},
        {"normalise": False},
        {"aggregation": "ppm"},
        {"aggregation": "aspp"},
        {"kernel_size": 3},
        {"entry": 3, "bias": True, "project": True, "fuse": 3},
    ],
    "ctnet": [
        *({"modules": modules, "class_probability": False} for modules in ("both", "ccm", "scm")),
        {"modules": "ccm"},
        {"modules": "scm", "pooling": "mix"},
        {"wiring": "parallel"},
        {"wiring": "parallel", "class_probability": False, "pooling": "max"},
        *({"channel_block": block, "channels": 64} for block in ("se", "gc", "encoding")),
        {"channel_block": "eca", "kernel_sizes": (9,)},
        {"class_activation": "sigmoid", "key_channels": 4},
        CTNET_RELEASED,
        {"modules": "scm", **CTNET_RELEASED},
        {"wiring": "parallel", **CTNET_RELEASED},
    ],
    "danet": [{"slim": True}],
    "deeplabv3": [{"refine": True}, {"image_pooling": False}],
    "deeplabv3plus": [{"low_stride": 2, "align_corners": True}],
    "encnet": [
        {"class_probability": False, "aux_class_probability": False},
        {"kernel_size": 1, "aux_class_probability": False},
        {"project": True, "aggregate": "mean", "residual": True, "lateral": True, "align_corners": True},
    ],
    "fcn": [{"source": -2}, {"channels": 0, "kernel_size": 1, "bias": True, "leaky": 0.01}],
    "fpn": [{"lateral_kernel": 3, "align_corners": True}],
    "gcn": [{"refine": True}],
    "nonlocal": [{"recurrence": 2, "gate": True, "concat": False}],
    "ocnet": [{"form": "base"}],
    "ocr": [
        {"region_supervision": False},
        {"region_supervision": False, "regions": 7},
        {"relation": "double_attention"},
        {"relation": "acf"},
        {"aspp_rates": (1, 2)},
        {"region_source": -1},
        {"entry_bias": True, "leaky": 0.01, "align_corners": True, **OCR_RELEASED},
        {"aspp_rates": (1, 2), "aspp_beside": True, **OCR_RELEASED},
    ],
    "ocr_ground_truth": [
        {"ideal": "gather"},
        {"ideal": "distribute"},
        {"void_region": True, "label_mode": "nearest", **OCR_RELEASED},
    ],
    "psp": [{"bins": (1,)}],
    "reference": [
        *({"mechanism": mechanism} for mechanism in ("mean", "descriptors", "presence", "affinity")),
        {"mechanism": "descriptors", "num_descriptors": 1},
        {"queries": False},
        *({"mechanism": "affinity", "affinity": affinity} for affinity in ("ideal", "uniform")),
        *({"mechanism": "detail", "detail": detail} for detail in ("gated", "added", "none")),
    ],
}

SIZE = {"channels": 16, "kernel_sizes": (3, 9), "num_descriptors": 4, "crop_size": (20, 30), "dropout": 0.0}  # small
SIZE |= {"frames": 3}
SIZE_OF = {
    "double_attention": {"regions": 6},
    "gcn": {"kernel_size": 5},
    "ocnet": {"sizes": (1, 2)},
    "psanet": {"grid": 6},
}

LOGITS_AT = {  # which of the maps the logits have the size of, where it is not the last
    "ce2p": 0,
    "deeplabv3plus": 0,
    "agln": 0,
    "fpn": 0,
    "fcn source=-2": 1,
    "reference mechanism=detail": 1,
}

# Parameters without a gradient, by algebra: a softmax over what they add to takes them out again. Regular expressions
# of variants and of parameters.
IDLE = {
    "agln": r"aggregations\.\d\.scores\.bias",
    "ccnet": r"attention\.key\.bias",
    "ce2p context=rcca": r"rcca\.attention\.key\.bias",
    "ce2p context=ocr region_supervision=False": r"ocr\.coarse\.2\.bias",
    "danet": r"position_attention\.key\.bias",
    "double_attention": r"attention\.gather_scores\.bias",
    "nonlocal": r"attention\.key\.bias",
    "ocr region_supervision=False": r"coarse\.bias",
    r"reference( queries=False)?$": r"key\.bias",
    "reference mechanism=descriptors num_descriptors=1": r"place\..*|anchors|sharpness",
}


@dataclass(frozen=True)
class Variant:
    """A head and its settings; as text "head setting=value ..."."""

    head: str
    settings: dict[str, Any] = field(hash=False)

    def __str__(self) -> str:
        return " ".join([self.head, *(f"{name}={value}" for name, value in self.settings.items())])

    def build(self, classes: int = K, channels: tuple[int, ...] = CHANNELS, **more: Any) -> Head:
        """Build a small head whose weights depend on nothing but its settings."""
        torch.manual_seed(0)
        kind = HEADS[self.head]
        small = SIZE | SIZE_OF.get(self.head, {})
        known = {name: value for name, value in small.items() if name in inspect.signature(kind).parameters}
        return kind(channels, classes, **known | self.settings | more)

    def idle(self, parameter: str) -> bool:
        """Tell whether a parameter has no gradient by algebra."""
        return any(re.match(which, str(self)) and re.fullmatch(names, parameter) for which, names in IDLE.items())

    @property
    def size(self) -> int:
        """The index of the map that the logits have the size of."""
        return next((index for name, index in LOGITS_AT.items() if str(self).startswith(name)), -1)


PLAIN = [Variant(head, {}) for head in HEADS]
ALL = PLAIN + [Variant(head, settings) for head, variants in VARIANTS.items() for settings in variants]


def inputs(
    head: Head,
    batch: int = 2,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    channels: tuple[int, ...] = CHANNELS,
    classes: int = K,
    dtype: torch.dtype = torch.float32,
) -> tuple:
    """Make maps (batch, C, h, w), and for an oracle a mask of eight times the last size, with void in it.

    For a head of clips they are (batch T, C, h, w).
    """
    torch.manual_seed(1)
    maps = [torch.randn(batch * head.frames, c, *size, dtype=dtype) for c, size in zip(channels, sizes, strict=True)]
    if not head.needs_mask:
        return (maps,)
    height, width = (8 * side for side in sizes[-1])
    mask = torch.randint(0, classes, (batch, height, width), dtype=torch.uint8)
    mask[:, :8, :8] = 255
    return maps, mask


def opened(head: Head) -> Head:
    """Move the learnt factors of a head from the zero that hides their branch; shut few ReLUs."""
    for name, parameter in head.named_parameters():
        if name.endswith("1.bias"):  # of a norm
            parameter.data.abs_()
        if parameter.numel() == 1 and not parameter.any():
            parameter.data.fill_(0.7)
    return head


def tensors(output: Any) -> list[Tensor]:
    """Return logits and extras of an output."""
    return [output.logits, *output.extras.values()]
