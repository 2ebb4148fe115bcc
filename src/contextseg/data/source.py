"""Sources of image and mask pairs: their base, and those that read files."""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageOps

from contextseg.contract import IGNORE_INDEX
from contextseg.errors import ConfigError

# the errors of PIL for a file that it cannot decode; a broken PNG is a SyntaxError
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}  # of picture files, in lower case
Sample = tuple[np.ndarray, np.ndarray, str]  # image uint8 (H, W, 3), mask uint8 (H, W), name
File = Path | BytesIO  # of a mask; messages show it as text
NUM_BLOCKS, BLOCK_BYTES = 64, 2**14  # that the fingerprint of a large file reads


class Source:
    """Give checked samples (image, mask, name) by index. A subclass writes `__len__` and `load`."""

    unpaired: Mapping[str, Sequence[Path]] = {}  # files without a partner, by what is missing: mask, image
    labelled: ClassVar[bool] = True  # else every mask is void: the labels are kept back

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def __len__(self) -> int:
        raise NotImplementedError

    def load(self, index: int) -> Sample:
        """Return image uint8 (H, W, 3) RGB, mask uint8 (H, W) of train ids, void 255, and a name, unchecked."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """Return the name of a sample."""
        return self.load(index)[2]

    def where(self, index: int) -> str:
        """Return the name of the mask of a sample in error messages."""
        return f"mask {index} of {type(self).__name__}"

    def files(self, index: int) -> tuple[Path, Path] | None:
        """Return the files of the image and of the mask; None where there are none."""
        return None

    def size(self, index: int) -> tuple[int, int] | None:
        """Return height and width of the image, or None if they are not known without reading it."""
        return None

    def fingerprint(self, index: int) -> str:
        """Return 16 hex digits that identify the image's content, the same on every machine."""
        return digest(self.load(index)[0].tobytes())

    def read(self, index: int) -> Sample:
        """Load and check a sample. Raises `ConfigError` if the sizes differ or a label is no train id and not 255."""
        image, mask, name = self.load(index)
        self.check_size(index, image.shape[:2], mask)
        self.check_labels(index, mask)
        return image, mask, name

    def read_mask(self, index: int) -> tuple[np.ndarray, str]:
        """Load and check the mask uint8 (H, W) of a sample, without its image where that is possible; and its name."""
        _, mask, name = self.read(index)
        return mask, name

    def check_size(self, index: int, size: Sequence[int], mask: np.ndarray) -> None:
        """Raise `ConfigError` unless an image of `size` (height, width) and its mask (H, W) have one size."""
        if tuple(size) != mask.shape:
            raise ConfigError(
                f"{self.where(index)} has size {mask.shape[1]}x{mask.shape[0]} and its image "
                f"{size[1]}x{size[0]} (width x height); give both the same size"
            )

    def check_labels(self, index: int, mask: np.ndarray) -> None:
        """Raise `ConfigError` if a label of the mask (H, W) is no train id and not 255."""
        wrong = (mask >= self.num_classes) & (mask != IGNORE_INDEX)
        if wrong.any():
            raise ConfigError(
                f"{self.where(index)}: labels {counted(mask[wrong])} are outside "
                f"0..{self.num_classes - 1} and not 255; map them to train ids, or to 255 to ignore them"
            )


