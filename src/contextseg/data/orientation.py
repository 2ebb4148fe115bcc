"""Which way up an image is: its pixels as stored, or turned as the camera's EXIF orientation says."""

from collections.abc import Sequence

import numpy as np
from PIL import ImageFile

from contextseg.errors import ConfigError

TAG = 0x0112  # of EXIF: 1 as stored, 2 to 4 mirrored or upside down, 5 to 8 turned by a quarter
UNDONE_BY = {6: 8, 8: 6}  # others undo themselves


class Turned(ConfigError):
    """An image whose EXIF orientation does not agree with its mask, or may not."""


def orientation(picture: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation of a picture, 1 to 8, without reading its pixels."""
    if picture.format == "PNG" and "exif" not in picture.info:  # PIL would read them, to look behind them
        return 1
    found = picture.getexif().get(TAG, 1)
    return found if found in range(1, 9) else 1


def stored_size(picture: ImageFile.ImageFile) -> tuple[int, int]:
    """Return height and width as stored, of a picture whose pixels are not read."""
    followed = picture.format == "TIFF" and orientation(picture) >= 5
    return picture.size if followed else picture.size[::-1]


def is_turned(
    picture: ImageFile.ImageFile, upright: bool | None, like: Sequence[int] | None, name: object, option: str | None
) -> bool:
    """Tell whether a picture is to be turned as its orientation says: if `upright`, or with None, if `like` is so.

    `like`: (height, width) of its mask. Raises `Turned` if None is given and that does not decide.
    """
    turn = orientation(picture)
    if turn == 1 or upright is not None or like is None:
        return turn != 1 and bool(upright)
    stored = stored_size(picture)
    if turn >= 5 and stored[0] != stored[1]:
        return tuple(like) == stored[::-1]
    raise Turned(
        f"{name} has EXIF orientation {turn}, as which viewers show it, and its mask fits either way; give "
        f"{option}upright=true if masks were drawn on images as viewers show them, false if on the pixels as stored"
    )


def turned(image: np.ndarray, turn: int) -> np.ndarray:
    """Turn an image (H, W, ...) as an EXIF orientation says, 1 to 8."""
    if turn in (2, 3, 6, 7):
        image = image[:, ::-1] if turn in (2, 3) else image[::-1]
    if turn in (3, 4, 7, 8):
        image = image[::-1] if turn in (3, 4) else image[:, ::-1]
    return (image.swapaxes(0, 1) if turn >= 5 else image).copy()  # a turned row of one pixel counts as contiguous


def as_wanted(image: np.ndarray, turn: int, is_upright: bool, wanted: bool) -> np.ndarray:
    """Turn an image (H, W, ...), or turn it back, unless it `is_upright` just as it is `wanted`."""
    if turn == 1 or is_upright == wanted:
        return image
    return turned(image, turn if wanted else UNDONE_BY.get(turn, turn))
