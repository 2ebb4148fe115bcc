"""Scores of a data set from one confusion matrix."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from contextseg.classes import ClassSet
from contextseg.contract import IGNORE_INDEX
from contextseg.metrics.pascal_context import other_means
from contextseg.statistics.iou import iou as iou_of


def count(prediction: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """Count labels (B, H, W) below K against a mask uint8 (B, H, W) -> int64 (K, K), row truth, column prediction.

    Raises `ValueError` when the shapes differ, the mask is not uint8 or it holds an id that is neither class nor void.
    """
    if prediction.shape != mask.shape or mask.dtype != torch.uint8:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and mask {tuple(mask.shape)} {mask.dtype}: the two must have one "
            "shape and the mask must be uint8"
        )
    row = (mask + 1).int()  # in uint8, void 255 + 1 is 0: void has row 0, class k has row k + 1
    cells = torch.bincount((row * num_classes + prediction).flatten(), minlength=(num_classes + 1) * num_classes)
    if len(cells) > (num_classes + 1) * num_classes:
        raise ValueError(f"an id in the mask or the prediction is neither below {num_classes} nor void {IGNORE_INDEX}")
    return cells.view(-1, num_classes)[1:]


def scores(confusion: Tensor | Sequence, classes: ClassSet) -> dict[str, float | int | Tensor]:
    """Compute scores in percent from counts (K, K), tensor or array, row truth.

    miou, mean_acc   mean over the classes that have a value
    pix_acc, fw_iou  share of right pixels; IoU weighted by the true share of each class
    iou_<group>      mean IoU of a group of `classes.groups`
    classes_used     number of classes in `miou`
    miou_<other>     other means that papers report, see `other_means`; for PASCAL-Context only
    iou, acc         float64 (K,), by class

    A class that is neither in the truth nor in the prediction has IoU NaN and does not enter the means. One that is
    only predicted has IoU 0 and enters. `acc` is NaN for every class without a true pixel.
    """
    confusion = torch.as_tensor(confusion).cpu().double()
    right, truth, predicted = confusion.diag(), confusion.sum(1), confusion.sum(0)
    iou = iou_of(right, truth, predicted)
    acc = 100 * right / truth
    return {
        "miou": iou.nanmean().item(),
        "pix_acc": (100 * right.sum() / truth.sum()).item(),
        "mean_acc": acc.nanmean().item(),
        "fw_iou": ((truth * iou).nansum() / truth.sum()).item(),
        **{f"iou_{group}": iou[classes.ids(group)].nanmean().item() for group in classes.groups},
        **other_means(iou, classes),
        "classes_used": int((~iou.isnan()).sum()),
        "iou": iou,
        "acc": acc,
    }


class SegMetrics(Metric):
    """Compute the scores of a data set from one confusion matrix."""

    full_state_update = False
    confusion: Tensor  # int64 (K, K), row truth, column prediction

    def __init__(self, classes: ClassSet):
        super().__init__()
        self.classes = classes
        self.add_state("confusion", torch.zeros(len(classes), len(classes), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, mask: Tensor) -> None:
        """Count labels (B, H, W), integers below K, against a mask uint8 (B, H, W). Raises what `count` raises."""
        self.confusion += count(prediction, mask, len(self.classes))

    def compute(self) -> dict[str, float | int | Tensor]:
        """Return `scores`, and the counts of all processes: confusion, int64 (K, K)."""
        return scores(self.confusion, self.classes) | {"confusion": self.confusion.cpu()}
