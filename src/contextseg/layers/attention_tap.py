"""A named place in a head where an attention map passes and can be recorded (`explain.record`)."""

from torch import Tensor, nn


class AttentionTap(nn.Module):
    """Pass a map on unchanged, under a name: no parameters, no state, no key in `state_dict`."""

    def forward(self, attention: Tensor) -> Tensor:
        """Return the same tensor, of any shape. The head documents the shape beside the tap."""
        return attention

    @property
    def heard(self) -> bool:
        """Tell whether somebody records: then the layer must build its map, else it may take a fused path."""
        return bool(self._forward_hooks)
