"""The mathematics of the losses: plain functions of logits and masks, computed in float32.

Every mean is over the valid pixels of the *global* batch: under DDP the count is summed over the ranks, because the
mean of the ranks' means is another number as soon as there are ignored pixels. `global_mean` returns the rank's share
scaled by the number of ranks, so that DDP's averaging of gradients gives the gradient of the global mean.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.layers.resize import resize


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Sum (scalar) over count (scalar, no gradient), the count taken over all ranks; 0 where nothing counts."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        count = count.detach().clone()
        dist.all_reduce(count)
        total = total * dist.get_world_size()
    return total / count.clamp(min=torch.finfo(torch.float32).tiny)


def at_label_size(
    logits: Tensor, mask: Tensor, label_stride: int = 1, align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """Bring logits and labels to one size: every `label_stride`-th label, and the logits up-sampled to those.

    Logits (B, K, h, w), mask (B, H, W) -> float32 logits (B, K, H/s, W/s), int64 target (B, H/s, W/s). The label taken
    is the one nearest to the centre of its s x s cell.
    """
    start = (label_stride - 1) // 2
    target = mask[:, start::label_stride, start::label_stride].long()
    return resize(logits.float(), target.shape[-2:], align_corners), target


def cross_entropy(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, mean_over: str = "valid"
) -> Tensor:
    """Mean cross-entropy over valid pixels; with weights, the weighted mean (divided by the sum of the weights).

    `mean_over="all"`: divided by the number of all pixels, ignored ones too, whatever the weights.

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
    """Mean cross-entropy over the hard pixels: those whose true class has a probability below `threshold`, and in any
    case the `min_kept` hardest of this device's batch.

    Logits float32 (B, K, H, W), target int64 (B, H, W) with 255 ignored -> scalar. Hardness is judged without class
    weights, on each device for itself; the mean is over the kept pixels of all devices.
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
