"""A backbone that sees little: 162 k parameters, and no output depends on more than 55 x 55 pixels of the image.

It is made for `context_scenes`, where the label of most pixels is decided further away than that: with it, a head
without context stays at chance there. Batch norm in evaluation mode keeps the window exact; group norm or
squeeze-and-excitation would pool over the whole image and spoil it.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor, nn

from contextseg.backbones.base import Backbone, check_stride
from contextseg.backbones.freeze import freeze_stages
from contextseg.errors import ConfigError
from contextseg.layers.conv import ConvNormAct
from contextseg.typed import Count, Positive


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions, the first with stride 2, and a 1x1 shortcut."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.branch = nn.Sequential(
            ConvNormAct(in_channels, out_channels, 3, stride=2),
            ConvNormAct(out_channels, out_channels, 3, act=False),
        )
        self.shortcut = ConvNormAct(in_channels, out_channels, stride=2, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn a map (B, C, h, w) into one of (B, C', h / 2, w / 2)."""
        return nn.functional.relu(self.branch(x) + self.shortcut(x), inplace=True)


class Tiny(Backbone):
    """Make maps of 24, 48 and 96 channels at strides 2, 4 and 8; 39 px of support at the last, 55 after a 3x3 head.

    `stages=1` leaves the last map out: 15 px of support, 23 after a 3x3 head. The stride is what it is, whatever
    `output_stride` allows, with nothing to dilate, pool or fuse. Raises `ConfigError` for weights: it has none.
    """

    def __init__(
        self,
        *,
        output_stride: Literal[8, 16, 32] = 8,
        stages: Literal[1, 2] = 2,
        weights: Literal["none"] = "none",
        contract_dilation: bool = True,
        ceil_pool: bool = False,
        pool_dilated: bool = True,
        fusion: Literal["nearest", "bilinear", "bilinear_corners"] = "nearest",
        freeze: bool | Count = False,
        mean: Annotated[float, Ge(0), Le(255)] = 118.0,
        std: Positive = 50.0,
    ):
        check_stride(output_stride)
        if weights != "none":
            raise ConfigError(f"backbone.weights={weights}: tiny has no pretrained weights; use backbone.weights=none")
        super().__init__([mean] * 3, [std] * 3)
        self.channels, self.strides = (24, 48, 96)[: 1 + stages], (2, 4, 8)[: 1 + stages]
        self.stem = ConvNormAct(3, 24, 3, stride=2)
        self.stages = nn.ModuleList([ResidualBlock(24, 48), ResidualBlock(48, 96)][:stages])
        freeze_stages(self, freeze)

    def features(self, image: Tensor) -> list[Tensor]:
        """Turn a normalised image (B, 3, H, W) into [(B, 24, H/2, W/2), (B, 48, H/4, W/4), (B, 96, H/8, W/8)]."""
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps
