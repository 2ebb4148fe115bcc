"""The counts of every image of an evaluation, and the file that holds them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextseg.errors import ConfigError
from contextseg.files import side_file

FORMAT = 1
COLUMNS = ("image", "truth", "prediction", "count")


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """One confusion matrix for each image, of which most cells are 0, so only the others are kept.

    names        of the N images, in the order of the data set
    num_classes  K
    cells        int64 (M, 4): image 0..N-1, class in the truth, class in the prediction, pixels; sorted
    block        the images are frames of videos, of which so many in a row hang together; None: they are no frames
    """

    names: tuple[str, ...]
    num_classes: int
    cells: NDArray[np.int64]
    block: int | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The counts of all images together, (K, K), row truth, column prediction."""
        found = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(found, (self.cells[:, 1], self.cells[:, 2]), self.cells[:, 3])
        return found

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """What mIoU needs of each image and class, (N, K, 3): right pixels, pixels of the truth, predicted ones."""
        found = np.zeros((len(self), self.num_classes, 3), np.int64)
        image, truth, prediction, count = self.cells.T
        right = truth == prediction
        np.add.at(found[..., 0], (image[right], truth[right]), count[right])
        np.add.at(found[..., 1], (image, truth), count)
        np.add.at(found[..., 2], (image, prediction), count)
        return found

    def save(self, path: Path) -> None:
        """Write the file, atomically; every column in the smallest type that holds it."""
        content: dict[str, Any] = dict(zip(COLUMNS, map(smallest, self.cells.T), strict=True))
        content |= {"format": FORMAT, "num_classes": self.num_classes, "block": self.block or 0}
        with side_file(path) as side, side.open("wb") as file:
            np.savez_compressed(file, names=np.array(self.names, dtype=np.str_), **content)

    @classmethod
    def load(cls, path: Path) -> "ImageCounts":
        """Read what `save` wrote. Raises `ConfigError` if the file is damaged or of a newer format."""
        try:
            with np.load(path) as file:
                if (number := int(file["format"])) > FORMAT:
                    raise ConfigError(f"{path} has format {number}, newer than {FORMAT}; update contextseg")
                cells = np.stack([file[name].astype(np.int64) for name in COLUMNS], 1)
                names = tuple(file["names"].tolist())
                return cls(names, int(file["num_classes"]), cells, int(file["block"]) or None)
        except ConfigError:
            raise
        except Exception as error:  # a zip of arrays can be broken in the words of zipfile, zlib, NumPy and Python
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"{path} cannot be read ({reason}); evaluate again to write it anew") from error


def file_of(run: Path, split: str, protocol: str | None) -> Path:
    """Return where a run folder has the counts of a split by a protocol, an option of `eval=`."""
    return run / "per_image" / f"{split}_{protocol or 'own'}.npz"


def smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Return integers of 0 or more in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(values.max(initial=0)))
