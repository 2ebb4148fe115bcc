"""Maps of whole images that a frozen backbone makes: computed, or read from memory-mapped files."""

import json
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from contextseg.backbones.base import Backbone
from contextseg.errors import ConfigError
from contextseg.files import side_file, write_atomically

FORMAT = 1  # of the files
ALIGNMENT = 4096  # bytes of a file's header
BACKBONE = "backbone.json"  # says what the maps of a folder were made by
SUFFIX = ".maps"
DataType = Literal["float32", "float16"]


class Images(Protocol):
    """A source of images with a fingerprint of each: `data.source.Source`."""

    def __len__(self) -> int: ...
    def fingerprint(self, index: int) -> str: ...
    def load(self, index: int) -> tuple[np.ndarray, np.ndarray, str]: ...


class Features:
    """Compute the maps of an image, and of its mirror image, by a frozen backbone.

    Images are computed one by one, so that the result does not depend on the others of a batch.
    """

    def __init__(self, backbone: Backbone):
        self.backbone, self.strides = backbone, tuple(backbone.strides)

    def maps(self, images: Images, index: int, mirrored: bool) -> list[Tensor]:
        """Return the maps [(C_i, h_i, w_i)] of an image, or of its mirror image."""
        return self.compute(images.load(index)[0], mirrored)

    @torch.no_grad()
    def compute(self, image: np.ndarray, mirrored: bool) -> list[Tensor]:
        """Return the maps [(C_i, h_i, w_i)], float32 on the CPU, of an image uint8 (H, W, 3) or its mirror image."""
        pixels = torch.from_numpy(np.array(image[:, ::-1] if mirrored else image, order="C").transpose(2, 0, 1))
        mode = self.backbone.training
        self.backbone.eval()
        try:
            maps = self.backbone(pixels[None].to(self.backbone.mean.device))
        finally:
            self.backbone.train(mode)
        return [one[0].float().cpu().contiguous() for one in maps]


class CachedFeatures(Features):
    """Keep the maps in files of `folder`, one for each image, with those of its mirror image.

    The folder's name within `folder` is a digest of the backbone's settings, its weights and batch statistics, its mean
    and std, and `dtype`; a file is named after the fingerprint of its image. So maps of another backbone or image are
    never read. Each file has a checksum, which is compared when a process first reads it; a damaged file counts as
    missing.
    """

    def __init__(self, folder: Path, backbone: Backbone, settings: Mapping[str, Any], dtype: DataType = "float32"):
        super().__init__(backbone)
        self.dtype = np.dtype(dtype)
        self.about = {"format": FORMAT, "backbone": dict(settings), "weights": content(backbone), "dtype": dtype}
        self.key = blake2b(json.dumps(self.about, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.folder = folder / self.key
        self._open: dict[str, tuple[list[tuple[int, ...]], np.ndarray]] = {}  # fingerprint -> shapes, values

    def maps(self, images: Images, index: int, mirrored: bool) -> list[Tensor]:
        """Return the maps [(C_i, h_i, w_i)] as they are stored. Raises `ConfigError` if the file is gone."""
        fingerprint = images.fingerprint(index)
        if fingerprint not in self._open and not self.read(fingerprint):
            raise ConfigError(
                f"{self.file(fingerprint)}: gone or damaged since the start; start again, a training with resume=auto"
            )
        shapes, values = self._open[fingerprint]
        sizes = [int(np.prod(shape)) for shape in shapes]
        starts = np.cumsum([0, *sizes]) + (sum(sizes) if mirrored else 0)
        parts = (values[start : start + size] for start, size in zip(starts, sizes, strict=False))
        return [torch.from_numpy(part.reshape(shape)) for part, shape in zip(parts, shapes, strict=True)]

    def file(self, fingerprint: str) -> Path:
        """Return the file of an image."""
        return self.folder / f"{fingerprint}{SUFFIX}"

    def read(self, fingerprint: str) -> bool:
        """Map the file of an image into memory; returns whether it is there and intact."""
        try:
            with self.file(fingerprint).open("rb") as file:
                header = json.loads(file.read(ALIGNMENT))
            values = np.memmap(self.file(fingerprint), self.dtype, "c", ALIGNMENT)  # never written: torch warns of "r"
            intact = header["key"] == self.key and header["checksum"] == zlib.crc32(values.data)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if intact:
            self._open[fingerprint] = ([tuple(shape) for shape in header["shapes"]], values)
        return intact

    def missing(self, images: Images) -> list[int]:
        """Return the indices of the images whose maps are not there, or damaged; equal images count once."""
        found: dict[str, int] = {}
        for index in range(len(images)):
            found.setdefault(images.fingerprint(index), index)
        return [index for fingerprint, index in found.items() if not self.read(fingerprint)]

    def bytes_of(self, image: np.ndarray) -> int:
        """Return the bytes of the file of an image uint8 (H, W, 3)."""
        return ALIGNMENT + 2 * self.dtype.itemsize * sum(one.numel() for one in self.compute(image, False))

    def check_space(self, count: int, image: np.ndarray, option: str) -> int:
        """Return the bytes of `count` files like that of `image`. Raises `ConfigError` if the disk has fewer left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        needed, free = count * self.bytes_of(image), shutil.disk_usage(self.folder).free
        if needed > free:
            raise ConfigError(
                f"{option}={self.folder.parent}: the maps of {count} images need {needed / 1e9:.1f} GB and "
                f"{free / 1e9:.1f} GB are free; give another folder, features.dtype=float16 or "
                "backbone.output_stride=16, or delete old maps (command features)"
            )
        return needed

    def build(self, images: Images, indices: Iterable[int]) -> Iterator[int]:
        """Compute and write the maps of images; yields each index when its file is there. A killed build can go on."""
        write_atomically(self.folder / BACKBONE, json.dumps(self.about, indent=1))
        for index in indices:
            image, fingerprint = images.load(index)[0], images.fingerprint(index)
            both = [self.compute(image, mirrored) for mirrored in (False, True)]
            with np.errstate(over="ignore"):  # refused below
                values = np.concatenate([one.numpy().ravel() for maps in both for one in maps]).astype(self.dtype)
            if not np.isfinite(values).all():
                raise ConfigError(
                    f"image {index}: its maps have values beyond {self.dtype}; give features.dtype=float32, or check "
                    "the weights of the backbone"
                )
            header = {
                "key": self.key,
                "shapes": [list(one.shape) for one in both[0]],
                "checksum": zlib.crc32(values.data),
            }
            with side_file(self.file(fingerprint)) as side, side.open("wb") as file:
                file.write(json.dumps(header).encode().ljust(ALIGNMENT))
                file.write(values.data)
            self.read(fingerprint)
            yield index


def content(backbone: Backbone) -> str:
    """Return 16 hex digits of all parameters and buffers of a backbone, mean and std among them."""
    digest = blake2b(digest_size=8)
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def caches(folder: Path) -> list[tuple[Path, dict[str, Any] | None, Sequence[Path]]]:
    """List the caches in a folder: place, what made it (None: its record is damaged), files."""
    abouts = sorted(folder.glob(f"*/{BACKBONE}"))
    return [(about.parent, record(about), sorted(about.parent.glob(f"*{SUFFIX}"))) for about in abouts]


def record(about: Path) -> dict[str, Any] | None:
    """Return what a record says that was written by `CachedFeatures.build`; None if it is damaged."""
    try:
        found = json.loads(about.read_bytes())
        return found if {"backbone", "dtype"} <= found.keys() and "_target_" in found["backbone"] else None
    except (OSError, ValueError, AttributeError, TypeError):
        return None
