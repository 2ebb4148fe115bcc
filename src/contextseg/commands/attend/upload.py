"""Uploaded pictures: refused before they are decoded if they are too large or of an unusual format."""

from pathlib import Path

import numpy as np
from PIL import Image

from contextseg.data.source import decoded, read_image
from contextseg.errors import ConfigError
from contextseg.viz import Picture

MAX_MEGABYTES = 20
MAX_MEGAPIXELS = 25  # a small file may hold far more
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP")  # by content; for some others PIL runs another program


def read_upload(path: Path) -> Picture:
    """Read the picture in a file, turned as its EXIF orientation says, uint8 (H, W, 3).

    Raises `ConfigError` if it cannot be decoded, is of none of `FORMATS` or has more than `MAX_MEGAPIXELS`.
    """
    try:
        head = decoded(path, pixels=False)
        if head.format not in FORMATS:
            raise ConfigError(f"{path} is a {head.format} file; give a PNG, JPEG, BMP, TIFF or WebP image")
        pixels = head.width * head.height
        if pixels > 1e6 * MAX_MEGAPIXELS:
            raise ConfigError(
                f"{path} has {pixels / 1e6:.0f} megapixels, more than {MAX_MEGAPIXELS}; give a smaller image"
            )
        return read_image(path, upright=True)
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(path), path.name)) from error  # the folder means nothing to the user


def scaled_down(image: Picture, longest_side: int) -> Picture:
    """Return an image uint8 (H, W, 3), scaled down to `longest_side` if its longer side exceeds that."""
    small = Image.fromarray(image)
    small.thumbnail((longest_side, longest_side))
    return np.array(small)
