"""Local refinement: an encoder map resampled by channel and gated by place, before it is added to the decoder's.

Source: AGLN (Li et al.: Attention Guided Global Enhancement and Local Refinement Network for Semantic Segmentation),
Section III-B.2, Eq. 4 and 5.
"""

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap


class LocalRefinement(nn.Module):
    """Refine an encoder map B: channel resampling by the decoder map E -> spatial gating by the descriptor map M -> G.

    channel_resampling  false: the identity (Table V)
    inverted            see `ChannelResampling`
    spatial_gating      false: the identity (Table V)
    residual            B + gamma G replaces G, with gamma learnt from 0; released code: true
    """

    def __init__(
        self,
        *,
        channel_resampling: bool = True,
        inverted: bool = False,
        spatial_gating: bool = True,
        residual: bool = False,
    ):
        super().__init__()
        self.resample = ChannelResampling(inverted=inverted) if channel_resampling else None
        self.gate = SpatialGating() if spatial_gating else None
        self.gamma = nn.Parameter(torch.tensor(0.0)) if residual else None
        self.before = AttentionTap()  # (B, C, h, w), the encoder map
        self.after = AttentionTap()  # (B, C, h, w), the refined one

    def forward(self, encoder: Tensor, decoder: Tensor, descriptor_map: Tensor) -> Tensor:
        """Refine encoder map B by decoder map E and descriptor map M, all (B, C, h, w) -> (B, C, h, w)."""
        x = self.before(encoder)
        if self.resample is not None:
            x = self.resample(x, decoder)
        if self.gate is not None:
            x = self.gate(x, descriptor_map)
        if self.gamma is not None:
            x = encoder + self.gamma * x
        return self.after(x)


class ChannelResampling(nn.Module):
    """Compute F_i = sum_j softmax_j(E_i . B_j) B_j: a decoder channel i takes the encoder channels that are like it.

    Eq. 4, F = B x softmax(B x E^T), does not multiply with maps of C x hw. With maps of hw x C it reads
    F = B softmax(B^T E), and the softmax goes over the encoder's channels. So each channel F_i is a mean of them, in
    the place of the channel E_i to which it is added (Eq. 6). The released code normalises over the same axis. Inner
    products over hw pixels are large and the paper does not scale them, so a channel often takes from one encoder
    channel alone, and many from the same; hence always float32.

    `inverted`: softmax_j(-E_i . B_j), so that a channel takes from those least like it; released code subtracts each
    product from the largest of its row.
    """

    def __init__(self, *, inverted: bool = False):
        super().__init__()
        self.inverted = inverted
        self.relation = AttentionTap()  # (B, C, C), row = decoder channel, column = encoder channel; rows sum to 1

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """Resample encoder map B by decoder map E (B, C, h, w) -> F (B, C, h, w)."""
        keys, queries = encoder.flatten(2), decoder.flatten(2)  # (B, C, hw)
        with torch.autocast(encoder.device.type, enabled=False):
            precise = torch.promote_types(encoder.dtype, torch.float32)
            product = queries.to(precise) @ keys.to(precise).mT  # (B, C, C)
        product = -product if self.inverted else product
        relation = self.relation(product.softmax(-1).to(encoder.dtype))  # (B, C, C)
        return (relation @ keys).view_as(encoder)


class SpatialGating(nn.Module):
    """Compute G = F . sigmoid(M) (Eq. 5), element by element."""

    def __init__(self):
        super().__init__()
        self.spatial = AttentionTap()  # (B, C, h, w), between 0 and 1

    def forward(self, x: Tensor, descriptor_map: Tensor) -> Tensor:
        """Gate resampled encoder map F by descriptor map M (B, C, h, w) -> G (B, C, h, w)."""
        return x * self.spatial(descriptor_map.sigmoid())
