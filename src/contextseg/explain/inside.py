"""The inside of a head on one image: regions, class probabilities, gates, features."""

from torch import Tensor

from contextseg.contract import Shown
from contextseg.explain.look import Look
from contextseg.segmenter import Segmenter


def inside_maps(network: Segmenter, image: Tensor) -> dict[str, Shown]:
    """Return the inside of the head (`Head.inside`) on an image uint8 (3, H, W), and how it is drawn.

    Numbers (n,) and maps (n, h, w) are on the CPU, in float32, by name. {} for a head without taps, an oracle, a head
    that takes one image size only, and one whose attention is local, so that each window has maps of its own.
    """
    return {} if network.head.needs_mask else Look(network, image).inside()
