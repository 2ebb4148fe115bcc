"""Criss-cross attention against the usual formulation, on one CPU thread: python benchmarks/criss_cross.py

Channels last. "keeps": the memory held between forward and backward, inputs and parameters aside, over the usual.
"""

from collections.abc import Callable

import torch
from comparison import compare
from torch import Tensor

from contextseg.layers.criss_cross import CrissCrossAttention

SHAPES = ((1, 512, 97, 97), (2, 512, 64, 64))


class Usual(CrissCrossAttention):
    """Copy query, key and value by column and by row, channels first; one softmax, minus infinity on the diagonal."""

    def forward(self, x: Tensor) -> Tensor:
        """Add to each pixel the context of row and column: (B, C, h, w) -> (B, C, h, w)."""
        batch, _, height, width = x.shape
        tensors = [self.query(x), self.key(x), self.value(x)]
        query, key, value = (t.permute(0, 3, 1, 2).contiguous().view(batch * width, -1, height) for t in tensors)
        column = torch.bmm(query.mT, key) - torch.diag(x.new_full((height,), torch.inf))  # (B w, h, h)
        query, key, value_row = (t.permute(0, 2, 1, 3).contiguous().view(batch * height, -1, width) for t in tensors)
        row = torch.bmm(query.mT, key).view(batch, height, width, width)
        column = column.view(batch, width, height, height).transpose(1, 2)  # (B, h, w, h)
        weights = torch.cat([column, row], -1).softmax(-1)  # (B, h, w, h + w)
        column = weights[..., :height].transpose(1, 2).reshape(batch * width, height, height)
        row = weights[..., height:].reshape(batch * height, width, width)
        vertical = torch.bmm(value, column.mT).view(batch, width, -1, height).permute(0, 2, 3, 1)
        horizontal = torch.bmm(value_row, row.mT).view(batch, height, -1, width).permute(0, 2, 1, 3)
        return vertical + horizontal + x


def kept(block: CrissCrossAttention, x: Tensor) -> int:
    """Return the bytes that a training pass keeps for its backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        block(x.detach().requires_grad_())
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return sum(storages.values()) - sum(storages.get(t.data_ptr(), 0) for t in (x, *block.parameters()))


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for shape in SHAPES:
        usual, ours = Usual(shape[1]), CrissCrossAttention(shape[1])
        ours.load_state_dict(usual.state_dict())
        x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(ours(x), usual(x), rtol=1e-4, atol=1e-4)

        def forward(block: CrissCrossAttention, x: Tensor = x) -> Callable:
            return lambda: block(x)

        def both(block: CrissCrossAttention, x: Tensor = x) -> Callable:
            leaves = [x.requires_grad_(), *block.parameters()]
            return lambda: torch.autograd.grad(block(x), leaves, x.detach())

        name = "criss-cross, " + " x ".join(map(str, shape))
        with torch.no_grad():
            compare(f"{name}, forward", ours=forward(ours), usual=forward(usual))
        share = f"keeps {kept(ours, x) / kept(usual, x):.2f}"
        compare(f"{name}, forward and backward, {share}", ours=both(ours), usual=both(usual))


if __name__ == "__main__":
    main()
