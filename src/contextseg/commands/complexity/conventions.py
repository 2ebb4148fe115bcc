"""The ways in which the papers' tables count: functions that `count` and `memory` in papers/costs.yaml name."""

from collections.abc import Callable
from typing import Any

from torch import nn

from contextseg.commands.complexity.flops import conv_matmul, leaf_modules, leaf_outputs
from contextseg.commands.complexity.memory import peak_alive, saved_for_backward


def peak_in_place(network: nn.Module, inputs: Any) -> int:
    """Return the bytes alive at the peak of inference if batch norm works in place; `network` loses its norms."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity().eval())
    return peak_alive(network, inputs)


# network, inputs -> FLOPs by module name
COUNTS: dict[str, Callable[[nn.Module, Any], dict[str, int]]] = {
    "conv_matmul": conv_matmul,
    "leaf_modules": leaf_modules,
}

# network, inputs, number of parameters that the table counts -> bytes, float32
MEMORIES: dict[str, Callable[[nn.Module, Any, int], int]] = {
    "peak_with_parameters": lambda network, inputs, own: peak_in_place(network, inputs) + 4 * own,
    "saved_for_backward": lambda network, inputs, own: sum(saved_for_backward(network, inputs).values()),
    "leaf_outputs": lambda network, inputs, own: leaf_outputs(network, inputs),
}
