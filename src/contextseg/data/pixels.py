"""The rule by which picture files become pixels, for images and masks alike, in every command: right, or refused.

One picture per file, of a known kind and limited size, decoded as a whole. Images become 8-bit RGB; what is beyond 8
bits is scaled by a range of values. Masks keep the numbers that were stored, so their file must keep them too.
"""

import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from contextseg.data import depth, orientation
from contextseg.data.limits import MAX_MEGAPIXELS, ValueRange, way_out
from contextseg.errors import ConfigError
from contextseg.folders import refuse_irregular

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}  # of picture files, in lower case
# by content, whatever the suffix; for some others PIL runs another program
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "AVIF")  # the last two at least by default
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
PACKED = {"L;2": 85, "L;4": 17}  # grey of 2 and 4 bits, which PIL multiplies
MAX_WHOLE = 2**22  # pixels; a larger image is converted in bands
BAND = 256  # rows at a time
# the errors of PIL for a file that it cannot decode; a broken PNG is a SyntaxError
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError),
    *(TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError, RuntimeError),
)

File = Path | BytesIO  # messages show it as text
_limit = threading.Lock()  # of PIL's limit of pixels, a global


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    value_range     the values that become 0 and 255, where a file has more than 8 bits per channel; None: 0 and 65535,
                    and a file that uses little of that is refused
    max_megapixels  a larger picture is refused, unread
    upright         pixels are turned as the camera's EXIF orientation says; None: if the mask is
    option          prefix of these names in messages: "data." where they are options of a data set; None where they
                    are no options, as with published data
    """

    value_range: ValueRange | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    upright: bool | None = False
    option: str | None = ""


AS_STORED = Reading(option=None)


class Unusable(ConfigError):
    """A picture file that cannot be read, or whose pixels are not certain."""


class Header(NamedTuple):
    """What a picture file says of itself."""

    mode: str  # PIL's, and "transparent" behind it if a colour stands for that
    size: tuple[int, int]  # height, width, as stored
    turn: int  # EXIF orientation


def read_image(path: File, reading: Reading = AS_STORED, like: Sequence[int] | None = None) -> np.ndarray:
    """Read the picture in a file, uint8 (H, W, 3) RGB; `like`: height and width of its mask, if there is one.

    Grey becomes three equal channels, transparency is dropped, CMYK and palettes become RGB. Raises `ConfigError` if
    the file is damaged or no regular one, holds several pages, or is too large, for values without a range, and if it
    is not certain which way up it is.
    """
    with opened(path, reading.max_megapixels, reading.option) as picture:
        _check_sums(picture, path)
        deep, turn = is_deep(picture), orientation.orientation(picture)
        upright = orientation.is_turned(picture, reading.upright, like, path, reading.option)
        by_itself = picture.format == "TIFF"  # PIL and OpenCV turn it
        if deep:
            image = depth.to_bytes(_deep(picture, path), reading.value_range, path, reading.option)
        else:
            image = _rgb(picture)
        return orientation.as_wanted(image, turn, by_itself, upright)


def as_rgb(picture: Image.Image, name: object, reading: Reading) -> np.ndarray:
    """Bring a PIL image to uint8 (H, W, 3) RGB, as `read_image` does; `name` is for the message of a `ConfigError`."""
    if isinstance(picture, ImageFile.ImageFile) and ";16" in _raw_mode(picture) and picture.mode[0] not in "IF":
        raise Unusable(f"{name} has 16 bits per channel, of which PIL keeps 8; give its path")
    try:
        if picture.mode.startswith(("I", "F")):
            turned = ImageOps.exif_transpose(picture) if reading.upright else picture
            return depth.to_bytes(np.asarray(turned), reading.value_range, name, reading.option)
        return _rgb(ImageOps.exif_transpose(picture) if reading.upright else picture)
    except ConfigError:
        raise
    except UNREADABLE as error:
        raise Unusable(f"cannot read {name} ({error}); convert it to RGB") from error


def raw_values(path: File, reading: Reading = AS_STORED) -> np.ndarray | None:
    """Return the values (H, W) or (H, W, 3) of a file with more than 8 bits per channel; None for any other."""
    with opened(path, reading.max_megapixels, reading.option) as picture:
        _check_sums(picture, path)
        return _deep(picture, path) if is_deep(picture) else None


def header(path: File) -> Header:
    """Return what a picture file says of itself, whatever its size. Raises `ConfigError` if it cannot be read."""
    with opened(path, float("inf")) as picture:
        mode = f"{picture.mode} transparent" if "transparency" in picture.info else picture.mode
        return Header(mode, orientation.stored_size(picture), orientation.orientation(picture))


def size(path: File) -> tuple[int, int]:
    """Return height and width from a file's header, as stored. Raises `ConfigError` if it cannot be read."""
    with opened(path, float("inf")) as picture:
        return orientation.stored_size(picture)


