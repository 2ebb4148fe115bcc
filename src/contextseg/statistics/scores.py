"""mIoU and pixel accuracy of many sets of images at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextseg.statistics.iou import iou

SCORES = ("miou", "pix_acc")  # the last axis of `scores`


def scores(totals: NDArray[Any]) -> NDArray[np.float64]:
    """Compute mIoU and pixel accuracy in percent, as `metrics.scores` does: (..., K, 3) -> (..., 2).

    `totals`: right pixels, pixels of the truth and predicted ones, by class. A set without a pixel has NaN.
    """
    right, truth, predicted = np.moveaxis(totals.astype(np.float64), -1, 0)
    with np.errstate(invalid="ignore"):
        by_class = iou(right, truth, predicted)
        there = ~np.isnan(by_class)
        miou = np.where(there, by_class, 0).sum(-1) / there.sum(-1)
        pix_acc = 100 * right.sum(-1) / truth.sum(-1)
    return np.stack([miou, pix_acc], -1)
