"""Mean over the images of the mIoU of each: another number than the data set's mIoU, so under another name."""

import torch
from torch import Tensor
from torchmetrics import Metric

from contextseg.classes import ClassSet
from contextseg.metrics.confusion import count
from contextseg.statistics.iou import iou

UNIT = 1e-9  # percent; sums of whole units do not depend on their order


class PerImageIoU(Metric):
    """Compute the mIoU of each image over the classes in its truth or its prediction; average over the images.

    Every image weighs the same, and every class in an image, however small. An image that is all void is omitted.
    """

    full_state_update = False
    total: Tensor  # int64, in `UNIT`
    images: Tensor  # int64

    def __init__(self, classes: ClassSet):
        super().__init__()
        self.num_classes = len(classes)
        for name in ("total", "images"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, mask: Tensor) -> None:
        """Count labels (B, H, W), integers below K, against a mask uint8 (B, H, W). Raises what `count` raises."""
        for labels, truth in zip(prediction.split(1), mask.split(1), strict=True):
            counts = count(labels, truth, self.num_classes).double()
            miou = iou(counts.diag(), counts.sum(1), counts.sum(0)).nanmean()
            self.images += ~miou.isnan()
            self.total += (miou.nan_to_num() / UNIT).round().long()

    def compute(self) -> dict[str, float]:
        """Return miou_per_image in percent; NaN without an image."""
        return {"miou_per_image": UNIT * (self.total.double() / self.images).item()}
