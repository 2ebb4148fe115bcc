"""Criss-cross attention against the usual formulation, on one CPU thread: python benchmarks/criss_cross.py

Ratios are usual / ours: medians of CPU time in one process, the two taken in turn, channels last. "kept": the memory
held between forward and backward, inputs and parameters aside.
"""

import statistics
import time

import torch
from torch import Tensor

from contextseg.layers.criss_cross import CrissCrossAttention

SHAPES = ((1, 512, 97, 97), (2, 512, 64, 64), (8, 64, 16, 16))


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


def seconds(block: CrissCrossAttention, x: Tensor, backward: bool) -> float:
    """Return the CPU seconds of one pass."""
    x = x.detach().requires_grad_(backward)
    start = time.process_time()
    with torch.set_grad_enabled(backward):
        y = block(x)
    if backward:
        y.backward(x.detach())
    return time.process_time() - start


def ratio(usual: Usual, ours: CrissCrossAttention, x: Tensor, backward: bool, rounds: int) -> float:
    """Return the median time of `usual` over that of `ours`, after one round to warm up."""
    times = [(seconds(usual, x, backward), seconds(ours, x, backward)) for _ in range(rounds + 1)][1:]
    return statistics.median(u for u, _ in times) / statistics.median(o for _, o in times)


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
    print(f"{'shape':>12} {'forward':>8} {'+ backward':>10} {'kept':>6} {'max error':>10}")
    for shape in SHAPES:
        usual, ours = Usual(shape[1]), CrissCrossAttention(shape[1])
        ours.load_state_dict(usual.state_dict())
        x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        error = (usual(x) - ours(x)).abs().max().item()
        forward, both = (ratio(usual, ours, x, backward, 7 if shape[1] == 512 else 40) for backward in (False, True))
        memory = kept(usual, x) / kept(ours, x)
        print(f"{'x'.join(map(str, shape)):>12} {forward:7.2f}x {both:9.2f}x {memory:5.1f}x {error:10.1e}", flush=True)


if __name__ == "__main__":
    main()