class FileSource(Source):
    """Read pairs of an image file and a mask file. `labels` reads a mask: path -> uint8 (H, W) of train ids, 255 void.

    `names` of the samples: by default those of the image files without ending. `unpaired`: files without a partner, by
    what is missing.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        num_classes: int,
        *,
        labels: Callable[[Path], np.ndarray],
        names: Sequence[str] | None = None,
        unpaired: Mapping[str, Sequence[Path]] | None = None,
    ):
        super().__init__(num_classes)
        self.unpaired = unpaired or {}
        self.pairs = list(pairs)
        self.labels = labels
        self.names = [image.stem for image, _ in self.pairs] if names is None else list(names)

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image, mask = self.pairs[index]
        return read_image(image), self.labels(mask), self.names[index]

    def read_mask(self, index: int) -> tuple[np.ndarray, str]:
        mask = self.labels(self.pairs[index][1])
        self.check_size(index, self.size(index), mask)
        self.check_labels(index, mask)
        return mask, self.names[index]

    def name(self, index: int) -> str:
        return self.names[index]

    def where(self, index: int) -> str:
        return str(self.pairs[index][1])

    def files(self, index: int) -> tuple[Path, Path]:
        return self.pairs[index]

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width from the file's header. Raises `ConfigError` if it cannot be read."""
        return decoded(self.pairs[index][0], pixels=False).size[::-1]

    def fingerprint(self, index: int) -> str:
        """Return a digest of the image file, all of it up to 1 MiB.

        For a larger file: of its size and 64 blocks of 16 KiB, evenly spread. Raises `ConfigError` if it is unreadable.
        """
        path = self.pairs[index][0]
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                if size <= NUM_BLOCKS * BLOCK_BYTES:
                    return digest(file.read())
                parts = [str(size).encode()]
                for number in range(NUM_BLOCKS):
                    file.seek((size - BLOCK_BYTES) * number // (NUM_BLOCKS - 1))
                    parts.append(file.read(BLOCK_BYTES))
                return digest(*parts)
        except OSError as error:
            raise ConfigError(f"cannot read {path} ({error}); replace the file by an intact copy") from error


class Unlabelled(FileSource):
    """Read image files of a split whose labels are kept back: every mask is void. `names` as in `FileSource`."""

    labelled = False

    def __init__(self, images: Sequence[Path], num_classes: int, *, names: Sequence[str] | None = None):
        super().__init__([(image, image) for image in images], num_classes, labels=_void, names=names)


def _void(image: Path) -> np.ndarray:
    return np.full(decoded(image, pixels=False).size[::-1], IGNORE_INDEX, np.uint8)


def digest(*parts: bytes) -> str:
    """Return 16 hex digits of the content."""
    return blake2b(b"".join(parts), digest_size=8).hexdigest()


def counted(values: np.ndarray, max_shown: int = 5) -> str:
    """List the values of (N,) or (N, 3) in words, the most frequent first: "12, 37 (40, 8 pixels)"."""
    values, counts = np.unique(values, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:max_shown]
    more = f" and {len(counts) - max_shown} more" if len(counts) > max_shown else ""
    shown = ", ".join(str(values[place].tolist()) for place in order)
    return f"{shown}{more} ({', '.join(str(counts[place]) for place in order)} pixels)"


def read_image(path: Path, upright: bool = False) -> np.ndarray:
    """Read the picture in a file, uint8 (H, W, 3) RGB. Raises `ConfigError` if it cannot be decoded.

    Grey becomes three equal channels, 16 bits are scaled to 8, transparency is dropped, CMYK and palettes become RGB.
    Pixels lie as stored, because a mask does too; `upright` turns them as the camera's EXIF orientation says.
    """
    return as_rgb(decoded(path, upright), path)


def as_rgb(image: Image.Image, name: object) -> np.ndarray:
    """Bring a PIL image to uint8 (H, W, 3) RGB, as `read_image` does; `name` is for the error message."""
    if image.mode == "F" or (image.mode == "I" and np.asarray(image).max() >= 2**16):
        raise ConfigError(f"{name} has mode {image.mode}, values beyond 16 bits; save it with 8 bits per channel")
    if image.mode.startswith("I"):
        grey = (np.array(image).astype(np.float32) / 257).round().clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def decoded(path: File, upright: bool = False, pixels: bool = True) -> Image.Image:
    """Open a picture file and load its pixels, or only its header (`pixels` false).

    Pixels lie as stored unless `upright`, which a TIFF always is. Raises `ConfigError` if the file is damaged.
    """
    try:
        with Image.open(path) as file:
            if pixels:
                file.load()
            return ImageOps.exif_transpose(file) if upright else file
    except UNREADABLE as error:
        raise ConfigError(f"cannot read {path} ({error}); replace the file by an intact copy") from error
