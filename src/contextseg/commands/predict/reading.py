"""Reading image files of any kind and size with little memory."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from contextseg.data.source import UNREADABLE, read_image
from contextseg.errors import ConfigError

MAX_WHOLE = 2**22  # pixels; a larger image is read in bands
BAND = 256  # rows at a time


def read(path: Path, max_megapixels: float) -> np.ndarray:
    """Read the picture in a file, turned as its EXIF orientation says, uint8 (H, W, 3) RGB.

    Raises `ConfigError` if it cannot be decoded, or has more pixels than `max_megapixels` million.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our own limit replaces PIL's
    try:
        try:
            with Image.open(path) as file:
                pixels = file.width * file.height
                if pixels > 1e6 * max_megapixels:
                    raise ConfigError(
                        f"{path} has {pixels / 1e6:.0f} megapixels, more than max_megapixels={max_megapixels:g}: "
                        "raise that if the file can be trusted; the memory needed is about 10 bytes per pixel"
                    )
                if pixels > MAX_WHOLE and file.mode in ("RGB", "L") and "transparency" not in file.info:
                    return _in_bands(file)
        except UNREADABLE as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"cannot read {path} ({error}); replace the file by an intact copy") from error
        return read_image(path, upright=True)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _in_bands(file: Image.Image) -> np.ndarray:
    """Read as `read_image` does, in 7 bytes per pixel instead of 14: there is no third copy."""
    ImageOps.exif_transpose(file, in_place=True)
    image = np.empty((file.height, file.width, 3), np.uint8)
    for top in range(0, file.height, BAND):
        band = file.crop((0, top, file.width, min(top + BAND, file.height)))
        image[top : top + BAND] = np.asarray(band.convert("RGB"))
    return image
