"""Encoding layer: an image summed up by how its pixels differ from learnt codewords.

Source: Zhang, Dana, Shi, Zhang, Wang, Tyagi, Agrawal: Context Encoding for Semantic Segmentation (EncNet, CVPR 2018),
Section 3.1.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap


class Encoding(nn.Module):
    """Compute e = sum_k ReLU(BN(e_k)) with e_k = sum_i a_ik (x_i - d_k), a_ik = softmax_k(-s_k ||x_i - d_k||^2).

    codewords  number of codewords d_k, each with a smoothing factor s_k
    aggregate  of the e_k: their "sum", as printed, or the "mean" (released code)
    levels     the shares a_ik are made uniform where attention=uniform

    The norm has one scale for each codeword. Always float32, because e_k sums over the image.
    """

    def __init__(
        self, channels: int, codewords: int = 32, *, aggregate: Literal["sum", "mean"] = "sum", levels: bool = True
    ):
        super().__init__()
        self.aggregate = aggregate
        spread = (codewords * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-spread, spread))
        self.smoothing = nn.Parameter(torch.rand(codewords))
        self.norm_act = nn.Sequential(nn.BatchNorm1d(codewords), nn.ReLU(inplace=True))
        self.assignment = AttentionTap(levels=levels)  # (B, D, hw), a_ik: for each pixel a share of each codeword

    def forward(self, x: Tensor) -> Tensor:
        """Sum up a map: features (B, C, h, w) -> one vector for each image (B, C)."""
        with torch.autocast(x.device.type, enabled=False):
            precision = torch.promote_types(x.dtype, torch.float32)
            pixels, codewords = x.flatten(2).mT.to(precision), self.codewords  # (B, hw, C), (D, C)
            square = pixels.square().sum(-1, keepdim=True) - 2 * pixels @ codewords.mT + codewords.square().sum(-1)
            scores = self.assignment.level(-self.smoothing * square)  # (B, hw, D)
            shares = self.assignment(scores.softmax(-1).mT)  # (B, D, hw)
            residuals = shares @ pixels - shares.sum(-1, keepdim=True) * codewords  # (B, D, C)
            encoded = self.norm_act(residuals)
            return encoded.sum(1) if self.aggregate == "sum" else encoded.mean(1)