def read_mask(path: File, reading: Reading = AS_STORED, shown: bool = False) -> Image.Image:
    """Read the picture of a mask, its numbers as stored, whatever their palette and bits; or the colours `shown`.

    Of `reading`, the limit of size counts. Raises `ConfigError` as `read_image` does, and for a file that does not keep
    numbers: compressed with losses, of 16 bits per channel in colour, or with white stored as 0.
    """
    with opened(path, reading.max_megapixels, reading.option) as picture:
        _check_sums(picture, path)
        if kind := _lossy(picture, path):
            raise Unusable(
                f"{path} is {kind}, which changes labels, and a mask holds exact ones; write it anew from its source, "
                "as PNG (a copy of this file keeps the changed labels)"
            )
        raw = _raw_mode(picture)
        if picture.mode == "L" and raw.endswith("I"):
            raise Unusable(f"{path} stores white as 0 (a TIFF, WhiteIsZero), so its labels are ambiguous; use PNG")
        if is_deep(picture) and not picture.mode.startswith(("I", "F")):
            raise Unusable(f"{path} has 16 bits per channel, but the colours of a mask have 8; save it with 8")
        if (turn := orientation.orientation(picture)) != 1:
            raise Unusable(f"{path} has EXIF orientation {turn}, and a mask is read as stored; save it without")
        picture.load()
        packed = picture.mode == "L" and raw in PACKED and not shown
        return picture.point(lambda value: value // PACKED[raw]) if packed else picture


def one_colour(image: np.ndarray) -> bool:
    """Tell whether an image (H, W, 3) shows a single colour: it is found again in any split, and gives nothing away."""
    return bool((image == image[:1, :1]).all())


@contextmanager
def opened(path: File, max_megapixels: float, option: str | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open a picture file, its pixels unread. What goes wrong inside is a `ConfigError`, as `read_image` says."""
    try:
        # from an open file: of a name PIL maps the bytes, and scrambles a TIFF that is turned by a quarter
        with _bytes_of(path) as file, _open(file) as picture:
            megapixels = picture.width * picture.height / 1e6
            if megapixels > max_megapixels:
                way = way_out(option, f"max_megapixels={np.ceil(megapixels):g}")
                raise Unusable(
                    f"{path} has {megapixels:.0f} megapixels, more than {max_megapixels:g}; if the file can be "
                    f"trusted, {way}; the memory needed is about 10 bytes per pixel"
                )
            _refuse_pages(picture, path)
            yield picture
    except ConfigError:
        raise
    except UnidentifiedImageError as error:
        raise Unusable(
            f"cannot read {path} (cannot identify image file: damaged, or no {', '.join(FORMATS)} of a known kind); "
            "replace the file by an intact copy, or save it as PNG with 8 bits per channel"
        ) from error
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise Unusable(f"cannot read {path} ({reason}); replace the file by an intact copy") from error


def is_deep(picture: ImageFile.ImageFile) -> bool:
    """Tell whether a picture, its pixels unread, has more than 8 bits per channel."""
    return picture.mode.startswith(("I", "F")) or ";16" in _raw_mode(picture)


def _bytes_of(path: File) -> IO[bytes]:
    if isinstance(path, BytesIO):
        return BytesIO(path.getbuffer())
    refuse_irregular(path)
    return path.open("rb")


def _open(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a picture by any of our formats, under no limit but ours."""
    Image.init()
    with _limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_sums(picture: ImageFile.ImageFile, path: File) -> None:
    """Raise `OSError` for a PNG of which a byte has changed: PIL does not look at the checksums of its pixels."""
    if picture.format != "PNG":
        return
    with _bytes_of(path) as file:
        data = memoryview(file.read())
    place, kind = 8, b""  # behind the signature: chunks of a length, a kind, so many bytes, and their checksum
    while kind != b"IEND" and place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8].tobytes().ljust(8))
        end = place + 8 + length
        if end + 4 > len(data):
            raise OSError("image file is truncated")
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise OSError(f"its part {kind.decode('latin-1')} at byte {place} is not as it was written")
        place = end + 4


