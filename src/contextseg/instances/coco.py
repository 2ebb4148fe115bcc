"""COCO's instances in the official layout: {train,val}2017/ and annotations/instances_{train,val}2017.json.

Polygons and run-length codes are read by pycocotools (the extra `coco`).
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextseg.data.pixels import read_image
from contextseg.errors import ConfigError
from contextseg.instances.target import Instances


class CocoInstances:
    """Read a split of COCO. Classes are the categories in the order of their ids, which have gaps.

    `train`: images without an instance to learn from are left out. Raises `ConfigError` for a file that is missing or
    is no annotation file of COCO, and at reading for an image whose size is not the annotated one.
    """

    def __init__(self, root: Path, split: str, *, train: bool = False):
        self.folder = root / f"{split}2017"
        file = root / "annotations" / f"instances_{split}2017.json"
        for path in (file, self.folder):
            if not path.exists():
                raise ConfigError(
                    f"root={root}: no {path.relative_to(root)}; expected are {{train,val}}2017/<id>.jpg and "
                    "annotations/instances_{train,val}2017.json"
                )
        try:
            facts = json.loads(file.read_text())
            categories = sorted(facts["categories"], key=lambda one: one["id"])
            images, annotations = facts["images"], facts["annotations"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"root={root}: {file} holds no instances of COCO ({error!r})") from error
        self.names = [one["name"] for one in categories]
        self.category_ids = [one["id"] for one in categories]
        self._label = {id: index for index, id in enumerate(self.category_ids, 1)}
        self._of: dict[int, list[dict]] = defaultdict(list)
        for one in annotations:
            self._of[one["image_id"]].append(one)
        self.images = [one for one in images if not train or any(map(learnable, self._of[one["id"]]))]
        if not self.images:
            raise ConfigError(f"root={root}: {file} has no image" + " with an instance to learn from" * train)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[NDArray, Instances]:
        """Read an image uint8 (H, W, 3) and its instances."""
        facts = self.images[index]
        size, path = (facts["height"], facts["width"]), self.folder / facts["file_name"]
        image = read_image(path)
        if image.shape[:2] != size:
            raise ConfigError(f"{path} has {image.shape[:2]} rows and columns, its annotation says {size}")
        found = self._of[facts["id"]]
        masks = [decoded(one["segmentation"], size) for one in found]
        return image, Instances(
            masks=np.stack(masks) if masks else np.zeros((0, *size), np.uint8),
            labels=np.array([self._label[one["category_id"]] for one in found], np.int64),
            crowd=np.array([bool(one.get("iscrowd")) for one in found], bool),
            areas=np.array([one["area"] for one in found], np.float64),
        )


def learnable(annotation: dict[str, Any]) -> bool:
    """Tell whether an annotation is no crowd and has a box of more than one pixel's width and height."""
    return not annotation.get("iscrowd") and min(annotation["bbox"][2:]) > 1


def decoded(segmentation: Any, size: tuple[int, int]) -> NDArray:
    """Turn polygons, or a run-length code as a list or compressed, into a mask uint8 (H, W)."""
    from pycocotools import mask

    if isinstance(segmentation, list):
        code = mask.merge(mask.frPyObjects(segmentation, *size))
    else:
        compressed = isinstance(segmentation["counts"], str | bytes)
        code = segmentation if compressed else mask.frPyObjects(segmentation, *size)
    return mask.decode(code)
