"""The regions of a class as polygons and as run lengths."""

import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from contextseg.classes import ClassSet
from contextseg.errors import ConfigError


def polygons(mask: np.ndarray) -> Iterator[list[list[list[int]]]]:
    """Yield the regions of a mask bool (H, W), each as closed rings of [x, y]: the outer border, then the holes.

    The rings follow the edges of the pixels, so pixel (0, 0) is [[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]], and the area
    of a polygon is its number of pixels. Pixels that touch at a corner belong to one region.
    """
    # OpenCV's borders run through the centres of pixels; at twice the size the edges follow from them
    doubled = cv2.resize(mask.view(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for i, contour in enumerate(contours):
        _, _, hole, parent = hierarchy[0, i]
        if parent >= 0:
            continue
        rings = [_ring(contour)]
        while hole >= 0:
            rings.append(_ring(contours[hole]))
            hole = hierarchy[0, hole, 0]
        yield rings


def _ring(contour: np.ndarray) -> list[list[int]]:
    """Turn a border (n, 1, 2) at twice the size into a closed ring of [x, y] along the edges."""
    points = (contour[:, 0] + 1) // 2
    points = points[(points != np.roll(points, 1, axis=0)).any(1)]
    return [*points.tolist(), points[0].tolist()]


def features(labels: np.ndarray, classes: ClassSet) -> Iterator[dict]:
    """Yield a GeoJSON feature for each region of labels (H, W): a polygon in pixels, x to the right, y down."""
    for k in np.unique(labels).tolist():
        properties = {"class": classes.names[k], "train_id": k}
        for rings in polygons(labels == k):
            geometry = {"type": "Polygon", "coordinates": rings}
            yield {"type": "Feature", "properties": properties, "geometry": geometry}


def save_features(found: Iterable[dict], path: Path) -> None:
    """Write GeoJSON features as a collection, one at a time, so that they are never all in memory."""
    with path.open("w") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for i, feature in enumerate(found):
            file.write(("," if i else "") + "\n" + json.dumps(feature))
        file.write("\n]}\n")


class Coco:
    """Collect a COCO data set: one annotation for each class in an image, its category the train id.

    Raises `ConfigError` if pycocotools is missing.
    """

    def __init__(self, classes: ClassSet):
        if importlib.util.find_spec("pycocotools") is None:
            raise ConfigError("formats=[coco_rle] needs pycocotools: pip install 'contextseg[coco]'")
        self.images: list[dict] = []
        self.annotations: list[dict] = []
        self.categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(classes.names)]

    def add(self, name: str, labels: np.ndarray) -> None:
        """Add the labels (H, W) of the image `name`."""
        from pycocotools import mask

        height, width = labels.shape
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": name, "width": width, "height": height})
        for k in np.unique(labels).tolist():
            runs = mask.encode(np.asfortranarray(labels == k, dtype=np.uint8))
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": k,
                    "segmentation": {"size": [height, width], "counts": runs["counts"].decode()},
                    "area": int(mask.area(runs)),
                    "bbox": mask.toBbox(runs).tolist(),
                    "iscrowd": 1,
                }
            )

    def to_dict(self) -> dict:
        return {"images": self.images, "annotations": self.annotations, "categories": self.categories}
