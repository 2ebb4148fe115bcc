"""The context of one pixel: maps of the places that it came from, for every head."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from contextseg.errors import ConfigError
from contextseg.explain.record import record_attention, taps
from contextseg.inference import padded
from contextseg.layers.resize import resize
from contextseg.segmenter import Segmenter


def context_maps(network: Segmenter, image: Tensor, point: tuple[int, int]) -> dict[str, Tensor]:
    """Find where the context of the pixel `point` (x, y) of an image uint8 (3, H, W) came from.

    Returns named maps (h, w) on the CPU, not negative, large where the context came from. The head's own attention
    comes first (`Head.context`), a map for each kind. Then comes "gradient": how much the score of the class predicted
    at that pixel depends on each place of the backbone's last map. It exists for every head, and shows pooling and
    large kernels too. A head that takes one image size only (`Head.window`) gets the window around the pixel; its maps
    are zero outside. Raises `ConfigError` if the pixel lies outside the image, or if the head needs the ground
    truth.
    """
    x, y = point
    height, width = image.shape[-2:]
    if not (0 <= x < width and 0 <= y < height):
        raise ConfigError(f"point={[x, y]} lies outside the image, which is {width} x {height} (width x height)")
    if network.head.needs_mask:
        raise ConfigError(f"{type(network.head).__name__} is an oracle: it needs the ground truth to predict")
    batch = image[None].to(network.backbone.mean.device)
    if network.head.window is None:
        return maps_of(network, batch, (y, x))
    canvas = padded(batch, network.head.window)
    rows, columns = (
        slice(start, start + side)
        for start, side in (
            (min(max(place - side // 2, 0), full - side), side)
            for place, side, full in zip((y, x), network.head.window, canvas.shape[-2:], strict=True)
        )
    )
    maps = maps_of(network, canvas[..., rows, columns], (y - rows.start, x - columns.start))
    whole = {}
    for name, small in maps.items():
        whole[name] = small.new_zeros(canvas.shape[-2:])
        whole[name][rows, columns] = resize(small[None, None], network.head.window)[0, 0]
    return {name: values[:height, :width] for name, values in whole.items()}


def maps_of(network: Segmenter, batch: Tensor, pixel: tuple[int, int]) -> dict[str, Tensor]:
    """Find the maps of a batch uint8 (1, 3, H, W) of a size that the head takes, for its pixel (row, column)."""
    nothing: AbstractContextManager[dict[str, list[Tensor]]] = nullcontext({})
    shows = taps(network.head) and network.head.local_side is None  # windows have maps of their own
    with torch.no_grad(), record_attention(network.head) if shows else nothing as recorded:
        height, width = network.logits(batch).shape[-2:]
    place = pixel[0] * height // batch.shape[-2], pixel[1] * width // batch.shape[-1]
    maps = network.head.context(recorded, place, (height, width)) if shows else {}
    return {name: values.float() for name, values in maps.items()} | {"gradient": gradient_map(network, batch, place)}


def gradient_map(network: Segmenter, batch: Tensor, place: tuple[int, int]) -> Tensor:
    """Compute the gradient (h, w) of the best score at `place` (row, column) of the logits, for a batch (1, 3, H, W).

    It is the square root of the norm over the channels; without the root, the pixel itself would hide all others.
    """
    row, column = place
    with torch.no_grad():
        *finer, last = network.backbone(batch)
    last.requires_grad_()
    scores = network.head(network.neck([*finer, last])).logits[0, :, row, column]  # (K,)
    (gradient,) = torch.autograd.grad(scores.max(), last)
    return gradient[0].norm(dim=0).sqrt().cpu()
