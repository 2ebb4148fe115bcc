"""Networks of the papers' cost tables that are no option of head=, because they are wired otherwise.

Each takes maps [(B, C_i, h, w)], fine to coarse, as heads do. The classes here return features (B, 512, h, w), without
a classifier.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from contextseg.heads.ccnet import CCNetHead
from contextseg.heads.danet import DANetHead
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.non_local import NonLocal
from contextseg.layers.region_attention import gather_regions, soft_regions

MAPS = (256, 512, 1024, 2048)  # channels of a ResNet's maps


class Loops(nn.Module):
    """Apply an attention block `count` times (CCNet, Tables 2 and 5, which count the attention alone)."""

    def __init__(self, block: nn.Module, count: int):
        super().__init__()
        self.block, self.count = block, count

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn maps, the last (B, C, h, w), into features of the same shape."""
        x = features[-1]
        for _ in range(self.count):
            x = self.block(x)
        return x


class SelfAttention(nn.Module):
    """Apply self-attention, query and key at half the width by one 1x1 conv -> BN -> ReLU each (OCR, Table 4)."""

    def __init__(self, in_channels: int, channels: int = 512):
        super().__init__()
        half = channels // 2
        self.reduce = ConvNormAct(in_channels, channels, 3, bias=True)
        self.query = ConvNormAct(channels, half, bias=True)
        self.key = ConvNormAct(channels, half, bias=True)
        self.value = nn.Conv2d(channels, half, 1)
        self.out = nn.Conv2d(half, channels, 1)
        self.fuse = ConvNormAct(2 * channels, channels, bias=True)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn maps, the last (B, C', h, w), into features (B, C, h, w)."""
        x = self.reduce(features[-1])  # (B, C, h, w)
        value, key, query = self.value(x).flatten(2), self.key(x).flatten(2), self.query(x).flatten(2)  # (B, C / 2, hw)
        relation = (query.mT @ key).softmax(-1)  # (B, hw, hw)
        context = self.out((value @ relation.mT).unflatten(-1, x.shape[-2:]))  # (B, C, h, w)
        return self.fuse(torch.cat([context, x], dim=1))


class DoubleAttention(nn.Module):
    """Apply double attention, with the last 1x1 conv of A^2-Nets at every pixel (OCR, Table 4)."""

    def __init__(self, in_channels: int, channels: int = 512, regions: int = 64):
        super().__init__()
        self.reduce = ConvNormAct(in_channels, channels, 3)
        self.gather = nn.Conv2d(channels, regions, 1)
        self.distribute = nn.Conv2d(channels, regions, 1)
        self.down = nn.Conv2d(channels, channels // 2, 1)
        self.up = nn.Conv2d(channels // 2, channels, 1)
        self.fuse = ConvNormAct(2 * channels, channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn maps, the last (B, C', h, w), into features (B, C, h, w)."""
        x = self.reduce(features[-1])  # (B, C, h, w)
        vectors = gather_regions(soft_regions(self.gather(x)), self.down(x))  # (B, C / 2, regions)
        distribute = self.distribute(x).flatten(2).softmax(1)  # (B, regions, hw)
        context = self.up((vectors @ distribute).unflatten(-1, x.shape[-2:]))  # (B, C, h, w)
        return self.fuse(torch.cat([context, x], dim=1))


class ObjectContext(nn.Module):
    """Apply OCR's Eq. 3 to 6, every convolution 1x1 with bias, rho at every pixel as in Eq. 3 (OCR, Table 4)."""

    def __init__(self, in_channels: Sequence[int], regions: int, channels: int = 512):
        super().__init__()
        half = channels // 2
        self.coarse = nn.Conv2d(in_channels[-2], regions, 1)
        self.reduce = ConvNormAct(in_channels[-1], channels, 3, bias=True)
        self.phi = ConvNormAct(channels, half, bias=True)
        self.psi = ConvNormAct(channels, half, bias=True)
        self.delta = ConvNormAct(channels, half, bias=True)
        self.rho = ConvNormAct(half, channels, bias=True)
        self.fuse = ConvNormAct(2 * channels, channels, bias=True)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn maps, the last two (B, C_3, h, w) and (B, C_4, h, w), into features (B, C, h, w)."""
        maps = self.coarse(features[-2])  # (B, K, h, w)
        x = self.reduce(features[-1])  # (B, C, h, w)
        context = self.context(x, gather_regions(soft_regions(maps), x).unsqueeze(-1))
        return self.fuse(torch.cat([x, context], dim=1))

    def context(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Turn features (B, C, h, w) and region vectors (B, C, K, 1) into context (B, C, h, w)."""
        key, value = self.psi(vectors).flatten(2), self.delta(vectors).flatten(2)  # (B, C / 2, K)
        relation = (self.phi(x).flatten(2).mT @ key).softmax(-1)  # (B, hw, K)
        return self.rho((value @ relation.mT).unflatten(-1, x.shape[-2:]))


class SlimCrissCross(nn.Module):
    """Apply criss-cross attention in one of the wirings with the 10.6 M parameters of OCR, Table 4."""

    def __init__(self, in_channels: int, channels: int = 512, recurrence: int = 2):
        super().__init__()
        self.reduce = ConvNormAct(in_channels, channels, 3)
        self.attention = CrissCrossAttention(channels, gate=True)
        self.out = ConvNormAct(channels, channels)
        self.fuse = ConvNormAct(2 * channels, channels)
        self.recurrence = recurrence

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn maps, the last (B, C', h, w), into features (B, C, h, w)."""
        x = context = self.reduce(features[-1])  # (B, C, h, w)
        for _ in range(self.recurrence):
            context = self.attention(context)
        return self.fuse(torch.cat([self.out(context), x], dim=1))


def released_ccnet(recurrence: int, classes: int) -> CCNetHead:
    """Build the head of CCNet's released code."""
    return CCNetHead(MAPS, classes, recurrence=recurrence, gate=True, refine=True, embedding_channels=0)


# What `network` in papers/costs.yaml names: number of classes -> network.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "danet": lambda classes: DANetHead(MAPS, classes),
    "danet_slim": lambda classes: DANetHead(MAPS, classes, slim=True),
    "ccnet_released_r1": lambda classes: released_ccnet(1, classes),
    "ccnet_released_r2": lambda classes: released_ccnet(2, classes),
    "ccnet_slim": lambda _: SlimCrissCross(MAPS[-1]),
    "self_attention": lambda _: SelfAttention(MAPS[-1]),
    "double_attention": lambda _: DoubleAttention(MAPS[-1]),
    "object_context": lambda classes: ObjectContext(MAPS, classes),
    "criss_cross_r1": lambda _: Loops(CrissCrossAttention(512), 1),
    "criss_cross_r2": lambda _: Loops(CrissCrossAttention(512), 2),
    "criss_cross_r3": lambda _: Loops(CrissCrossAttention(512), 3),
    "non_local_r1": lambda _: Loops(NonLocal(512), 1),
    "non_local_r2": lambda _: Loops(NonLocal(512), 2),
}