def _refuse_pages(picture: ImageFile.ImageFile, path: File) -> None:
    """Raise `ConfigError` for a file of several pages; previews, which JPEG and TIFF may hold, are none."""
    count = getattr(picture, "n_frames", 1)
    if count == 1 or picture.format == "MPO":
        return
    if isinstance(picture, TiffImageFile):
        kinds = []
        for page in range(1, count):
            picture.seek(page)
            kinds.append(picture.tag_v2.get(254, 0))
        picture.seek(0)
        count = 1 + sum(not kind & 0b101 for kind in kinds)  # 1: reduced in size, 4: transparency
    if count > 1:
        raise Unusable(
            f"{path} has {count} pages (0 to {count - 1}), and none is preferred; save the one that is meant as a file "
            "of its own, or pages of one class each as one mask of class numbers"
        )


def _raw_mode(picture: ImageFile.ImageFile) -> str:
    """Return how the pixels are stored, by PIL's name: "RGB;16B"; "" if that is not known."""
    if not picture.tile:
        return ""
    arguments = picture.tile[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _deep(picture: ImageFile.ImageFile, path: File) -> np.ndarray:
    """Return the values of a picture with more than 8 bits, (H, W) or (H, W, 3)."""
    if picture.mode.startswith(("I", "F")):
        return np.array(picture)
    with _bytes_of(path) as file:
        return depth.colours(file.read())


def _rgb(picture: Image.Image) -> np.ndarray:
    """Return uint8 (H, W, 3); of a large picture in 7 bytes per pixel instead of 14: there is no third copy."""
    clear = "transparency" in picture.info
    if clear or picture.mode not in ("RGB", "L") or picture.width * picture.height <= MAX_WHOLE:
        return np.array((picture.convert("RGBA") if clear else picture).convert("RGB"))
    picture.load()  # which turns a TIFF
    image = np.empty((picture.height, picture.width, 3), np.uint8)
    for top in range(0, picture.height, BAND):
        band = picture.crop((0, top, picture.width, min(top + BAND, picture.height)))
        image[top : top + BAND] = np.asarray(band.convert("RGB"))
    return image


def _lossy(picture: ImageFile.ImageFile, path: File) -> str:
    """Name the lossy compression of a picture file, its pixels unread; "" if there is none."""
    if picture.format in LOSSY_FORMATS:
        return f"a {'JPEG' if picture.format == 'MPO' else picture.format}"
    if picture.format == "TIFF" and (kind := picture.info.get("compression")) in LOSSY_TIFF:
        return f"a TIFF compressed as {kind.removeprefix('tiff_').upper()}"
    if picture.format == "WEBP":
        with _bytes_of(path) as file:
            data = file.read()
        place = 12  # after "RIFF", size, "WEBP": chunks of a name, a size, an even number of bytes
        while place + 8 <= len(data):
            if data[place : place + 4] == b"VP8 ":
                return "a lossy WebP"
            length = int.from_bytes(data[place + 4 : place + 8], "little")
            place += 8 + length + length % 2
    return ""
