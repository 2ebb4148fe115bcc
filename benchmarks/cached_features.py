"""A training step on cached maps against the head alone:  OMP_NUM_THREADS=1 python benchmarks/cached_features.py

lite0 at output stride 8, images of 360x480, batches of 8, random weights and pixels. Printed are medians of CPU time,
the two taken in turn in one process: loss and gradients from maps that lie in memory, and the same with what the cache
adds: masks and maps read from files, stacked, and checked once. The weights are not updated.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn.functional import cross_entropy, interpolate

from contextseg import create_model
from contextseg.backbones.feature_cache import CachedFeatures
from contextseg.contract import Batch
from contextseg.data.maps import MapDataset, collate_maps
from contextseg.data.source import Source
from contextseg.segmenter import Segmenter

BATCH, SIZE, NUM_CLASSES, LABEL_STRIDE, ROUNDS = 8, (360, 480), 11, 4, 7


class Noise(Source):
    """Hold the random images and masks of one batch."""

    def __init__(self) -> None:
        super().__init__(NUM_CLASSES)
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (BATCH, *SIZE, 3), np.uint8)
        self.masks = rng.integers(0, NUM_CLASSES, (BATCH, *SIZE), np.uint8)

    def __len__(self) -> int:
        return BATCH

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
        return self.images[index], self.masks[index], str(index)


def step(model: Segmenter, batch: Batch) -> None:
    """Compute the gradients of the head."""
    labels = batch.mask[:, ::LABEL_STRIDE, ::LABEL_STRIDE].long()
    logits = interpolate(model(batch.image).logits, labels.shape[-2:], mode="bilinear")
    cross_entropy(logits, labels).backward()


def seconds(work: Callable[[], None]) -> float:
    """Return the CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(head: str, source: Noise, folder: Path) -> tuple[float, float]:
    """Return the median seconds of a step of a head, without and with the cache."""
    torch.manual_seed(0)
    backbone = "tf_efficientnet_lite0"
    model = create_model(head, backbone=backbone, num_classes=NUM_CLASSES, output_stride=8, channels=128)
    model.backbone.requires_grad_(False)
    cache = CachedFeatures(folder, model.backbone, {"output_stride": 8})
    for _ in cache.build(source, cache.missing(source)):
        pass
    data = MapDataset(source, cache, flip=0.5)

    def load() -> Batch:
        return collate_maps([data[(0, index)] for index in range(BATCH)])

    held = load()
    step(model, held)  # warm
    times = [(seconds(lambda: step(model, held)), seconds(lambda: step(model, load()))) for _ in range(ROUNDS)]
    alone, cached = (median(some) for some in zip(*times, strict=True))
    return alone, cached


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'head':<8}{'alone':>9}{'cached':>9}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for head in ("fcn", "ocr", "ccnet"):
            alone, cached = measure(head, Noise(), Path(folder))
            print(f"{head:<8}{alone:>7.2f} s{cached:>7.2f} s{cached / alone:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
