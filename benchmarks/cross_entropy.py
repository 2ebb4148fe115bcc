"""Cross-entropy of up-sampled logits against up-sampling, then cross-entropy: forward and backward.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/cross_entropy.py

Logits at a stride of 8.
"""

from collections.abc import Callable

import torch
from comparison import compare
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.layers.resize import resize
from contextseg.losses.functional import cross_entropy, labels_at, ohem_cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]
ROUNDS = 7


def usual(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Resize to the labels, then compare: (B, K, h, w), (B, H, W) -> scalar."""
    return F.cross_entropy(resize(logits, target.shape[1:]), target, class_weights, ignore_index=IGNORE_INDEX)


def usual_ohem(logits: Tensor, target: Tensor, threshold: float, kept: int) -> Tensor:
    """Resize, take the losses of all pixels, and average those that are hard."""
    losses = F.cross_entropy(resize(logits, target.shape[1:]), target, ignore_index=IGNORE_INDEX, reduction="none")
    valid = target != IGNORE_INDEX
    limit = torch.minimum(losses.detach()[valid].topk(kept).values[-1], -torch.tensor(threshold).log())
    return losses[(losses.detach() >= limit) & valid].mean()


def pair(title: str, ours: Loss, plain: Loss, batch: int, classes: int, size: tuple[int, int], stride: int = 1) -> None:
    """Compare two losses on random logits, after a check that they and their gradients are equal."""
    logits = torch.randn(batch, classes, size[0] // 8, size[1] // 8, requires_grad=True)
    mask = torch.randint(classes, (batch, *size), dtype=torch.uint8)
    mask[torch.rand(mask.shape) < 0.1] = IGNORE_INDEX

    def step(loss: Loss) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(loss(logits, labels_at(mask, stride)), logits)[0]

    torch.testing.assert_close(step(ours)(), step(plain)(), rtol=1e-4, atol=1e-8)
    compare(f"{title}: {batch} x {size[0]} x {size[1]}, K={classes}", rounds=ROUNDS, ours=step(ours), plain=step(plain))


def main() -> None:
    torch.manual_seed(0)
    weights = 0.5 + torch.rand(150)
    for batch, classes, size in ((2, 150, (512, 512)), (2, 19, (512, 1024)), (8, 11, (360, 480))):
        pair("cross-entropy", cross_entropy, usual, batch, classes, size)
    ade = (2, 150, (512, 512))
    pair("class weights", lambda x, y: cross_entropy(x, y, weights), lambda x, y: usual(x, y, weights), *ade)
    pair("label stride 2", cross_entropy, usual, *ade, stride=2)
    pair(
        "with an auxiliary loss",
        lambda x, y: cross_entropy(x, y) + 0.4 * cross_entropy(x.square(), y),
        lambda x, y: usual(x, y) + 0.4 * usual(x.square(), y),
        *ade,
    )
    ohem = (0.7, 100_000)
    pair("OHEM", lambda x, y: ohem_cross_entropy(x, y, *ohem), lambda x, y: usual_ohem(x, y, *ohem), *ade)


if __name__ == "__main__":
    main()
