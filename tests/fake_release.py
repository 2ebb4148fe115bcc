"""Made-up weights with the names and shapes of a released file."""

import math

import torch
from torch import Tensor

from contextseg.commands.convert.graph import COUNTER, Graph


def random_tensors(graph: Graph, classes: int, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of theirs, whose numbers neither die out nor explode in a deep network."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name in graph.shapes:
        shape = graph.shape(name, classes)
        if name.endswith(COUNTER):
            found[name] = torch.tensor(7)
        elif name.endswith(("running_var", "_variance")):
            found[name] = 0.5 + torch.rand(shape, generator=generator)
        elif name.endswith("weight") and len(shape) == 1:
            found[name] = 0.2 + 0.5 * torch.rand(shape, generator=generator)
        else:
            spread = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
            found[name] = spread * torch.randn(shape, generator=generator)
    return found


def flat_tensors(graph: Graph, classes: int) -> dict[str, Tensor]:
    """A state dict of theirs that takes no room: each tensor one number of its own, as often as its shape says."""
    return {
        name: torch.tensor(float(index)).expand(graph.shape(name, classes)) for index, name in enumerate(graph.shapes)
    }
