"""Recording of the attention maps of a head; it costs nothing while no map is recorded.

A head passes an attention map through a tap (`layers.attention_tap`). It is recorded within:

    with record_attention(model) as maps:
        model(image)
    maps["head.pixel_region"]  # list, on the CPU, one entry per call (a recurrent module has several)
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from contextseg.contract import Heard
from contextseg.layers.attention_tap import AttentionTap


def taps(model: nn.Module) -> dict[str, AttentionTap]:
    """Return the taps of a model, by module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AttentionTap)}


@contextmanager
def record_attention(model: nn.Module) -> Iterator[Heard]:
    """Collect what passes through every tap of `model`, by the tap's module name.

    Yields a dict name -> list, detached, on the CPU, one entry per call: tensors, or the queries and keys of a map that
    has a number for each pair of places (`layers.attention.QueryKey`). Raises `ValueError` if the model
    has no tap (a plain FCN has no attention to show).
    """
    found = taps(model)
    if not found:
        raise ValueError(f"{type(model).__name__} has no AttentionTap: there is no attention map to record")
    maps: Heard = {name: [] for name in found}

    def listen(name: str):
        return lambda module, inputs, output: maps[name].append(output.detach().cpu())

    handles = [tap.register_forward_hook(listen(name)) for name, tap in found.items()]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()
