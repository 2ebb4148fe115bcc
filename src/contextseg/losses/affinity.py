"""CPNet's affinity loss: which pairs of pixels share a class, pair by pair and row by row.

Source: CPNet (Yu et al.: Context Prior for Scene Segmentation, CVPR 2020), Section 3.1, Eq. 1-5. The ideal affinity is
a_ij = 1 where pixels i and j have the same label; it is the target of the prior p_ij = sigmoid(z_ij):

    unary    -mean_ij (a log p + (1 - a) log(1 - p))
    global   -mean_j (log precision_j + log recall_j + log specificity_j)
             precision = sum ap / sum p,   recall = sum ap / sum a,   specificity = sum (1-a)(1-p) / sum (1-a)

No N x N target is ever built: the sum over a class adds the rows of its label, and the sum over the others is the total
minus that. Pairs with an ignored pixel are not counted.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.losses.functional import global_mean

MIN_RATIO = 1e-6  # a smaller ratio counts as this, so that there is no log 0; a smaller denominator counts as none
LOG_OF_ZERO = -100.0  # for empty="zero"


def affinity_losses(
    prior_logits: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    sums: str = "row",
    exclude_self: bool = False,
    ignored_class: bool = False,
    empty: str = "one",
) -> tuple[Tensor, Tensor]:
    """Compute unary and global affinity loss (scalars), means over the valid pairs and pixels of the global batch.

    Prior logits (B, N, N), row = pixel, column = partner; labels uint8 (B, N), 255 ignored.

    sums           range of the sums of Eq. 2-4: "row", the partners of one pixel (the text, "at j-th row of P", and the
                   released code), or "column", the pixels that have one partner (the index i as printed)
    exclude_self   a pixel is no partner of itself in recall and in the numerator of precision (released code)
    ignored_class  ignored pixels are one more class instead of being omitted (released code)
    empty          a ratio without denominator, such as specificity in an image of one class: "one", it adds no loss, or
                   "zero", it adds a constant loss, the log of 0 being -100 (released code)
    """
    group = labels.long().where(labels != IGNORE_INDEX, num_classes)  # (B, N)
    classes = num_classes + ignored_class
    valid = group < classes
    logits = prior_logits.mT if sums == "row" else prior_logits  # (B, N summed over, N)
    bce, intra, total = AffinitySums.apply(logits, group, classes)  # (B, N) each

    size = F.one_hot(group, num_classes + 1).sum(1).gather(1, group).float()  # (B, N), pixels of the same class
    count = valid.sum(1, keepdim=True).float()  # (B, 1)
    inter_size = count - size
    specificity = log_ratio(inter_size - (total - intra), inter_size, empty)
    if exclude_self:
        itself = prior_logits.diagonal(dim1=1, dim2=2).float().sigmoid()  # (B, N)
        size = size - 1
        intra = torch.where(size > 0, intra - itself, 0)
    terms = log_ratio(intra, total, empty) + log_ratio(intra, size, empty) + specificity  # (B, N)
    unary = global_mean((bce * valid).sum(), count.square().sum())
    return unary, global_mean(-(terms * valid).sum(), count.sum())


def log_ratio(part: Tensor, whole: Tensor, empty: str) -> Tensor:
    """Compute log(part / whole), at most 0; without gradient where `whole` is 0."""
    defined = whole > MIN_RATIO
    ratio = torch.where(defined, part / torch.where(defined, whole, 1), float(empty == "one")).clamp(max=1)
    if empty == "one":
        return ratio.clamp(min=MIN_RATIO).log()
    return torch.where(ratio > 0, ratio.clamp(min=torch.finfo(ratio.dtype).tiny).log(), LOG_OF_ZERO)


class AffinitySums(torch.autograd.Function):
    """Sum over the first pixel of each pair, strip by strip: only the gradient has N x N entries.

    Logits (B, N, N) and group int64 (B, N), of which groups from `classes` on are not counted -> float32 (B, N) each,
    for the second pixel of the pairs: sum of the binary cross-entropy, of p over the same group, of p over all.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, group: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(logits, group)
        ctx.classes = classes
        batch, n = group.shape
        bce, intra, total = logits.new_zeros(3, batch, n, dtype=torch.float32)
        for image in range(batch):
            p_sums, z_sums = logits.new_zeros(2, classes + 1, n, dtype=torch.float32)
            for rows in strips(logits):
                labels, z = group[image, rows], logits[image, rows].float()  # (rows,), (rows, N)
                p_sums.index_add_(0, labels, z.sigmoid())
                z_sums.index_add_(0, labels, z)
                bce[image] += (labels < classes).float() @ F.softplus(z)
            labels = group[image, None]  # (1, N)
            bce[image] -= z_sums.gather(0, labels)[0]
            intra[image] = p_sums.gather(0, labels)[0]
            total[image] = p_sums[:classes].sum(0)
        return bce, intra, total

    @staticmethod
    @once_differentiable
    def backward(ctx, d_bce: Tensor, d_intra: Tensor, d_total: Tensor) -> tuple[Tensor, None, None]:
        logits, group = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for image in range(len(logits)):
            for rows in strips(logits):
                labels, p = group[image, rows, None], logits[image, rows].float().sigmoid()  # (rows, 1), (rows, N)
                counts = (labels < ctx.classes).float()
                same = (labels == group[image]).float()  # (rows, N)
                slope = p.addcmul(p, p, value=-1).mul_(torch.addcmul(counts * d_total[image], same, d_intra[image]))
                gradient[image, rows] = p.mul_(counts).sub_(same).mul_(d_bce[image]).add_(slope)
        return gradient, None, None


def strips(logits: Tensor) -> list[slice]:
    """Return the strips of rows to sum at once: few rows, for the cache of a CPU; all on an accelerator."""
    n = logits.shape[1]
    step = 64 if logits.device.type == "cpu" else n
    return [slice(start, start + step) for start in range(0, n, step)]
