"""Context fusion block: a decoder map enhanced by semantic descriptors, and the encoder map refined and added.

Source: AGLN (Li et al.: Attention Guided Global Enhancement and Local Refinement Network for Semantic Segmentation),
Sections III-A.2 and III-C, Eq. 3 and 6; "AGLN-Lite", Section IV-D.
"""

import torch
from torch import Tensor, nn

from contextseg.contract import ConfigError
from contextseg.layers.conv import ConvNormAct, SeparableConvNormAct
from contextseg.layers.local_refinement import LocalRefinement
from contextseg.layers.semantic_distribution import SemanticDistribution


class ContextFusion(nn.Module):
    """E = Psi(A + alpha M) (Eq. 3), O = Phi(E + beta G) (Eq. 6), with M handed out to A and G refined from B.

    Psi and Phi are 3x3 conv -> BN -> ReLU; their convolutions have a bias, which the parameters of Table VIII tell.
    `lite` makes them depthwise-separable. `alpha` and `beta`: a number, or None to learn them from 0 and 1 (Table VI).
    """

    def __init__(
        self,
        channels: int,
        num_descriptors: int = 128,
        *,
        channel_resampling: bool = True,
        spatial_gating: bool = True,
        alpha: float | None = None,
        beta: float | None = None,
        lite: bool = False,
    ):
        super().__init__()
        block = SeparableConvNormAct if lite else ConvNormAct
        self.distribution = SemanticDistribution(channels, num_descriptors)
        self.refinement = LocalRefinement(channel_resampling=channel_resampling, spatial_gating=spatial_gating)
        self.alpha = factor("alpha", alpha, start=0.0)
        self.beta = factor("beta", beta, start=1.0)
        self.psi = block(channels, channels, 3, bias=True)
        self.phi = block(channels, channels, 3, bias=True)

    def forward(self, decoder: Tensor, encoder: Tensor, descriptors: Tensor) -> Tensor:
        """Up-sampled decoder map A and encoder map B (B, C, h, w), descriptors D (B, C, N) -> O (B, C, h, w)."""
        descriptor_map = self.distribution(decoder, descriptors)  # (B, C, h, w)
        enhanced = self.psi(decoder + self.alpha * descriptor_map)  # (B, C, h, w)
        refined = self.refinement(encoder, enhanced, descriptor_map)  # (B, C, h, w)
        return self.phi(enhanced + self.beta * refined)


def factor(name: str, value: float | None, *, start: float) -> nn.Parameter | float:
    """The number given, or else a learnable scalar.

    It has no dimension, so that it does not turn half-precision maps into float32. Raises `ConfigError` for a word.
    """
    if value is None:
        return nn.Parameter(torch.tensor(start))
    if not isinstance(value, int | float):
        raise ConfigError(f"head.{name}={value}: give a number, or null to learn it from {start:g}")
    return float(value)
