"""Uploaded pictures: refused before they are decoded if they are too large."""

from pathlib import Path

import numpy as np
from PIL import Image

from contextseg.data.pixels import Reading, read_image, size
from contextseg.errors import ConfigError
from contextseg.viz import Picture

MAX_MEGABYTES = 20
MAX_MEGAPIXELS = 25  # a small file may hold far more


def read_upload(path: Path, value_range: tuple[float, float] | None = None) -> Picture:
    """Read the picture in a file, turned as its EXIF orientation says, uint8 (H, W, 3); `value_range` as in `Reading`.

    Raises `ConfigError` if it cannot be read, or has more than `MAX_MEGAPIXELS`.
    """
    try:
        height, width = size(path)
        if height * width > 1e6 * MAX_MEGAPIXELS:
            raise ConfigError(
                f"{path} has {height * width / 1e6:.0f} megapixels, more than {MAX_MEGAPIXELS}; give a smaller image"
            )
        return read_image(path, Reading(value_range, MAX_MEGAPIXELS, upright=True))
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(path), path.name)) from error  # the folder means nothing to the user


def scaled_down(image: Picture, longest_side: int) -> Picture:
    """Return an image uint8 (H, W, 3), scaled down to `longest_side` if its longer side exceeds that."""
    small = Image.fromarray(image)
    small.thumbnail((longest_side, longest_side))
    return np.array(small)
