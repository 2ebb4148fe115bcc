"""The mathematics of the losses: plain functions of logits and masks, computed in float32.

Every mean is over the valid pixels of the *global* batch. Under DDP the count is summed over the ranks: the mean of the
ranks' means is another number as soon as there are ignored pixels. `global_mean` returns the rank's share times the
number of ranks, so DDP's average of the gradients is the gradient of the global mean.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor

from contextseg.contract import IGNORE_INDEX
from contextseg.losses.resized_cross_entropy import pixel_losses, resized_cross_entropy


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Divide a sum by the count over all ranks, both scalars, the count without gradient; 0 if the count is 0."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        count = count.detach().clone()
        dist.all_reduce(count)
        total = total * dist.get_world_size()
    return total / count.clamp(min=torch.finfo(torch.float32).tiny)


def occurrences(numbers: Tensor, bins: int) -> Tensor:
    """Count how often each number below `bins` occurs: int64 of any shape -> int64 (bins,).

    As `bincount`, which makes a GPU's host wait in each step, to learn the largest number.
    """
    flat = numbers.flatten()
    return flat.new_zeros(bins).scatter_add_(0, flat, torch.ones_like(flat))


def labels_at(mask: Tensor, label_stride: int = 1) -> Tensor:
    """Take every s-th label, s = `label_stride`: mask (B, H, W) -> int64 target (B, H/s, W/s).

    The label of an s x s cell is the one nearest to its centre.
    """
    start = (label_stride - 1) // 2
    return mask[:, start::label_stride, start::label_stride].long()


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    mean_over: str = "valid",
    align_corners: bool = False,
) -> Tensor:
    """Compute the mean cross-entropy over valid pixels of the logits, resized to the target.

    With weights, the sum is divided by the sum of the weights. `mean_over="all"`: the sum is divided by the number of
    all pixels, ignored ones too, whatever the weights.

    Logits (B, K, h, w), target int64 (B, H, W) with 255 ignored -> scalar.
    """
    valid = target != IGNORE_INDEX
    weights = valid.float() if class_weights is None else class_weights[target.where(valid, 0)] * valid  # (B, H, W)
    total = resized_cross_entropy(logits, target, weights, align_corners)
    if mean_over == "all":
        return global_mean(total, total.new_tensor(target.numel()))
    return global_mean(total, valid.sum().float() if class_weights is None else weights.sum())


def ohem_cross_entropy(
    logits: Tensor,
    target: Tensor,
    threshold: float,
    min_kept: int,
    class_weights: Tensor | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Compute the mean cross-entropy over the hard pixels of the logits, resized to the target.

    Hard are those whose true class has a probability below `threshold`, and in any case the `min_kept` with the largest
    loss in this device's batch, both without class weights. The mean is over the hard pixels of all devices.

    Logits (B, K, h, w), target int64 (B, H, W) with 255 ignored -> scalar.
    """
    valid = target != IGNORE_INDEX
    of_pixel = pixel_losses(logits, target, align_corners)  # (B, H, W)
    hardest = of_pixel.where(valid, -1).flatten().topk(min(min_kept, of_pixel.numel())).values  # no wait for a count
    limit = of_pixel.new_tensor(-math.log(threshold))  # loss of a pixel exactly at the threshold
    if hardest.numel():
        limit = torch.minimum(limit, hardest[-1])
    weights = ((of_pixel >= limit) & valid).float()
    if class_weights is not None:
        weights = weights * class_weights[target.where(valid, 0)]
    return global_mean(resized_cross_entropy(logits, target, weights, align_corners), weights.sum())
