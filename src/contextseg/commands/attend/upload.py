"""A picture file from a stranger: refused before it is decoded if it is too large or of an unusual kind."""

from pathlib import Path

import numpy as np
from PIL import Image

from contextseg.data.source import decoded, read_image
from contextseg.errors import ConfigError
from contextseg.viz import Picture

MOST_MEGABYTES = 20
MOST_MEGAPIXELS = 25  # a small file may hold far more
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP")  # as the content says; PIL runs another program for some others


def read_upload(path: Path) -> Picture:
    """The picture in a file as one sees it (EXIF orientation applied), uint8 (H, W, 3).

    Raises `ConfigError` if it cannot be decoded, is of none of `FORMATS` or has more than `MOST_MEGAPIXELS`.
    """
    try:
        head = decoded(path, pixels=False)
        if head.format not in FORMATS:
            raise ConfigError(f"{path} is a {head.format} file; give a PNG, JPEG, BMP, TIFF or WebP image")
        pixels = head.width * head.height
        if pixels > 1e6 * MOST_MEGAPIXELS:
            raise ConfigError(
                f"{path} has {pixels / 1e6:.0f} megapixels, more than {MOST_MEGAPIXELS}; give a smaller image"
            )
        return read_image(path, upright=True)
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(path), path.name)) from error  # the folder means nothing to the user


def scaled_down(image: Picture, longest_side: int) -> Picture:
    """Image uint8 (H, W, 3) -> the same, or if its longer side exceeds `longest_side`, scaled down to that."""
    small = Image.fromarray(image)
    small.thumbnail((longest_side, longest_side))
    return np.array(small)
