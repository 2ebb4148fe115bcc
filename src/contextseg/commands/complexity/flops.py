"""Floating-point operations of a forward pass, in the two ways that the papers' tables count them.

Both give FLOPs by module name, a module's including those of the modules in it; "" is the network. With fake tensors
(`torch._subclasses.FakeTensorMode`) nothing is computed.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from contextseg.commands.complexity.memory import stored_attention

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)
POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def conv_matmul(network: nn.Module, *inputs: Any) -> dict[str, int]:
    """Count 2 per multiply-add of every convolution and matrix product, called as a module or not; nothing else.

    So count OCR (Table 4) and CCNet (Tables 2 and 5).
    """
    with torch.no_grad(), stored_attention(network), FlopCounterMode(display=False) as counter:
        network(*inputs)
    root = type(network).__name__
    found = {name.removeprefix(root).removeprefix("."): sum(ops.values()) for name, ops in flop_counts(counter, root)}
    return {name: found.get(name, 0) for name, _ in network.named_modules()}


def flop_counts(counter: FlopCounterMode, root: str) -> list[tuple[str, dict]]:
    """Return the counts of the network whose class is called `root`, without those that torch sums as "Global"."""
    counts = counter.get_flop_counts().items()
    return [(name, ops) for name, ops in counts if name == root or name.startswith(f"{root}.")]


def leaf_modules(network: nn.Module, *inputs: Any) -> dict[str, int]:
    """Count 1 per multiply-add of the modules without children, as profilers do that hook into modules.

    Convolutions and linear layers: multiply-adds, and 1 per output for a bias; batch norm: 2 per element; ReLU: 1 per
    element; pooling: 1 per input element. Functions count nothing: matrix products, softmax, interpolation. So
    count CTNet (Table 3) and AGLN (Table VIII), as inferred from their numbers.
    """
    counts = dict.fromkeys((name for name, _ in network.named_modules()), 0)

    def add(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count = leaf(module, inputs[0], output)
        parts = name.split(".") if name else []
        for length in range(len(parts) + 1):
            counts[".".join(parts[:length])] += count

    with torch.no_grad():
        on_leaves(network, add, *inputs)
    return counts


def leaf(module: nn.Module, input: Tensor, output: Tensor) -> int:
    """Return the FLOPs of one call of a module without children; 0 for kinds that are not counted."""
    if isinstance(module, _ConvNd | nn.Linear):
        per_output = module.weight[0].numel() + (module.bias is not None)
        return output.numel() * per_output
    if isinstance(module, _NormBase):
        return 2 * output.numel()
    if isinstance(module, ACTIVATIONS):
        return output.numel()
    return input.numel() if isinstance(module, POOLINGS) else 0


def leaf_outputs(network: nn.Module, *inputs: Any) -> int:
    """Count the bytes that the modules without children return, each module once: the memory of CTNet's Table 3.

    Modules that return their input are omitted, and so are functions.
    """
    sizes: dict[str, int] = defaultdict(int)

    def add(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not isinstance(module, nn.Identity) and isinstance(output, Tensor):
            sizes[name] = output.numel() * output.element_size()

    with torch.no_grad(), stored_attention(network):  # a softmax is a module there
        on_leaves(network, add, *inputs)
    return sum(sizes.values())


def on_leaves(network: nn.Module, hook: Callable, *inputs: Any) -> None:
    """Run the network; call `hook(name, module, inputs, output)` at every call of a module without children."""

    def listen(name: str) -> Callable:
        return lambda module, inputs, output: hook(name, module, inputs, output)

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(listen(name)) for name, module in leaves]
    try:
        network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
