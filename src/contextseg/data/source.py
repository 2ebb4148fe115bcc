"""Where the pairs come from: the base of all sources, and the one that reads files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from contextseg.contract import IGNORE_INDEX, ConfigError

Sample = tuple[np.ndarray, np.ndarray, str]  # image uint8 (H, W, 3), mask uint8 (H, W), name


class Source:
    """A sequence of checked (image, mask, name) samples. A subclass writes `__len__` and `load`."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def __len__(self) -> int:
        raise NotImplementedError

    def load(self, index: int) -> Sample:
        """Image uint8 (H, W, 3) RGB, mask uint8 (H, W) of train ids with void 255, and a name; not yet checked."""
        raise NotImplementedError

    def where(self, index: int) -> str:
        """What an error message calls the mask of this sample."""
        return f"mask {index} of {type(self).__name__}"

    def read(self, index: int) -> Sample:
        """As `load`, checked. Raises `ConfigError` if the sizes differ or a label is no train id and not 255."""
        image, mask, name = self.load(index)
        if image.shape[:2] != mask.shape:
            raise ConfigError(
                f"{self.where(index)} has size {mask.shape[1]}x{mask.shape[0]} and its image "
                f"{image.shape[1]}x{image.shape[0]} (width x height); give both the same size"
            )
        wrong = (mask >= self.num_classes) & (mask != IGNORE_INDEX)
        if wrong.any():
            raise ConfigError(
                f"{self.where(index)}: labels {', '.join(map(str, np.unique(mask[wrong])))} are outside "
                f"0..{self.num_classes - 1} and not 255; map them to train ids, or to 255 to ignore them"
            )
        return image, mask, name


class FileSource(Source):
    """Pairs of an image file and a mask file of indices (PNG of mode L or P).

    `relabel` maps raw labels to train ids (11 -> 255 for CamVid); a label that it does not name stays as it is.
    """

    def __init__(
        self, pairs: Sequence[tuple[Path, Path]], num_classes: int, *, relabel: Mapping[int, int] | None = None
    ):
        super().__init__(num_classes)
        self.pairs = list(pairs)
        self.table = np.arange(256, dtype=np.uint8)
        for raw, train_id in (relabel or {}).items():
            self.table[raw] = train_id

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image, mask = self.pairs[index]
        return read_image(image), self.table[read_mask(mask)], image.stem

    def where(self, index: int) -> str:
        return str(self.pairs[index][1])


def read_image(path: Path) -> np.ndarray:
    """The picture in a file, uint8 (H, W, 3) RGB. Raises `ConfigError` if it cannot be decoded."""
    return np.array(_decoded(path).convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """The indices in a file, uint8 (H, W). Raises `ConfigError` if it cannot be decoded or holds colours."""
    mask = _decoded(path)
    if mask.mode not in ("L", "P"):
        raise ConfigError(
            f"{path} has mode {mask.mode}, but a mask holds one 8-bit index per pixel (mode L or P); "
            "convert its colours or values to train ids first"
        )
    return np.array(mask)


def _decoded(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            file.load()
            return file
    except (OSError, SyntaxError) as error:  # PIL calls a broken PNG a SyntaxError
        raise ConfigError(f"cannot read {path} ({error}); replace the file by an intact copy") from error
