"""The order in which maps are concatenated: always the same in our networks, sometimes reversed in other weights.

It orders the input channels of the layers that follow and changes no number beyond rounding. Released files
(`commands/convert`) and checkpoints of format 1 (`recipe`) are brought to our order here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names of the settings are needed before torch is loaded
    from torch import Tensor

Blocks = int | Sequence[int]  # how many of one size, or their sizes in the order that is to be reversed
Rules = Iterable[tuple[str, Blocks]]  # (regular expression of a weight's name, its blocks)


def reordered(name: str, weight: "Tensor", rules: Rules) -> "Tensor":
    """Return a weight, its blocks of input channels in reverse order if a rule's expression is found in `name`.

    Input channels are the second axis, or the first of a weight with one number or kernel per channel (norms,
    depth-wise convolutions). A single number stays as it is.
    """
    for pattern, blocks in rules:
        if weight.ndim and re.search(pattern, name):
            axis = 1 if weight.ndim > 1 and weight.shape[1] > 1 else 0
            order = reversed_blocks(weight.shape[axis], blocks)
            return weight.clone().copy_(weight[order] if axis == 0 else weight[:, order])  # in its memory format
    return weight


def reversed_blocks(channels: int, blocks: Blocks) -> list[int]:
    """Return the indices of `channels` channels, block by block from the last to the first. Raises `ValueError`."""
    sizes = [channels // blocks] * blocks if isinstance(blocks, int) else blocks
    if sum(sizes) != channels:
        raise ValueError(f"blocks {blocks} do not make {channels} channels")
    ends = accumulate(sizes)
    return [index for end, size in [*zip(ends, sizes, strict=True)][::-1] for index in range(end - size, end)]


@dataclass(frozen=True)
class RetiredSetting:
    """Describe a setting of format 1 that chose the order. Now there is one order, that of the value `kept`.

    layer    the convolution whose shape (out, in) shows the blocks, if the network has it
    blocks   the blocks by that shape, for a network of the other value
    weights  regular expression of all weights that are ordered alike; None: the weight of `layer`
    """

    name: str
    kept: bool
    layer: str
    blocks: Callable[[int, int], Blocks]
    weights: str | None = None


CONTEXT = RetiredSetting("context_first", False, "segmenter.head.fuse.0", lambda out, width: width // out)
CCNET = RetiredSetting("context_first", True, "segmenter.head.fuse.0", lambda out, width: (width - out, out))
PYRAMID = RetiredSetting("coarse_first", False, "segmenter.head.fusion.fuse.0", lambda out, width: 2 * width // out)
STACK = RetiredSetting(
    "coarse_first",
    False,
    "segmenter.neck.dilated.0.1.0",
    lambda out, width: width // out,
    r"^segmenter\.neck\.dilated\.\d\.(0\.|1\.0\.)",
)
RETIRED = {
    "OCRHead": CONTEXT,
    "OCRGroundTruthHead": CONTEXT,
    "CTNetHead": CONTEXT,
    "CCNetHead": CCNET,
    "FPNHead": PYRAMID,
    "AGLNHead": PYRAMID,
    "JPU": STACK,
}


def retired_rules(part: str, node: Mapping[str, Any], weights: Mapping[str, "Tensor"]) -> Rules:
    """Return the rules by which the weights of a network of format 1 come to the present order.

    `part`: the short name of its head or neck. `node`: its settings. `weights`: those of the checkpoint, by name.
    """
    setting = RETIRED.get(part)
    if setting is None or node.get(setting.name) in (None, setting.kept):
        return []
    weight = f"{setting.layer}.weight"
    if weight not in weights:
        return []
    blocks = setting.blocks(*weights[weight].shape[:2])
    return [(setting.weights or f"^{re.escape(weight)}$", blocks)]
