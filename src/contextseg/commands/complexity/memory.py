"""Memory of activations, from the sizes of the tensors alone: no allocator, no workspace of a kernel.

With fake tensors (`torch._subclasses.FakeTensorMode`) nothing is computed. Attention maps count as stored
(`stored_attention`), as the papers' code does; a device that fuses attention needs less.
"""

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from contextseg.layers.attention_tap import AttentionTap


@contextmanager
def stored_attention(network: nn.Module) -> Iterator[None]:
    """Make every layer build its attention map."""
    taps = [module for module in network.modules() if isinstance(module, AttentionTap)]
    for tap in taps:
        tap.stored = True
    try:
        yield
    finally:
        for tap in taps:
            tap.stored = False


def saved_for_backward(
    network: nn.Module, *inputs: Any, parts: Sequence[str] = (), stored: bool = True
) -> dict[str, int]:
    """Count the bytes that autograd keeps between forward and backward pass, in the present mode of the network.

    A storage counts once, for the part that saved it first. Parameters, buffers and inputs do not count, copies of
    parameters in lower precision do. `parts`: names of submodules; "" is for the rest. The loss is omitted. `stored`:
    attention maps count, though this project need not keep them.
    """
    sizes = dict.fromkeys(["", *parts], 0)
    kept = {id(storage): storage for storage in existing(network, inputs)}
    current = [""]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in kept:
            kept[id(storage)] = storage
            sizes[current[-1]] += storage.nbytes()
        return tensor

    with ExitStack() as stack:
        for name in parts:
            module = network.get_submodule(name)
            enter = module.register_forward_pre_hook(lambda *_, name=name: current.append(name))
            leave = module.register_forward_hook(lambda *_: current.pop() and None)
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        if stored:
            stack.enter_context(stored_attention(network))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor))
        network(*inputs)
    return sizes


def peak_alive(network: nn.Module, *inputs: Any) -> int:
    """Count the bytes of tensors that exist at the peak of a forward pass without gradients.

    Tensors that existed before do not count: parameters, buffers and inputs.
    """
    with torch.no_grad(), stored_attention(network), Alive(existing(network, inputs)) as alive:
        network(*inputs)
    return alive.peak


class Alive(TorchDispatchMode):
    """Count the bytes of the storages that operations made and that still exist: `now`, and at their `peak`."""

    def __init__(self, known: Iterable[torch.UntypedStorage]):
        super().__init__()
        self.known = weakref.WeakSet(known)
        self.now = self.peak = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for storage in storages(result):
            if storage not in self.known:
                self.known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def free(self, size: int) -> None:
        """Subtract a storage of `size` bytes that is gone."""
        self.now -= size


def existing(network: nn.Module, inputs: Any) -> list[torch.UntypedStorage]:
    """Return the storages that exist before a forward pass."""
    return storages([*network.parameters(), *network.buffers(), inputs])


def storages(tree: Any) -> list[torch.UntypedStorage]:
    """Return the storages of the tensors in nested containers."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
