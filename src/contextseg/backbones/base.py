"""What every backbone is: uint8 images in, feature maps out, fine to coarse."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from contextseg.errors import ConfigError

OUTPUT_STRIDES = (8, 16, 32)


def check_stride(output_stride: int) -> None:
    """Raise `ConfigError` unless it is one of `OUTPUT_STRIDES`."""
    if output_stride not in OUTPUT_STRIDES:
        raise ConfigError(f"backbone.output_stride={output_stride}: choose one of {OUTPUT_STRIDES}")


class Backbone(nn.Module):
    """Normalise an image and make maps of it: the base of the backbones, so a checkpoint knows its input convention.

    `mean` and `std` are on the 0-255 scale, RGB. A subclass sets `channels` and `strides`, one entry per map, and
    implements `features`. Its setting `output_stride` dilates the stages beyond that stride; a network that has less by
    itself (`tiny`, a truncated ResNet) keeps its own, with nothing to dilate. Heads set it, and four details of the
    ResNets and HRNets of released code, so that every backbone takes them, though they may mean nothing to it:

    contract_dilation  the first block of a dilated stage keeps the dilation of the stage before; false: that of its own
    ceil_pool          the pooling after the stem rounds up: one row and column more if the stem's map has even sides
    pool_dilated       the shortcut into a dilated stage of a "vd" ResNet averages 2 x 2 pixels at stride 1; false: it
                       does not (PaddleSeg, and so CTNet)
    fusion             how HRNet brings a coarser branch to the size of a finer one: "nearest"; "bilinear" or
                       "bilinear_corners" (align_corners), to its very size

    and `freeze`, of training alone (`freeze.freeze_stages`).
    """

    channels: Sequence[int]
    strides: Sequence[int]
    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor  # (1, 3, 1, 1)
    window: tuple[int, int] | None = None  # height, width in pixels of the only image size it takes; None: any
    frozen: tuple[str, ...] = ()  # modules that stay in evaluation mode, by name: other code may put a new one in place

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Turn an image uint8 (B, 3, H, W), RGB, into maps [(B, C_i, H / stride_i, W / stride_i)], fine to coarse."""
        return self.features((image.to(self.mean.dtype) - self.mean) / self.std)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, as `nn.Module` does, but for what is frozen."""
        super().train(mode)
        if mode:
            for name in self.frozen:
                self.get_submodule(name).eval()
        return self

    def features(self, image: Tensor) -> list[Tensor]:
        """Turn a normalised image (B, 3, H, W) into maps, fine to coarse."""
        raise NotImplementedError
