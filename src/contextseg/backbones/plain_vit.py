"""Plain ViTs: maps of n blocks, all at the stride of the patch.

ViT, DeiT, BEiT, EVA-02, DINOv2, DINOv3, CaiT, XCiT: blocks of one width, whose tokens are places of one grid. Class and
register tokens attend with the others; they are in no map. Sources: Dosovitskiy et al.: An Image is Worth 16x16 Words
(2021); for maps of evenly spaced blocks Ranftl et al.: Vision Transformers for Dense Prediction (2021), Section 3; for
the final norm on each of them Oquab et al.: DINOv2 (2023), Section 7.4.
"""

from typing import Any, Literal

import timm
import torch
from timm.models._features import FeatureGetterNet
from torch import nn

from contextseg.errors import ConfigError

FILES = (  # of timm.models, with such models
    *("vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos", "vision_transformer_sam"),
    *("beit", "cait", "deit", "eva", "xcit"),
)


def is_plain(model: str) -> bool:
    """Tell whether a timm name is a plain ViT's."""
    return timm.model_entrypoint(model.partition(".")[0]).__module__.rpartition(".")[2] in FILES


def chosen(depth: int, count: int, blocks: Literal["even", "last"]) -> list[int]:
    """Return the numbers of `count` blocks of `depth`, from 0: evenly spaced up to the last one, or the last ones.

    Raises `ConfigError` if there are fewer.
    """
    if depth < count:
        raise ConfigError(f"backbone.stages={count}: the model has {depth} blocks; choose fewer maps")
    if blocks == "last":
        return list(range(depth - count, depth))
    return [(number + 1) * depth // count - 1 for number in range(count)]


def depth(model: str) -> int:
    """Return the number of blocks of a plain ViT."""
    with torch.device("meta"):
        network: Any = timm.create_model(model)
    return len(network.feature_info)


def block_maps(model: str, count: int, blocks: Literal["even", "last"], norm: bool, **settings: Any) -> nn.Module:
    """Build a plain ViT that turns an image (B, 3, H, W) into `count` maps (B, C, H / patch, W / patch), early to late.

    `norm`: the model's final norm comes after each of them. Blocks after the last map are left out.
    """
    network = timm.create_model(model, **settings)
    return FeatureGetterNet(network, out_indices=chosen(depth(model), count, blocks), norm=norm)
