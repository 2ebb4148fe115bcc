"""CTNet's class-probability loss: which classes an image holds, and how much of it each takes. Pure mathematics.

Source: CTNet (Li, Sun, Tang: CTNet: Context-based Tandem Network for Semantic Segmentation), Section 3.2, Eq. 4. The
target of class i is its share of the image's valid pixels, P_gt = P_i / sum_j P_j; ignored pixels count nowhere. The
loss is smallest, though not zero, where P_p = P_gt.

The paper calls omega_n "the weight of the current batch" and says no more. Read here in two ways:

    none    1 (the released code): the mean over the classes and the images
    valid   the share of valid pixels of image n, in units of its mean over the batch: an image that is half void
            counts half as much as a whole one

An image of void alone has no target and counts in neither.

The released code has another target, "rescaled": the counts less the smallest of them, over the sum of that. It is the
share as soon as one class is absent, and 0 for an image without a most frequent class: one of void alone (which counts
there), or one with as many pixels of each class (where theirs is 0 / 0).

A third target, "presence", is neither's: 1 for every class that the image holds, however small, as in EncNet's semantic
encoding loss (Zhang et al.: Context Encoding for Semantic Segmentation, CVPR 2018, Section 3.1). It goes with sigmoid.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.losses.functional import global_mean

ACTIVATIONS = ("softmax", "sigmoid")
BATCH_WEIGHTS = ("none", "valid")
TARGETS = ("share", "rescaled", "presence")


def class_counts(mask: Tensor, num_classes: int) -> Tensor:
    """Valid pixels of each class in each image: uint8 (B, H, W), 255 ignored -> int64 (B, K)."""
    labels = mask.flatten(1).long()
    labels = labels.where(labels != IGNORE_INDEX, num_classes)  # (B, HW), ignored pixels are a class of their own
    images, bins = len(labels), num_classes + 1
    own = bins * torch.arange(images, device=labels.device).unsqueeze(1)  # (B, 1), where an image's bins begin
    counts = torch.bincount((labels + own).flatten(), minlength=images * bins)
    return counts.view(images, bins)[:, :num_classes]


def log_probabilities(scores: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """log P_p and log(1 - P_p) of raw scores (B, K), each (B, K), without a probability that rounds to 0 or 1."""
    if activation == "sigmoid":
        return F.logsigmoid(scores), F.logsigmoid(-scores)
    total = scores.logsumexp(-1, keepdim=True)  # (B, 1)
    itself = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    others = scores.unsqueeze(1).masked_fill(itself, torch.finfo(scores.dtype).min).logsumexp(-1)  # (B, K)
    return scores - total, others - total


def class_probability_loss(
    scores: Tensor,
    mask: Tensor,
    *,
    activation: str = "softmax",
    batch_weight: str = "none",
    target: str = "share",
) -> Tensor:
    """Eq. 4 (scalar), the mean over classes and over the images of the global batch.

    Raw scores float (B, K), mask uint8 (B, H, W) with 255 ignored.
    """
    counts = class_counts(mask, scores.shape[1])  # (B, K)
    valid = counts.sum(1)  # (B,)
    above = counts - counts.amin(1, keepdim=True) if target == "rescaled" else counts  # (B, K)
    shares = above / above.sum(1, keepdim=True).clamp(min=1) if target != "presence" else counts > 0  # (B, K)
    shares = shares.to(scores.dtype)
    log_p, log_not_p = log_probabilities(scores, activation)
    losses = -(shares * log_p + (1 - shares) * log_not_p).mean(1)  # (B,)
    counted = torch.ones_like(valid) if target == "rescaled" else valid > 0  # (B,)
    weights = (counted if batch_weight == "none" else valid / mask[0].numel()).to(scores.dtype)  # (B,)
    return global_mean((weights * losses).sum(), weights.sum())
