"""The inside of a head on one image: regions, class probabilities, gates, features."""

import torch
from torch import Tensor

from contextseg.contract import Shown
from contextseg.explain.record import record_attention, taps
from contextseg.segmenter import Segmenter


def inside_maps(network: Segmenter, image: Tensor) -> dict[str, Shown]:
    """Return the inside of the head (`Head.inside`) on an image uint8 (3, H, W), and how it is drawn.

    Numbers (n,) and maps (n, h, w) are on the CPU, in float32, by name. {} for a head without taps, an oracle, a head
    that takes one image size only, and one whose attention is local, so that each window has maps of its own.
    """
    head = network.head
    if head.needs_mask or head.window or head.local_side or not taps(head):
        return {}
    with torch.no_grad(), record_attention(head) as recorded:
        height, width = network.logits(image[None].to(network.backbone.mean.device)).shape[-2:]
    shown = head.inside(recorded, (height, width))
    return {name: one._replace(values=one.values.float()) for name, one in shown.items()}
