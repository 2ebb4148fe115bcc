"""Context fusion block: a decoder map enhanced by semantic descriptors, and the encoder map refined and added.

Source: AGLN (Li et al.: Attention Guided Global Enhancement and Local Refinement Network for Semantic Segmentation),
Sections III-A.2 and III-C, Eq. 3 and 6; "AGLN-Lite", Section IV-D.
"""

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.conv import ConvNormAct, SeparableConvNormAct
from contextseg.layers.local_refinement import LocalRefinement
from contextseg.layers.semantic_distribution import SemanticDistribution


class ContextFusion(nn.Module):
    """Compute E = Psi(A + alpha M) (Eq. 3), O = Phi(E + beta G) (Eq. 6): M is distributed to A, G refined from B.

    Psi and Phi are 3x3 conv -> BN -> ReLU; the parameters of Table VIII show that their convolutions have a bias.

    alpha, beta  a number; None: learnt, from 0 and 1 (Table VI)
    psi          false: O = Phi(A + alpha M + beta G), and A, not E, guides the refinement; released code: false
    conv_bias    of the convolutions in Psi and Phi; released code: false
    lite         depthwise-separable convolutions in Psi and Phi

    The other settings are those of `SemanticDistribution` and `LocalRefinement`.
    """

    def __init__(
        self,
        channels: int,
        num_descriptors: int = 128,
        *,
        output_conv: bool = False,
        channel_resampling: bool = True,
        inverted_resampling: bool = False,
        spatial_gating: bool = True,
        residual: bool = False,
        alpha: float | None = None,
        beta: float | None = None,
        psi: bool = True,
        conv_bias: bool = True,
        lite: bool = False,
    ):
        super().__init__()
        block = SeparableConvNormAct if lite else ConvNormAct
        self.distribution = SemanticDistribution(channels, num_descriptors, output_conv=output_conv)
        self.refinement = LocalRefinement(
            channel_resampling=channel_resampling,
            inverted=inverted_resampling,
            spatial_gating=spatial_gating,
            residual=residual,
        )
        self.alpha = factor(alpha, start=0.0)
        self.beta = factor(beta, start=1.0)
        self.psi = block(channels, channels, 3, bias=conv_bias) if psi else None
        self.phi = block(channels, channels, 3, bias=conv_bias)
        self.before, self.after = AttentionTap(), AttentionTap()  # (B, C, h, w), the decoder map A and E (Figure 3)

    def forward(self, decoder: Tensor, encoder: Tensor, descriptors: Tensor) -> Tensor:
        """Fuse up-sampled decoder map A, encoder map B (B, C, h, w), descriptors D (B, C, N) -> O (B, C, h, w)."""
        decoder = self.before(decoder)
        descriptor_map = self.distribution(decoder, descriptors)  # (B, C, h, w)
        enhanced = decoder + self.alpha * descriptor_map  # (B, C, h, w)
        if self.psi is not None:
            enhanced = self.psi(enhanced)
        enhanced = self.after(enhanced)
        guide = decoder if self.psi is None else enhanced
        refined = self.refinement(encoder, guide, descriptor_map)  # (B, C, h, w)
        return self.phi(enhanced + self.beta * refined)


def factor(value: float | None, *, start: float) -> nn.Parameter | float:
    """Return the number given, or a learnable scalar that begins at `start`.

    The scalar has no dimension, so it does not turn half-precision maps into float32.
    """
    if value is None:
        return nn.Parameter(torch.tensor(start))
    return float(value)
