"""The context of one pixel: maps of the places that it came from, for every head."""

from torch import Tensor

from contextseg.explain.look import Look
from contextseg.layers.resize import resize
from contextseg.segmenter import Segmenter


def context_maps(network: Segmenter, image: Tensor, point: tuple[int, int]) -> dict[str, Tensor]:
    """Find where the context of the pixel `point` (x, y) of an image uint8 (3, H, W) came from.

    Returns named maps (h, w) on the CPU, not negative, large where the context came from. The head's own attention
    comes first (`Head.attends`), a map for each kind. Then comes "gradient": how much the score of the class predicted
    at that pixel depends on each place of the backbone's last map. It exists for every head, and shows pooling and
    large kernels too. A network that takes one image size only (`Segmenter.window`) gets a window around the pixel; its
    maps are zero outside. Raises `ConfigError` if the pixel lies outside the image, or if the head needs the ground
    truth.
    """
    return maps_of(Look(network, image), point)


def maps_of(look: Look, point: tuple[int, int]) -> dict[str, Tensor]:
    """Return the same maps from a look that may have been asked before."""
    (own, (rows, columns)), (gradient, _) = look.context(point), look.gradient(point)
    if look.network.window is None:
        return own | gradient
    (height, width), whole = look.size, {}
    for name, small in (own | gradient).items():
        canvas = small.new_zeros(look.canvas.shape[-2:])
        canvas[rows, columns] = resize(small[None, None], look.network.window)[0, 0]
        whole[name] = canvas[:height, :width]
    return whole
