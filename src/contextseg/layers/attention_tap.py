"""A named place in a head where an attention map passes, is recorded (`explain.record`), or made uniform."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.layers.attention import CHUNK, QueryKey

Passed = TypeVar("Passed", Tensor, QueryKey)
LEAST = 2**17  # numbers of an image, below which a map takes little time and memory


class AttentionTap(nn.Module):
    """Pass a map, or what it is made of, on unchanged, under a name: no parameters, no state, no key in `state_dict`.

    `levels`: the layer passes the scores of the map through `level` too, so that the map can be made uniform: it is, if
    `uniform` is set (`attention_control`). `stored`: `attend` makes the whole map and passes it on, as the papers' code
    does, to count its memory.
    """

    def __init__(self, *, levels: bool = False):
        super().__init__()
        self.levels, self.uniform, self.stored = levels, False, False

    def forward(self, attention: Passed) -> Passed:
        """Return the same, of any shape. The head documents the shape beside the tap."""
        return attention

    def level(self, scores: Tensor) -> Tensor:
        """Return scores, or queries that make them, of any shape; with `uniform` times zero, so that all are equal.

        The product keeps what made them in the graph, with zero gradients: DDP stops at parameters without any.
        """
        return 0 * scores if self.uniform else scores

    def can_be_left_out(self, x: Tensor) -> bool:
        """Say whether this is a training pass that gains by computing a map about as large as `x` (B, ...) twice.

        Not where the map is heard or counted, nor in lower precision, nor where a compiler sees the graph and plans
        what is kept; nor on other devices than the CPU, on which this has not been timed.
        """
        if not torch.is_grad_enabled() or x.device.type != "cpu" or x[0].numel() < LEAST:
            return False
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        full = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
        return full and not (self.stored or self._forward_hooks or traced)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Pass queries and keys on, and compute softmax(Q K^T) V.

        Queries (B, N, C'), keys (B, M, C'), values (B, M, C) -> (B, N, C). torch chooses how, without the map (B, N, M)
        where the device can; while the tap is heard, some rows at a time, so that no device makes the map.
        """
        precision = torch.promote_types(query.dtype, torch.float32)
        if self.stored:
            return self((query @ key.mT).softmax(-1, dtype=precision).to(value.dtype)) @ value
        query, key = self(QueryKey(query, key))
        if not self._forward_hooks:
            q, k, v = (x.unsqueeze(1) for x in (query, key, value))  # one head
            return F.scaled_dot_product_attention(q, k, v, scale=1.0).squeeze(1)
        parts = query.split(max(1, CHUNK // key.shape[1]), dim=1)
        return torch.cat([(q @ key.mT).softmax(-1, dtype=precision).to(value.dtype) @ value for q in parts], dim=1)
