"""Object regions: gather pixels into one vector per class, and let each pixel attend to those vectors.

Source: OCR (Yuan, Chen, Wang: Object-Contextual Representations for Semantic Segmentation), Section 3.2, Eq. 3-5.
"""

import torch
from torch import Tensor, nn

from contextseg.attention import AttentionTap
from contextseg.layers.conv import ConvNormAct


def gather_regions(region_logits: Tensor, features: Tensor) -> Tensor:
    """Region vectors (OCR Eq. 4): region k is the mean of the pixels under a spatial softmax of its map.

    Region logits (B, K, h, w) and features (B, C, h, w) -> (B, C, K).
    """
    weights = region_logits.flatten(2).softmax(-1, dtype=torch.float32).to(features.dtype)  # (B, K, hw)
    return features.flatten(2) @ weights.mT  # (B, C, K)


class RegionAttention(nn.Module):
    """Object-contextual representation (OCR Eq. 3 and 5).

    w_ik = softmax_k phi(x_i)^T psi(f_k),   y_i = rho(sum_k w_ik delta(f_k))

    phi, psi and delta go to `key_channels`, rho to `channels`; each is one 1x1 conv -> BN -> ReLU. The rows of w sum
    to one, so rho's convolution commutes with the weighted sum: it is applied to the K region vectors instead of the
    hw pixels, which is the same number for less work.
    """

    def __init__(self, channels: int, key_channels: int):
        super().__init__()
        self.phi = ConvNormAct(channels, key_channels)
        self.psi = ConvNormAct(channels, key_channels)
        self.delta = ConvNormAct(channels, key_channels)
        self.rho = ConvNormAct(key_channels, channels)
        self.pixel_region = AttentionTap()  # (B, hw, K), rows sum to 1

    def forward(self, features: Tensor, regions: Tensor) -> Tensor:
        """Features (B, C, h, w) and region vectors (B, C, K) -> context (B, C, h, w)."""
        regions = regions.unsqueeze(-1)  # (B, C, K, 1)
        query = self.phi(features).flatten(2).mT  # (B, hw, C')
        key = self.psi(regions).flatten(2)  # (B, C', K)
        relation = (query @ key).softmax(-1, dtype=torch.float32).to(features.dtype)
        relation = self.pixel_region(relation)  # (B, hw, K)
        convolution, *norm_act = self.rho
        value = convolution(self.delta(regions)).flatten(2)  # (B, C, K)
        context = (value @ relation.mT).unflatten(-1, features.shape[-2:])  # (B, C, h, w)
        for module in norm_act:
            context = module(context)
        return context
