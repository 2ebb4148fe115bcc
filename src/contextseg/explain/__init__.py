"""Explanations: the places that gave a pixel its context, the inside of a head, and pictures of both.

    Look(network, image)                   one pass over an image, asked about any of its pixels
    context_maps(network, image, point)    maps of the places that gave one pixel its context
    context_picture(image, labels, ...)    those maps as a sheet
    inside_maps(network, image)            what else the head computed: regions, class probabilities, gates, features
    inside_picture(inside, classes, ...)   the same as a picture
    receptive_field(network, image, point) which pixels of the image the score of one pixel depends on
    record_attention(model)                what passes through the taps of a model

A head declares what it shows, and how it is drawn, in `Head.attends` and `Head.inside` (`contract`).
"""

from contextseg.explain.context import context_maps
from contextseg.explain.draw_context import context_picture
from contextseg.explain.draw_inside import inside_picture
from contextseg.explain.field import receptive_field
from contextseg.explain.inside import inside_maps
from contextseg.explain.look import Look
from contextseg.explain.record import record_attention

__all__ = [
    "Look",
    "context_maps",
    "context_picture",
    "inside_maps",
    "inside_picture",
    "receptive_field",
    "record_attention",
]
