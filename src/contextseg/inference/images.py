"""The forms of an image: a path, a PIL image, a NumPy array or a tensor, alone or as a batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from contextseg.data.pixels import Reading, as_rgb, read_image
from contextseg.errors import ConfigError

Images = str | Path | Image.Image | np.ndarray | Tensor
SHAPES = "give uint8 pixels: a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W), one or a batch"


def is_batch(image: Images | Sequence[Images]) -> TypeGuard[Sequence[Images] | np.ndarray | Tensor]:
    """Tell whether several images are given: a list or tuple, an array (B, H, W, 3) or a tensor (B, 3, H, W)."""
    return image.ndim == 4 if isinstance(image, np.ndarray | Tensor) else isinstance(image, list | tuple)


def as_tensors(image: Images | Sequence[Images], reading: Reading) -> list[Tensor]:
    """Bring one image or a batch to uint8 tensors (3, H, W), RGB; `reading`: how a path and a PIL image are read.

    Raises `ConfigError` for anything else that is not uint8, saying how to convert it, and for a shape that is no
    image's.
    """
    if is_batch(image):
        return [_planes(one, reading) for one in image]
    return [_planes(image, reading)]


def _planes(image: object, reading: Reading) -> Tensor:
    if isinstance(image, str | Path):
        image = read_image(Path(image), reading)
    elif isinstance(image, Image.Image):
        image = as_rgb(image, "the PIL image", reading)
    if isinstance(image, np.ndarray):
        _refuse(str(image.dtype), image.shape, image.ndim == 3 and image.shape[-1] == 3, image.dtype == np.uint8)
        return torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
    if isinstance(image, Tensor):
        name = str(image.dtype).removeprefix("torch.")
        _refuse(name, tuple(image.shape), image.ndim == 3 and image.shape[0] == 3, image.dtype == torch.uint8)
        return image
    raise ConfigError(f"predict takes no {type(image).__name__}; {SHAPES}")


def _refuse(dtype: str, shape: tuple[int, ...], shape_fits: bool, is_uint8: bool) -> None:
    """Raise `ConfigError` unless pixels are uint8 in an image's shape."""
    if not is_uint8:
        if "float" in dtype:
            way = (
                "values in 0..1: (image * 255).round() as uint8; a normalised image: undo that, the network normalises"
            )
        elif "16" in dtype or "32" in dtype:
            way = "scale its range to 0..255 and convert to uint8, for 16 bits (image / 257).round()"
        else:
            way = "convert it to uint8"
        raise ConfigError(f"predict was given {dtype} pixels, but a network takes uint8, 0 to 255: {way}")
    if not shape_fits:
        raise ConfigError(f"predict was given an image of shape {shape}; {SHAPES}")
