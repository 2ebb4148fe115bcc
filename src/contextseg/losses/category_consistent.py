"""The category-consistent loss of CCNet: features of one class together, class means apart. Pure mathematics.

Source: CCNet (Huang et al.: CCNet: Criss-Cross Attention for Semantic Segmentation, TPAMI), Section 3.4, Eq. 3-8.
The norm is Euclidean, as in the loss it adapts (De Brabandere et al. 2017). Class means are over the device's batch;
gradients flow through them. With one class there is no distance term, with no valid pixel no loss.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.losses.functional import occurrences

Distance = Literal["piecewise", "quadratic"]


class CategoryConsistency(NamedTuple):
    """Hold the three parts of Eq. 8, unweighted scalars."""

    variance: Tensor  # Eq. 3: pixels close to the mean of their class
    distance: Tensor  # Eq. 4: means of two classes apart
    regularisation: Tensor  # Eq. 5: means close to the origin


def category_consistency(
    embedding: Tensor,
    target: Tensor,
    num_classes: int,
    *,
    delta_var: float = 0.5,
    delta_dis: float = 1.5,
    distance: Distance = "piecewise",
) -> CategoryConsistency:
    """Compute the three parts from embedding float (B, D, h, w) and target int64 (B, h, w), 255 ignored."""
    features = embedding.movedim(1, -1).flatten(0, 2)  # (N, D), N pixels
    target = target.flatten()  # (N,)
    target = target.where(target != IGNORE_INDEX, num_classes)  # ignored pixels: one more class, omitted below
    count = occurrences(target, num_classes + 1).to(features)  # (K + 1,)
    total = features.new_zeros(num_classes + 1, features.shape[1]).index_add(0, target, features)
    mean = total / count.clamp(min=1)[:, None]  # (K + 1, D)

    present = (count > 0) & (torch.arange(num_classes + 1, device=count.device) < num_classes)  # (K + 1,)
    classes = present.sum().clamp(min=1)  # |C|
    per_pixel = (present / (count.clamp(min=1) * classes))[target]  # (N,), 1 / (|C| N_c), 0 where ignored
    spread = vector_norm(mean.index_select(0, target) - features, dim=1)  # (N,)
    variance = (variance_penalty(spread, delta_var, delta_dis, distance) * per_pixel).sum()

    pairs = torch.triu(present[:, None] & present, diagonal=1)  # (K + 1, K + 1), each pair once
    apart = vector_norm(mean[:, None] - mean, dim=-1)  # (K + 1, K + 1)
    overlap = F.relu(2 * delta_dis - apart).square().where(pairs, 0)  # Eq. 7
    regularisation = (vector_norm(mean, dim=1) * present).sum() / classes
    return CategoryConsistency(variance, overlap.sum() / pairs.sum().clamp(min=1), regularisation)


def variance_penalty(spread: Tensor, delta_var: float, delta_dis: float, distance: Distance = "piecewise") -> Tensor:
    """Compute Eq. 6 of distances to the class mean: 0 up to delta_var, then quadratic, linear beyond delta_dis.

    Any shape. "quadratic" stays quadratic beyond delta_dis (Table 3).
    """
    quadratic = F.relu(spread - delta_var).square()
    if distance == "quadratic":
        return quadratic
    linear = spread - delta_dis + (delta_dis - delta_var) ** 2
    return torch.where(spread > delta_dis, linear, quadratic)
