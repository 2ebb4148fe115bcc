"""CTNet's class-probability loss: the share of each class in the pixels of an image. Pure mathematics.

Source: CTNet (Li, Sun, Tang: CTNet: Context-based Tandem Network for Semantic Segmentation), Section 3.2, Eq. 4. The
target of class i is its share of the image's valid pixels, P_gt = P_i / sum_j P_j; ignored pixels are not counted. The
loss is smallest, though not zero, where P_p = P_gt.

The paper calls omega_n "the weight of the current batch" and says no more. Read here in two ways:

    none    1 (the released code): the mean over the classes and the images
    valid   the share of valid pixels of image n, in units of its mean over the batch: an image that is half void
            counts half as much as a whole one

An image of void alone has no target and is counted in neither.

The released code has another target, "rescaled": the counts minus the smallest of them, over the sum of these. It is
the share as soon as one class is absent. It is 0 for an image of void alone (which is counted there), and for one
with as many pixels of each class (where the released code has 0 / 0).

A third target, "presence", is in neither: 1 for every class that the image holds, however small, as in the semantic
encoding loss of EncNet (Zhang et al.: Context Encoding for Semantic Segmentation, CVPR 2018, Section 3.1), the loss
term `se`. It needs sigmoid.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.losses.functional import global_mean, occurrences

ACTIVATIONS = ("softmax", "sigmoid")
BATCH_WEIGHTS = ("none", "valid")
TARGETS = ("share", "rescaled", "presence")


def class_counts(mask: Tensor, num_classes: int) -> Tensor:
    """Count the valid pixels of each class in each image: uint8 (B, H, W), 255 ignored -> int64 (B, K)."""
    labels = mask.flatten(1).long()
    labels = labels.where(labels != IGNORE_INDEX, num_classes)  # (B, HW), ignored pixels: one more class
    images, bins = len(labels), num_classes + 1
    first = bins * torch.arange(images, device=labels.device).unsqueeze(1)  # (B, 1), the first bin of each image
    counts = occurrences(labels + first, images * bins)
    return counts.view(images, bins)[:, :num_classes]


def log_probabilities(scores: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Compute log P_p and log(1 - P_p) of raw scores (B, K), each (B, K); no probability is rounded to 0 or 1."""
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
    """Compute Eq. 4, the mean over classes and over the images of the global batch.

    Raw scores float (B, K), mask uint8 (B, H, W) with 255 ignored -> scalar.
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
