"""Memory of activations, from the sizes of the tensors alone: no allocator, no workspace of a kernel.

With fake tensors (`torch._subclasses.FakeTensorMode`) nothing is computed. Attention maps count as stored
(`stored_attention`), which is what the papers' code does; a device that fuses attention needs less.
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
    """Every layer builds its attention map, as if somebody recorded it."""
    taps = [module for module in network.modules() if isinstance(module, AttentionTap)]
    handles = [tap.register_forward_hook(lambda *_: None) for tap in taps]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def saved_for_backward(network: nn.Module, *inputs: Any, parts: Sequence[str] = ()) -> dict[str, int]:
    """Bytes that autograd keeps between the forward and the backward pass, in the mode that the network is in.

    A storage counts once, for the part that saved it first; parameters, buffers and inputs do not count, copies of
    parameters in lower precision do. `parts`: names of submodules; "" is what none of them saved. Without the loss.
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
        stack.enter_context(stored_attention(network))
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor))
        network(*inputs)
    return sizes


def peak_alive(network: nn.Module, *inputs: Any) -> int:
    """The most bytes of tensors that exist at one time during a forward pass without gradients.

    Beside those that existed before: parameters, buffers and inputs do not count.
    """
    with torch.no_grad(), stored_attention(network), Alive(existing(network, inputs)) as alive:
        network(*inputs)
    return alive.most


class Alive(TorchDispatchMode):
    """Bytes of the storages that operations made and that still exist: `now`, and the `most` there were."""

    def __init__(self, known: Iterable[torch.UntypedStorage]):
        super().__init__()
        self.known = weakref.WeakSet(known)
        self.now = self.most = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for storage in storages(result):
            if storage not in self.known:
                self.known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.most = max(self.most, self.now)
        return result

    def free(self, size: int) -> None:
        """A storage of `size` bytes is gone."""
        self.now -= size


def existing(network: nn.Module, inputs: Any) -> list[torch.UntypedStorage]:
    """What there is before a forward pass."""
    return storages([*network.parameters(), *network.buffers(), inputs])


def storages(tree: Any) -> list[torch.UntypedStorage]:
    """Where the tensors in nested containers keep their numbers."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
