"""A named place in a head where an attention map passes and can be recorded (`explain.record`)."""

from torch import Tensor, nn


class AttentionTap(nn.Module):
    """Pass a map on unchanged, under a name: no parameters, no state, no key in `state_dict`."""

    def forward(self, attention: Tensor) -> Tensor:
        """Return the same tensor, of any shape. The head documents the shape beside the tap."""
        return attention

    @property
    def recorded(self) -> bool:
        """Tell whether the map is recorded: if so, the layer must build it; if not, it may take a fused path."""
        return bool(self._forward_hooks)
