"""Uploaded pictures: refused before they are decoded if they are too large, and never written to the disk."""

from io import BytesIO

from contextseg.data.pixels import Reading, read_image, size
from contextseg.errors import ConfigError
from contextseg.viz import Picture

MAX_MEGABYTES = 20
MAX_MEGAPIXELS = 25  # a small file may hold far more


def read_upload(name: str, content: bytes, value_range: tuple[float, float] | None = None) -> Picture:
    """Read the content of a picture file, turned as its EXIF orientation says, uint8 (H, W, 3).

    `name` is for messages, `value_range` as in `Reading`. Raises `ConfigError` if it cannot be read, or has more than
    `MAX_MEGAPIXELS`.
    """
    file = BytesIO(content)
    try:
        height, width = size(file)
        if height * width > 1e6 * MAX_MEGAPIXELS:
            raise ConfigError(
                f"{name} has {height * width / 1e6:.0f} megapixels, more than {MAX_MEGAPIXELS}; give a smaller image"
            )
        return read_image(file, Reading(value_range, MAX_MEGAPIXELS, upright=True))
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(file), name)) from error
