"""Simple feature pyramid: maps at strides 4 to 32 from a backbone that has one stride.

Source: Li, Mao, Girshick, He: Exploring Plain Vision Transformer Backbones for Object Detection (ECCV 2022), Section 3.
"""

from collections.abc import Sequence
from typing import Literal

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from contextseg.contract import Neck
from contextseg.errors import ConfigError
from contextseg.typed import Count


class SimpleFeaturePyramid(Neck):
    """Make a map of `channels` at each stride of `pyramid`.

    channels  of every map
    pyramid   strides of the maps, fine to coarse, each 2^n times that of the map it is made from, n of any sign
    source    "last": the paper's, all from the last map; "each": the i-th from the i-th of as many maps, counted from
              the end, as is usual with UPerNet on ViTs

    A map is brought to its stride by 2x2 transposed convolutions with stride 2, each of which halves the channels, with
    layer norm and GELU between them, or by 2x2 max-pooling; then a 1x1 and a 3x3 convolution, each with layer norm.

    Raises `ConfigError` if a stride does not fit, or "each" has too few maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        channels: Count = 256,
        pyramid: Sequence[Count] = (4, 8, 16, 32),
        source: Literal["last", "each"] = "last",
    ):
        super().__init__()
        if not pyramid or sorted(set(pyramid)) != list(pyramid):
            raise ConfigError(f"neck.pyramid={list(pyramid)}: give strides, each larger than the one before")
        if source == "each" and len(in_channels) < len(pyramid):
            raise ConfigError(
                f"neck.source=each: {len(pyramid)} strides need as many maps, got {len(in_channels)}; give fewer "
                "strides in neck.pyramid, or neck.source=last"
            )
        self.taken = [number - len(pyramid) if source == "each" else -1 for number in range(len(pyramid))]
        self.scales = nn.ModuleList(
            scale(in_channels[taken], strides[taken], stride, channels)
            for taken, stride in zip(self.taken, pyramid, strict=True)
        )
        self.channels, self.strides = (channels,) * len(pyramid), tuple(pyramid)

    def forward(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Turn the last of maps [(B, C_i, h_i, w_i)], or each of the last n, into n maps (B, `channels`, h_j, w_j)."""
        return [part(features[taken]) for part, taken in zip(self.scales, self.taken, strict=True)]


def scale(in_channels: int, stride: int, wanted: int, channels: int) -> nn.Sequential:
    """Build what turns a map (B, `in_channels`, h, w) at `stride` into one (B, `channels`, h', w') at stride `wanted`.

    Raises `ConfigError` unless one of them is the other times a power of two.
    """
    factor, rest = divmod(max(stride, wanted), min(stride, wanted))
    if rest or factor & (factor - 1):
        raise ConfigError(
            f"neck=sfp: no stride {wanted} from maps of stride {stride}, only 2, 4, 8, ... times more or less; with "
            "patches of 14 pixels give backbone.patch=16"
        )
    steps, width = factor.bit_length() - 1, in_channels
    layers: list[nn.Module] = []
    for step in range(steps):
        if wanted > stride:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            continue
        if step:
            layers += [LayerNorm2d(width), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
        width //= 2
    return nn.Sequential(
        *layers,
        nn.Conv2d(width, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    )
