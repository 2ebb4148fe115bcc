"""The mathematics of the losses: plain functions of logits and masks, computed in float32.

Every mean is over the valid pixels of the *global* batch. Under DDP the count is summed over the ranks: the mean of the
ranks' means is another number as soon as there are ignored pixels. `global_mean` returns the rank's share times the
number of ranks, so DDP's average of the gradients is the gradient of the global mean.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.layers.resize import resize


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Divide a sum by the count over all ranks, both scalars, the count without gradient; 0 if the count is 0."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        count = count.detach().clone()
        dist.all_reduce(count)
        total = total * dist.get_world_size()
    return total / count.clamp(min=torch.finfo(torch.float32).tiny)


def at_label_size(
    logits: Tensor, mask: Tensor, label_stride: int = 1, align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """Take every s-th label, s = `label_stride`, and up-sample the logits to that size.

    Logits (B, K, h, w), mask (B, H, W) -> float32 logits (B, K, H/s, W/s), int64 target (B, H/s, W/s). The label of an
    s x s cell is the one nearest to its centre.
    """
    start = (label_stride - 1) // 2
    target = mask[:, start::label_stride, start::label_stride].long()
    return resize(logits.float(), target.shape[-2:], align_corners), target


def cross_entropy(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, mean_over: str = "valid"
) -> Tensor:
    """Compute the mean cross-entropy over valid pixels; with weights, the sum is divided by the sum of the weights.

    `mean_over="all"`: the sum is divided by the number of all pixels, ignored ones too, whatever the weights.

    Logits float32 (B, K, H, W), target int64 (B, H, W) with 255 ignored -> scalar.
    """
    total = F.cross_entropy(logits, target, class_weights, ignore_index=IGNORE_INDEX, reduction="sum")
    if mean_over == "all":
        return global_mean(total, total.new_tensor(target.numel()))
    valid = target != IGNORE_INDEX
    if class_weights is None:
        return global_mean(total, valid.sum().float())
    return global_mean(total, class_weights[target[valid]].sum())


def ohem_cross_entropy(
    logits: Tensor,
    target: Tensor,
    threshold: float,
    min_kept: int,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Compute the mean cross-entropy over the hard pixels.

    Hard are those whose true class has a probability below `threshold`, and in any case the `min_kept` with the largest
    loss in this device's batch, both without class weights. The mean is over the hard pixels of all devices.

    Logits float32 (B, K, H, W), target int64 (B, H, W) with 255 ignored -> scalar.
    """
    valid = target != IGNORE_INDEX
    losses = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="none")[valid]  # (valid,)
    if losses.numel() == 0:
        return global_mean(logits.sum() * 0, losses.new_zeros(()))
    hardest = losses.detach().topk(min(min_kept, losses.numel())).values if min_kept > 0 else losses.new_empty(0)
    limit = -torch.log(torch.tensor(threshold, device=losses.device))  # loss of a pixel exactly at the threshold
    if hardest.numel():
        limit = torch.minimum(limit, hardest[-1])
    weights = (losses.detach() >= limit).float()
    if class_weights is not None:
        weights = weights * class_weights[target[valid]]
    return global_mean((losses * weights).sum(), weights.sum())
