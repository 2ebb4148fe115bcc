"""Ask a network where the context of a pixel came from and what its head computed, and draw the answers.

    context_maps(network, image, point)    maps of where one pixel's context came from
    context_picture(image, labels, ...)    those maps as a sheet
    inside_maps(network, image)            what else the head shows: regions, class probabilities, gates, features
    inside_picture(inside, classes, ...)   the same as a picture
    record_attention(model)                whatever passes through the taps of a model

What there is to see, and how it is drawn, the heads declare: `Head.context` and `Head.inside` in `contract`.
"""

from contextseg.explain.context import context_maps
from contextseg.explain.draw_context import context_picture
from contextseg.explain.draw_inside import inside_picture
from contextseg.explain.inside import inside_maps
from contextseg.explain.record import record_attention

__all__ = ["context_maps", "context_picture", "inside_maps", "inside_picture", "record_attention"]
