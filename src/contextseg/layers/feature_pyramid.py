"""Both ends of a feature pyramid: a backbone's maps brought to one width, and a decoder's maps fused into one.

Source: FPN (Lin et al.: Feature Pyramid Networks for Object Detection, CVPR 2017), in the form for segmentation that
AGLN (Li et al.: Attention Guided Global Enhancement and Local Refinement Network for Semantic Segmentation) builds on,
Sections III-D and IV-A.5. What the text leaves open is set by the parameters of its Table VIII.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.errors import ConfigError
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize


def levels(strides: Sequence[int], finest: int) -> int:
    """Return how many of the last maps a pyramid uses: those of stride `finest` or more, at least two, at most four."""
    return min(max(sum(stride >= finest for stride in strides), 2), 4)


class Laterals(nn.Module):
    """Bring each map that the pyramid uses to `channels`: a k x k conv -> BN -> ReLU, 3x3 on the coarsest.

    Strides and channels are both counted from the end. Raises `ConfigError` for fewer than two maps, for maps that do
    not go from fine to coarse, and for an even kernel.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int,
        *,
        finest_stride: int = 4,
        kernel_size: int = 1,
    ):
        super().__init__()
        if len(in_channels) < 2:
            raise ConfigError(f"a feature pyramid needs two maps or more and gets {len(in_channels)}; use neck=none")
        if list(strides) != sorted(strides):
            raise ConfigError(
                f"a feature pyramid needs maps from fine to coarse, and gets strides {list(strides)}; use neck=none"
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(f"head.lateral_kernel={kernel_size}: give an odd number, 1 or 3")
        *finer, last = in_channels[-levels(strides[-len(in_channels) :], finest_stride) :]
        self.convs = nn.ModuleList(ConvNormAct(width, channels, kernel_size) for width in finer)
        self.convs.append(ConvNormAct(last, channels, 3))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Bring the last maps [(B, C_i, h_i, w_i)], fine to coarse, to one width: [(B, C, h_i, w_i)]."""
        return [conv(x) for conv, x in zip(self.convs, features[-len(self.convs) :], strict=True)]


class Fusion(nn.Module):
    """Fuse maps: a 3x3 conv -> BN -> ReLU on each but the coarsest, then one on all at the finest size, to 2 C."""

    def __init__(self, channels: int, count: int, *, align_corners: bool = False):
        super().__init__()
        self.align_corners = align_corners
        self.outputs = nn.ModuleList(ConvNormAct(channels, channels, 3) for _ in range(count - 1))
        self.fuse = ConvNormAct(count * channels, 2 * channels, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Fuse a decoder's maps [(B, C, h_i, w_i)], fine to coarse -> (B, 2C, h_1, w_1)."""
        *finer, coarsest = maps
        maps = [*(conv(x) for conv, x in zip(self.outputs, finer, strict=True)), coarsest]
        maps = [resize(x, maps[0].shape[-2:], self.align_corners) for x in maps]
        return self.fuse(torch.cat(maps, dim=1))
