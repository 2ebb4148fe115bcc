"""The blocks of a network, of which each can be compiled alone, or computed again instead of being kept.

A network in blocks is compiled block by block ("regional compilation"): blocks of one kind and shape share their code.
Activation checkpointing (Chen et al.: Training Deep Nets with Sublinear Memory Cost, 2016) keeps the input of each
block, and computes what is inside again in the backward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from contextseg.segmenter import Segmenter

WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)


def blocks(network: Segmenter) -> list[nn.Module]:
    """Return the blocks that the backbone repeats, then neck, head and auxiliary head, each as one."""
    others = [network.neck, network.head, network.aux_head]
    return [*repeated(network.backbone), *(part for part in others if part is not None and [*part.parameters()])]


def repeated(backbone: nn.Module) -> list[nn.Module]:
    """Return the innermost members of lists and sequences that have two weighted layers or more, in order."""
    lists = (module for module in backbone.modules() if isinstance(module, nn.Sequential | nn.ModuleList))
    members = dict.fromkeys(child for each in lists for child in each if weighted_layers(child) > 1)
    return [
        member
        for member in members
        if not isinstance(member, nn.Sequential | nn.ModuleList)
        and not any(inner in members for inner in member.modules() if inner is not member)
    ]


def weighted_layers(module: nn.Module) -> int:
    """Count convolutions and linear layers."""
    return sum(isinstance(inner, WEIGHTED) for inner in module.modules())


def compute_again(network: Segmenter) -> None:
    """Let every block of a network keep its input alone in training; weights and their names stay as they are."""
    for block in blocks(network):
        block.forward = partial(checkpointed, block, block.forward)


def checkpointed(block: nn.Module, forward: Any, *inputs: Any, **settings: Any) -> Any:
    """Run `forward` of a block, in training without keeping what it computes."""
    if not block.training:
        return forward(*inputs, **settings)
    contexts = lambda: (nullcontext(), counted_once(block))  # noqa: E731
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **settings)


@contextmanager
def counted_once(block: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of the batch without counting them: they were counted the first time."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def compile_each(network: Segmenter, backend: str) -> None:
    """Compile every block of a network alone."""
    for block in blocks(network):
        block.compile(backend=backend)
