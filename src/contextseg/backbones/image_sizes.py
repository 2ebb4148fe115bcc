"""Which sizes of images a timm model takes, and what lets it take others.

Four cases, by the file of timm that has the model:

any       convolutions, pooling, and attention that pads its own windows: nothing to do
multiple  the sides should be multiples of a number (of a patch, a stride or a window): the image is padded below
          and to the right with the mean colour, and its maps are cut back (`covering`)
resized   plain ViTs with `dynamic_img_size`: a multiple of the patch; timm interpolates learned positions
tied      positions belong to one size, for which the network is built; others are seen in windows of that size
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from contextseg.errors import ConfigError

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Fit:
    """Say how a model takes images: settings of timm, the rule for the multiple, and whether it is tied to one size.

    multiple  of the image's sides: a number, the "first" or "last" stride, or "window": one at stride 32
    tied      "settable": built for any size; "square": for any square; "fixed": for its own alone
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    multiple: int | Literal["first", "last", "window"] = 1
    tied: Literal["settable", "square", "fixed"] | None = None


ANY = Fit()
RESIZED = Fit({"dynamic_img_size": True}, "first")
SHIFTED = Fit({"strict_img_size": False, "always_partition": True}, "first")  # windows shift in the last stage too
CUT = Fit(multiple="last")  # their patches would leave out what remains at the border, up to 31 pixels
TIED = Fit(tied="settable")

FILES = {  # of timm.models
    "deit eva vision_transformer vision_transformer_hybrid": RESIZED,
    "convmixer deepseek_vit gemma4_vit naflexvit qwen3_vit vision_transformer_sam": Fit(multiple="first"),
    "swin_transformer swin_transformer_v2 swin_transformer_v2_cr": SHIFTED,
    "convnext edgenext fasternet focalnet inception_next metaformer rdnet sequencer twins": CUT,
    "maxxvit": Fit(multiple="window"),
    "dla hieradet_sam2 tresnet": Fit(multiple=32),
    "beit cait coat efficientformer_v2 gcvit hiera mlp_mixer tnt vision_transformer_relpos volo": TIED,
    "convit mvitv2": Fit(tied="square"),
    "efficientformer vitamin": Fit(tied="fixed"),
}
FITS = {file: kind for files, kind in FILES.items() for file in files.split()}


def fit(model: str) -> Fit:
    """Return how a timm model takes images; one that is not listed is taken to take any."""
    name = model.partition(".")[0]
    if name.startswith(("coatnet", "coatnext")):  # in one file with MaxViT, but their attention is global
        return TIED
    return FITS.get(timm.model_entrypoint(name).__module__.rpartition(".")[2], ANY)


def is_tied(model: str) -> bool:
    """Tell whether a name is that of a timm model that takes images of one size only."""
    return timm.is_model(model.partition(".")[0]) and fit(model).tied is not None


def built_for(model: str, window: Sequence[int] | None, own: Size) -> tuple[Size, Size] | None:
    """Return the size (height, width) that images of a tied model have, and the one that it is built for; None: any.

    `window`: the size that is asked for, None is the model's `own`. The other is the next that it can be built for.
    Raises `ConfigError` for a size that it cannot be built for.
    """
    found = fit(model)
    if found.tied is None:
        if window is not None:
            raise ConfigError(f"backbone.window={list(window)}: {model} takes images of any size; leave it out")
        return None
    height, width = (window or own)[0], (window or own)[1]
    if found.tied == "fixed":
        if height > own[0] or width > own[1]:
            raise ConfigError(
                f"backbone.window=[{height},{width}]: {model} takes images of up to {own[0]}x{own[1]} only; give "
                f"data.transform.crop_size=[{own[0]},{own[1]}] (data.size for generated images)"
            )
        return (height, width), own
    step = 14 if "patch14" in model else 32
    built = tuple(-(-side // step) * step for side in (height, width))
    return (height, width), (max(built),) * 2 if found.tied == "square" else (built[0], built[1])


def multiple(model: str, network: nn.Module) -> int:
    """Return the number of which the sides of a padded image are multiples."""
    rule: Any = fit(model).multiple
    if rule in ("first", "last"):
        feature_info: Any = network.feature_info
        return int(feature_info.reduction()[0 if rule == "first" else -1])
    if rule == "window":
        return max(32 * side for side in partitions(network))
    return int(rule)


def partitions(network: nn.Module) -> list[int]:
    """Return the sides of the windows and grids of a MaxViT, in places; the same in each stage."""
    parts: list[Any] = [part.partition_size for part in network.modules() if hasattr(part, "partition_size")]
    return sorted({int(side) for part in parts for side in part}) or [1]


def covering(x: Tensor, stride: int, height: int, width: int) -> Tensor:
    """Return a map (B, C, ceil(H / stride), ceil(W / stride)) that divides the image evenly.

    `x` (B, C, h, w) is of the image (H, W) padded below and to the right. Its last places reach beyond the image, by up
    to `stride` - 1 pixels, but logits are resized to the image as if they ended with it: everything would be labelled
    too far to the left and above, the more so the further from the corner. So the places are moved, bilinearly.
    """
    rows, columns = -(-height // stride), -(-width // stride)
    return moved(moved(x[..., :rows, :columns], -2, height / stride), -1, width / stride)


def moved(x: Tensor, axis: int, length: float) -> Tensor:
    """Return a map of n places that divide `length` <= n old places evenly; x (B, C, h, w), the result is alike.

    The middle of place i was at i + 1/2 and comes to (i + 1/2) length / n, less than a place before.
    """
    count = x.shape[axis]
    if count == length:
        return x
    share = (torch.arange(count, dtype=x.dtype, device=x.device) + 0.5) * (1 - length / count)
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, count - 1)], axis)
    return x + (before - x) * (share[:, None] if axis == -2 else share)
