"""Freezing: a backbone, or its first stages, stays as it is through training.

A stage ends at a map, and the first one has the stem too. So the first n stages are all that the n-th map is made from.
Its autograd graph tells that, whatever the parts of a backbone are called.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from contextseg.backbones.base import Backbone
from contextseg.errors import ConfigError
from contextseg.typed import shown


def freeze_stages(backbone: Backbone, stages: bool | int, size: tuple[int, int] = (224, 224)) -> None:
    """Freeze a whole backbone (true), its first `stages` stages, or nothing (false).

    Frozen parameters get no gradient, so that no optimizer takes them, and the modules that hold them stay in
    evaluation mode: batch statistics are fixed, nothing is dropped. `size`: height and width of an image that the
    backbone takes; only shapes are computed. Raises `ConfigError` for more stages than there are, and for maps that do
    not follow one from the other (HRNet's).
    """
    if stages is False:
        return
    fixed = set(backbone.parameters()) if stages is True else made_of(backbone, stages, size)
    for parameter in fixed:
        parameter.requires_grad_(False)
    backbone.frozen = whole(backbone, fixed)
    backbone.train(backbone.training)


def made_of(backbone: Backbone, stages: int, size: tuple[int, int]) -> set[nn.Parameter]:
    """Return the parameters that the map number `stages` is made from. Raises `ConfigError` as `freeze_stages` does."""
    count = len(backbone.channels)
    if not 1 <= stages <= count:
        raise ConfigError(
            f"backbone.freeze={shown(stages)}: this backbone has {count} stages, one for each of its maps, at strides "
            f"{', '.join(map(str, backbone.strides))}; give true, or 1 to {count}"
        )
    training = backbone.training
    backbone.eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.enable_grad():
        maps = backbone(torch.empty(1, 3, *size, dtype=torch.uint8, device=backbone.mean.device))
    backbone.train(training)
    found = [sources(one) for one in maps]
    if not all(finer < coarser for finer, coarser in pairwise(found)):
        raise ConfigError(
            f"backbone.freeze={stages}: the maps of this backbone are made side by side, so it has no first stages; "
            "give true or false"
        )
    return found[stages - 1]


def sources(result: Tensor) -> set[nn.Parameter]:
    """Return the parameters in the autograd graph of a tensor."""
    found: set[nn.Parameter] = set()
    seen, waiting = set(), [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(variable := getattr(node, "variable", None), nn.Parameter):
            found.add(variable)
        waiting += [previous for previous, _ in node.next_functions]
    return found


def whole(module: nn.Module, fixed: set[nn.Parameter], name: str = "") -> tuple[str, ...]:
    """Return the names of the outermost modules all of whose parameters are in `fixed`; "" is the module itself."""
    held = set(module.parameters())
    if held and held <= fixed:
        return (name,)
    parts = module.named_children()
    return tuple(found for part, child in parts for found in whole(child, fixed, f"{name}.{part}".lstrip(".")))
