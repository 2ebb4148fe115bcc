"""Context prior: a map of the pairs of pixels of one class, and the context inside and outside each pixel's class.

Source: CPNet (Yu et al.: Context Prior for Scene Segmentation, CVPR 2020), Section 3.2.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from contextseg.errors import ConfigError
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.context_prior_recomputed import RecomputedPrior
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.windows import same_window

CONTEXTS = {"both": ("intra", "inter"), "intra": ("intra",), "inter": ("inter",)}


class ContextPrior(nn.Module):
    """Compute P = sigmoid(BN(1x1 conv(X~))), intra-class context Y = P X~, and inter-class context Y' = (1 - P) X~.

    size       (h, w) of the map, fixed because the convolution has one channel per pixel
    contexts   "both", "intra" or "inter"
    normalise  contexts are divided by N = hw, as in the released code; the paper writes plain sums, which grow with the
               map and leave the range of float16
    project    a 1x1 conv -> BN -> ReLU on each context; released code: true

    Raises `ConfigError` for other `contexts`.

    (1 - P) X~ is computed as the sum of X~ over the pixels minus P X~: the same number for half the work.
    """

    def __init__(
        self,
        channels: int,
        size: Sequence[int],
        *,
        contexts: str = "both",
        normalise: bool = True,
        project: bool = False,
    ):
        super().__init__()
        if contexts not in CONTEXTS:
            raise ConfigError(f"contexts={contexts}: choose {', '.join(CONTEXTS)}")
        self.contexts = CONTEXTS[contexts]
        self.scale = 1 / (size[0] * size[1]) if normalise else 1.0
        self.relate = ConvNormAct(channels, size[0] * size[1], act=False)
        self.project = nn.ModuleDict(
            {name: ConvNormAct(channels, channels) if project else nn.Identity() for name in self.contexts}
        )
        self.prior = AttentionTap(levels=True)  # (B, hw, hw), row = pixel, column = partner

    def forward(self, x: Tensor, side: int | None = None) -> tuple[list[Tensor], Tensor]:
        """Turn features (B, C, h, w) into contexts, each (B, C, h, w), and the prior's logits (B, hw, hw).

        With `side` both sums go over the pixel's window of `side` x `side` places, and are as large as over the map.
        """
        logits = self.relate(x).flatten(2).mT  # (B, hw, hw), row = pixel, column = partner
        values = x.flatten(2) * self.scale  # (B, C, hw), scaled before they are summed, for float16
        if side is None and self.prior.can_be_left_out(logits):
            intra: Tensor = RecomputedPrior.apply(self.prior.level(logits), values)  # (B, C, hw)
            total = values.sum(-1, keepdim=True)  # (B, C, 1)
        else:
            intra, total = self.sums(logits, values, x.shape[-2:], side)
        found = {"intra": intra}
        if "inter" in self.contexts:
            found["inter"] = (total - intra).to(intra.dtype)
        return [self.project[name](found[name].view_as(x)) for name in self.contexts], logits

    def sums(self, logits: Tensor, values: Tensor, size: Sequence[int], side: int | None) -> tuple[Tensor, Tensor]:
        """Sum values (B, C, hw) with the prior, and all of them: logits (B, hw, hw) -> (B, C, hw), (B, C, 1 or hw)."""
        prior = self.prior(self.prior.level(logits).sigmoid())
        if side is None:
            return values @ prior.mT, values.sum(-1, keepdim=True)
        near = same_window(size, side, values.device).to(prior.dtype)  # (hw, hw)
        near = near * (len(near) / near.sum(-1, keepdim=True))
        return values @ (prior * near).mT, values @ near.mT
