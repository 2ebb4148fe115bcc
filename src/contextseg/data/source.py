"""Sources of image and mask pairs: their base, and those that read files."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

import numpy as np

from contextseg.contract import IGNORE_INDEX
from contextseg.data import pixels
from contextseg.data.orientation import Turned
from contextseg.data.pixels import AS_STORED, Reading
from contextseg.errors import ConfigError
from contextseg.folders import refuse_irregular

Sample = tuple[np.ndarray, np.ndarray, str]  # image uint8 (H, W, 3) or clip (T, H, W, 3), mask uint8 (H, W), name
NUM_BLOCKS, BLOCK_BYTES = 64, 2**14  # that the fingerprint of a large file reads


class Source:
    """Give checked samples (image, mask, name) by index. A subclass writes `__len__` and `load`."""

    unpaired: Mapping[str, Sequence[Path]] = {}  # files without a partner, by what is missing: mask, image
    labelled: ClassVar[bool] = True  # else every mask is void: the labels are kept back
    drawn: bool = False  # by a function, so that what holds for some samples holds for all
    frames: int = 1  # T: of the clip that a network is shown of a sample

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

    def read_clip(self, index: int) -> Sample:
        """Read a sample as a network is shown it: the image, or the clip of which it is the middle frame."""
        return self.read(index)

    @property
    def images(self) -> "Source":
        """Return the source of all frames, of which `places` chooses."""
        return self

    def places(self, index: int) -> Sequence[int]:
        """Return the indices in `images` of the frames of a sample's clip; an image is its only one."""
        return (index,)

    def check_size(self, index: int, size: Sequence[int], mask: np.ndarray) -> None:
        """Raise `ConfigError` unless an image of `size` (height, width) and its mask (H, W) have one size."""
        check_size(size, mask, self.where(index))

    def check_labels(self, index: int, mask: np.ndarray) -> None:
        """Raise `ConfigError` if a label of the mask (H, W) is no train id and not 255."""
        check_labels(mask, self.num_classes, self.where(index))


class FileSource(Source):
    """Read pairs of an image file and a mask file. `labels` reads a mask: path -> uint8 (H, W) of train ids, 255 void.

    `names` of the samples: by default those of the image files without ending. `unpaired`: files without a partner, by
    what is missing. `reading`: how image files are read.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        num_classes: int,
        *,
        labels: Callable[[Path], np.ndarray],
        names: Sequence[str] | None = None,
        unpaired: Mapping[str, Sequence[Path]] | None = None,
        reading: Reading = AS_STORED,
    ):
        super().__init__(num_classes)
        self.reading = reading
        self.unpaired = unpaired or {}
        self.pairs = list(pairs)
        self.labels = labels
        self.names = [image.stem for image, _ in self.pairs] if names is None else list(names)

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image, mask = self.pairs[index][0], self.labels(self.pairs[index][1])
        return pixels.read_image(image, self.reading, mask.shape), mask, self.names[index]

    def read_mask(self, index: int) -> tuple[np.ndarray, str]:
        mask = self.labels(self.pairs[index][1])
        self.check_size(index, self.size(index), mask)
        self.check_labels(index, mask)
        return mask, self.names[index]

    def check_size(self, index: int, size: Sequence[int], mask: np.ndarray) -> None:
        """Raise `ConfigError` unless image and mask have one size; `Turned` if EXIF orientation is the reason."""
        image = self.pairs[index][0]
        if mask.shape == tuple(size)[::-1] != tuple(size) and (turn := pixels.header(image).turn) >= 5:
            only = "its pixels are as stored" if self.reading.upright else "it is turned as that says"
            raise Turned(
                f"{image} has EXIF orientation {turn}, and fits its mask only when {only}; turn the image itself and "
                "save it without the tag (PIL.ImageOps.exif_transpose), or with data=folder give data.upright=null"
            )
        super().check_size(index, size, mask)

    def name(self, index: int) -> str:
        return self.names[index]

    def where(self, index: int) -> str:
        return str(self.pairs[index][1])

    def files(self, index: int) -> tuple[Path, Path]:
        return self.pairs[index]

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width, by the file's header if that is enough. Raises `ConfigError` if it is unreadable."""
        header = pixels.header(self.pairs[index][0])
        return header.size if header.turn < 5 or self.reading.upright is False else self.load(index)[0].shape[:2]

    def fingerprint(self, index: int) -> str:
        """Return a digest of the image file, all of it up to 1 MiB.

        For a larger file: of its size and 64 blocks of 16 KiB, evenly spread. Raises `ConfigError` if it is unreadable.
        """
        path = self.pairs[index][0]
        try:
            refuse_irregular(path)
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
    return np.full(pixels.size(image), IGNORE_INDEX, np.uint8)


def check_size(size: Sequence[int], mask: np.ndarray, name: str) -> None:
    """Raise `ConfigError` unless an image of `size` (height, width) and the mask (H, W) of this name have one size."""
    if tuple(size) != mask.shape:
        raise ConfigError(
            f"{name} has size {mask.shape[1]}x{mask.shape[0]} and its image {size[1]}x{size[0]} (width x height); "
            "give both the same size"
        )


def check_labels(mask: np.ndarray, num_classes: int, name: str) -> None:
    """Raise `ConfigError` if a label of the mask (H, W) of this name is no train id and not 255."""
    wrong = (mask >= num_classes) & (mask != IGNORE_INDEX)
    if wrong.any():
        raise ConfigError(
            f"{name}: labels {counted(mask[wrong])} are outside 0..{num_classes - 1} and not 255; map them to train "
            "ids, or to 255 to ignore them"
        )


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
