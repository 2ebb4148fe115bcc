"""HRNet's fusion of branches by bilinear up-sampling, as its networks for segmentation have it."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from contextseg.layers.resize import resize


class BilinearFusion(nn.Module):
    """Fuse the branches of an HRNet as timm's `HighResolutionModule` does, but with bilinear up-sampling.

    The parts keep their names. Source: Sun et al.: High-Resolution Representations for Labeling Pixels and Regions
    (2019), Section 3.
    """

    def __init__(self, module: Any, align_corners: bool):
        super().__init__()
        self.branches: nn.ModuleList = module.branches
        self.fuse_layers: nn.ModuleList = module.fuse_layers
        self.fuse_act: nn.Module = module.fuse_act
        self.align_corners = align_corners

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Turn maps [(B, C_i, h_i, w_i)], fine to coarse, into the same shapes, each the sum over all branches."""
        maps = [branch(branch_map) for branch, branch_map in zip(self.branches, x, strict=True)]
        return [self.fuse_act(self.fused(maps, i)) for i in range(len(self.fuse_layers))]

    def fused(self, maps: Sequence[Tensor], target: int) -> Tensor:
        """Sum maps [(B, C_i, h_i, w_i)], fine to coarse, at branch `target`: (B, C, h, w) of that branch."""
        layers: Any = self.fuse_layers[target]
        brought = []
        for origin, (layer, branch_map) in enumerate(zip(layers, maps, strict=True)):
            if origin > target:
                convolution, norm, _ = layer  # the third is the up-sampling
                brought.append(resize(norm(convolution(branch_map)), maps[target].shape[-2:], self.align_corners))
            else:
                brought.append(layer(branch_map))
        return reduce(torch.add, brought)
