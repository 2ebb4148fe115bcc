"""Semantic aggregation: a map gathered into a few vectors, the semantic descriptors.

Source: AGLN (Li et al.: Attention Guided Global Enhancement and Local Refinement Network for Semantic Segmentation),
Section III-A.2, Eq. 1; "GAP-GEM" of Table IV.
"""

import torch
from torch import Tensor, nn

from contextseg.errors import ConfigError
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.region_attention import gather_regions, soft_regions


class SemanticAggregation(nn.Module):
    """Compute D = X_feat X_am^T (Eq. 1): descriptor n is the mean of the pixels, weighted by attention map n.

    X_am is a softmax over the pixels of a 1x1 convolution with N maps. X_feat is X itself, as the parameters of Table
    VIII show; `value_conv` makes it a 1x1 convolution of X, as Eq. 1 is printed. An attention map sums to one, so that
    convolution commutes with the mean: it is applied to the N descriptors, the same number for less work.

    `gathering`: "attention", or "gap" (global average pooling), one descriptor that weighs all pixels alike. Raises
    `ConfigError` for another word, and for less than one descriptor.
    """

    def __init__(
        self, channels: int, num_descriptors: int = 128, *, gathering: str = "attention", value_conv: bool = False
    ):
        super().__init__()
        if gathering not in ("attention", "gap"):
            raise ConfigError(f"head.gathering={gathering}: choose attention or gap")
        self.num_descriptors = 1 if gathering == "gap" else num_descriptors
        self.scores = nn.Conv2d(channels, num_descriptors, 1) if gathering == "attention" else None
        self.value = nn.Conv2d(channels, channels, 1) if value_conv else nn.Identity()
        self.gather = AttentionTap(levels=True)  # (B, N, h, w), each map sums to 1

    def forward(self, x: Tensor) -> Tensor:
        """Gather a map (B, C, h, w) into descriptors (B, C, N)."""
        scores = torch.zeros_like(x[:, :1]) if self.scores is None else self.scores(x)  # (B, N, h, w)
        regions = soft_regions(self.gather.level(scores))  # (B, N, hw)
        gather = self.gather(regions.unflatten(-1, x.shape[-2:]))  # (B, N, h, w)
        descriptors = gather_regions(gather.flatten(2), x)  # (B, C, N)
        return self.value(descriptors.unsqueeze(-1)).squeeze(-1)
