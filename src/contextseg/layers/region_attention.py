"""Object regions: gather pixels into one vector per region, and give each pixel its share of those vectors.

Source: OCR (Yuan, Chen, Wang: Object-Contextual Representations for Semantic Segmentation), Section 3.2, Eq. 3-5; the
relations of other methods instead of Eq. 5, Section 3.4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.conv import ConvNormAct


def soft_regions(maps: Tensor) -> Tensor:
    """Apply a softmax to each map over the image ("spatial softmax"): raw (B, K, h, w) -> (B, K, hw), rows sum to 1."""
    return maps.flatten(2).softmax(-1, dtype=torch.float32).to(maps.dtype)


def gather_regions(regions: Tensor, features: Tensor) -> Tensor:
    """Compute region vectors (Eq. 4), means of pixels: regions (B, K, hw), features (B, C, h, w) -> (B, C, K)."""
    return features.flatten(2) @ regions.mT


def distribute_regions(relation: Tensor, vectors: Tensor, features: Tensor) -> Tensor:
    """Give each pixel its share of the region vectors (Eq. 3): w (B, hw, K), vectors (B, C, K) -> (B, C, h, w).

    The result has the memory format of the features (B, any, h, w), so what follows need not copy it.
    """
    if features.is_contiguous(memory_format=torch.channels_last):
        context = (relation @ vectors.mT).mT  # (B, C, hw), stored as (B, hw, C)
    else:
        context = vectors @ relation.mT  # (B, C, hw)
    return context.unflatten(-1, features.shape[-2:])


class RegionContext(nn.Module):
    """Distribute region vectors to pixels (Eq. 3): y_i = rho(sum_k w_ik delta(f_k)).

    A subclass computes the relation w. delta goes to `key_channels`, rho back to `channels`; each is one 1x1 conv
    -> BN -> ReLU. rho's convolution is linear, so it commutes with the weighted sum: it is applied to the K region
    vectors instead of the hw pixels, which is the same number for less work. So is its bias, if the weights of a pixel
    sum to one (`sums_to_one`).

    bias   of the convolutions; released code: true
    leaky  slope of the ReLUs below zero
    """

    sums_to_one = True

    def __init__(self, channels: int, key_channels: int, *, bias: bool = False, leaky: float = 0.0):
        super().__init__()
        self.delta = ConvNormAct(channels, key_channels, bias=bias, leaky=leaky)
        self.rho = ConvNormAct(key_channels, channels, bias=bias, leaky=leaky)
        self.pixel_region = AttentionTap(levels=True)  # (B, hw, K)

    def relation(self, features: Tensor, vectors: Tensor, maps: Tensor | None) -> Tensor:
        """Compute the relation: features (B, C, h, w), region vectors (B, C, K), maps (B, K, h, w) -> w (B, hw, K)."""
        raise NotImplementedError

    def forward(self, features: Tensor, vectors: Tensor, maps: Tensor | None = None) -> Tensor:
        """Turn features (B, C, h, w), region vectors (B, C, K) [and maps (B, K, h, w)] into context (B, C, h, w)."""
        relation = self.pixel_region(self.relation(features, vectors, maps))  # (B, hw, K)
        convolution, *norm_act = self.rho
        assert isinstance(convolution, nn.Conv2d)
        bias = convolution.bias if self.sums_to_one else None
        value = F.conv2d(self.delta(vectors.unsqueeze(-1)), convolution.weight, bias).flatten(2)  # (B, C, K)
        context = distribute_regions(relation, value, features)  # (B, C, h, w)
        if convolution.bias is not None and bias is None:
            context = context + convolution.bias.view(-1, 1, 1).to(context.dtype)
        for module in norm_act:
            context = module(context)
        return context


class RegionAttention(RegionContext):
    """Relate pixel and region as OCR does (Eq. 5): w_ik = softmax_k phi(x_i)^T psi(f_k); phi and psi are like delta.

    phi_kernel        kernel size of phi's convolution; CTNet: 3
    transform_layers  blocks in phi and in psi; released OCR: 2
    scale             the products are multiplied by key_channels^-0.5; released code: true

    The other settings are those of `RegionContext`.
    """

    def __init__(
        self,
        channels: int,
        key_channels: int,
        phi_kernel: int = 1,
        *,
        transform_layers: int = 1,
        scale: bool = False,
        bias: bool = False,
        leaky: float = 0.0,
    ):
        super().__init__(channels, key_channels, bias=bias, leaky=leaky)
        self.phi: nn.Sequential = ConvNormAct(channels, key_channels, phi_kernel, bias=bias, leaky=leaky)
        self.psi: nn.Sequential = ConvNormAct(channels, key_channels, bias=bias, leaky=leaky)
        for _ in range(1, transform_layers):
            self.phi = nn.Sequential(self.phi, ConvNormAct(key_channels, key_channels, bias=bias, leaky=leaky))
            self.psi = nn.Sequential(self.psi, ConvNormAct(key_channels, key_channels, bias=bias, leaky=leaky))
        self.scale = key_channels**-0.5 if scale else None

    def relation(self, features: Tensor, vectors: Tensor, maps: Tensor | None) -> Tensor:
        """Compare features (B, C, h, w) with region vectors (B, C, K) -> w (B, hw, K), rows sum to 1."""
        query = self.phi(features).flatten(2).mT  # (B, hw, C')
        key = self.psi(vectors.unsqueeze(-1)).flatten(2)  # (B, C', K)
        scores = query @ key if self.scale is None else self.scale * (query @ key)
        return self.pixel_region.level(scores).softmax(-1, dtype=torch.float32).to(features.dtype)


class PixelRelation(RegionContext):
    """Relate by the pixel alone, as Double Attention does ("DA scheme"): softmax over K scores of a 1x1 conv."""

    def __init__(self, channels: int, key_channels: int, regions: int, *, bias: bool = False, leaky: float = 0.0):
        super().__init__(channels, key_channels, bias=bias, leaky=leaky)
        self.scores = nn.Conv2d(channels, regions, 1)

    def relation(self, features: Tensor, vectors: Tensor, maps: Tensor | None) -> Tensor:
        """Score features (B, C, h, w) -> w (B, hw, K), rows sum to 1."""
        scores = self.pixel_region.level(self.scores(features)).flatten(2).mT  # (B, hw, K)
        return scores.softmax(-1, dtype=torch.float32).to(features.dtype)


class CoarseRelation(RegionContext):
    """Relate by the class probabilities of the coarse map itself, as ACFNet does ("ACF scheme")."""

    def relation(self, features: Tensor, vectors: Tensor, maps: Tensor | None) -> Tensor:
        """Turn coarse maps (B, K, h, w), raw, into w (B, hw, K), rows sum to 1."""
        assert maps is not None
        return (
            self.pixel_region.level(maps).flatten(2).mT.softmax(-1, dtype=torch.float32).to(features.dtype)
        )  # (B, hw, K)


class GivenRelation(RegionContext):
    """Take the maps as the relation (ground truth); an ignored pixel takes nothing."""

    sums_to_one = False

    def relation(self, features: Tensor, vectors: Tensor, maps: Tensor | None) -> Tensor:
        """Return the numbers of the maps (B, K, h, w) as w (B, hw, K)."""
        assert maps is not None
        return maps.flatten(2).mT.to(features.dtype)  # (B, hw, K)
