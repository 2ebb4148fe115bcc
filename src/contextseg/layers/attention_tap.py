"""A named place in a head where an attention map passes, is recorded (`explain.record`), or made uniform."""

from collections.abc import Sequence

from torch import Tensor, nn


class AttentionTap(nn.Module):
    """Pass a map on unchanged, under a name: no parameters, no state, no key in `state_dict`.

    `over`: the axes along which the weights of a map sum to one; () if the map is none of weights. With `uniform` set
    (`attention_control`), a map of weights passes as their mean.
    """

    def __init__(self, over: Sequence[int] = ()):
        super().__init__()
        self.over, self.uniform = tuple(over), False

    def forward(self, attention: Tensor) -> Tensor:
        """Return the same tensor, of any shape, or its mean over the weights that are not masked, at each of them.

        The head documents the shape beside the tap.
        """
        if not (self.uniform and self.over):
            return attention
        seen = (attention != 0).to(attention.dtype)
        return seen * attention.sum(self.over, keepdim=True) / seen.sum(self.over, keepdim=True)

    @property
    def recorded(self) -> bool:
        """Tell whether the map is needed: if so, the layer must build it; if not, it may take a fused path."""
        return bool(self._forward_hooks) or self.uniform
