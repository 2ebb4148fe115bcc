"""CPNet's affinity loss and context prior at N = 60 x 60 against the obvious ones with dense N x N targets.

OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/context_prior.py
"""

from collections.abc import Callable

import torch
from comparison import compare
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.layers.context_prior import ContextPrior
from contextseg.losses.affinity import affinity_losses

SIDE, BATCH, CHANNELS, CLASSES = 60, 2, 512, 150


def dense_losses(prior_logits: Tensor, labels: Tensor) -> Tensor:
    """Compute Eq. 1-5 as printed, for images of two classes or more: (B, N, N), labels (B, N) -> scalar."""
    valid = labels != IGNORE_INDEX
    one_hot = F.one_hot(labels.long() * valid, CLASSES).float() * valid[..., None]
    a, pairs = one_hot @ one_hot.mT, (valid[:, :, None] & valid[:, None]).float()
    p = prior_logits.sigmoid() * pairs
    unary = F.binary_cross_entropy(p, a, weight=pairs, reduction="sum") / pairs.sum()
    inter = pairs - a
    hits, predicted, same, rejections, other = (t.sum(2)[valid] for t in (a * p, p, a, inter * (1 - p), inter))
    return unary - ((hits / predicted).log() + (hits / same).log() + (rejections / other).log()).mean()


class Given(nn.Module):
    """Stand for the prior's convolution: return its result, which is there already."""

    def __init__(self, z: Tensor):
        super().__init__()
        self.z = z

    def forward(self, _: Tensor) -> Tensor:
        """Return z (B, N, h, w) for features (B, C, h, w)."""
        return self.z


def dense_contexts(z: Tensor, x: Tensor) -> list[Tensor]:
    """Compute Section 3.2 as printed, a product with the prior and one with the reversed prior.

    z (B, N, N), x (B, C, h, w) -> two contexts (B, C, h, w).
    """
    prior, values = z.sigmoid(), x.flatten(2).mT
    return [(weights @ values / SIDE**2).mT.reshape(x.shape) for weights in (prior, 1 - prior)]


def main() -> None:
    torch.manual_seed(0)
    labels = F.interpolate(torch.randint(CLASSES, (BATCH, 1, 5, 5)).float(), (SIDE, SIDE)).flatten(1).to(torch.uint8)
    labels[:, :100] = IGNORE_INDEX
    z = torch.randn(BATCH, SIDE**2, SIDE, SIDE, requires_grad=True)  # as the convolution writes it
    x = torch.randn(BATCH, CHANNELS, SIDE, SIDE, requires_grad=True)
    layer = ContextPrior(CHANNELS, (SIDE, SIDE))
    layer.relate = Given(z)

    def ours() -> Tensor:
        return sum(affinity_losses(z.flatten(2).mT, labels, CLASSES))

    def dense() -> Tensor:
        return dense_losses(z.flatten(2).mT, labels)

    def ours_whole() -> Tensor:
        contexts, logits = layer(x)
        return sum(map(torch.sum, contexts)) + sum(affinity_losses(logits, labels, CLASSES))

    def dense_whole() -> Tensor:
        return sum(map(torch.sum, dense_contexts(z.flatten(2).mT, x))) + dense()

    def gradient(loss: Callable, *inputs: Tensor) -> Callable:
        return lambda: torch.autograd.grad(loss(), inputs)

    for a, b in zip(gradient(ours_whole, z, x)(), gradient(dense_whole, z, x)(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    compare("affinity loss, forward and backward", ours=gradient(ours, z), dense=gradient(dense, z))
    compare("context prior and affinity loss, forward", ours=ours_whole, dense=dense_whole)
    compare(
        "context prior and affinity loss, forward and backward",
        ours=gradient(ours_whole, z, x),
        dense=gradient(dense_whole, z, x),
    )


if __name__ == "__main__":
    main()
