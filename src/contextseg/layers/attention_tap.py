"""A named place in a head where an attention map passes, is recorded (`explain.record`), or made uniform."""

from typing import TypeVar

from torch import Tensor, nn

from contextseg.layers.attention import QueryKey

Passed = TypeVar("Passed", Tensor, QueryKey)


class AttentionTap(nn.Module):
    """Pass a map, or what it is made of, on unchanged, under a name: no parameters, no state, no key in `state_dict`.

    `levels`: the layer passes the scores of the map through `level` too, so that the map can be made uniform: it is, if
    `uniform` is set (`attention_control`).
    """

    def __init__(self, *, levels: bool = False):
        super().__init__()
        self.levels, self.uniform = levels, False

    def forward(self, attention: Passed) -> Passed:
        """Return the same, of any shape. The head documents the shape beside the tap."""
        return attention

    def level(self, scores: Tensor) -> Tensor:
        """Return scores, or queries that make them, of any shape; with `uniform` times zero, so that all are equal.

        The product keeps what made them in the graph, with zero gradients: DDP stops at parameters without any.
        """
        return 0 * scores if self.uniform else scores

    @property
    def recorded(self) -> bool:
        """Tell whether somebody hears what passes."""
        return bool(self._forward_hooks)
