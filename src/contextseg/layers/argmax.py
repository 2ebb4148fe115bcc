"""The most probable class of every pixel: fast on a CPU, and from small logits without the full map of scores."""

from collections.abc import Sequence

import torch
from torch import Tensor

from contextseg.layers.resize import resize
from contextseg.layers.resized_rows import ResizedRows

STRIP = 2**19  # scores in one strip of rows: few enough for a cache
CHUNK = 10  # classes at a time
COLUMNS = 64  # at a time


def refuse_more_than_labels_hold(classes: int) -> None:
    """Raise `ValueError` for more than 255 classes: labels are uint8, and 255 is void."""
    if classes > 255:
        raise ValueError(f"{classes} classes do not fit into uint8 labels, in which 255 is void")


def argmax(scores: Tensor) -> Tensor:
    """Compute `scores.argmax(1)`: (B, K, h, w) -> uint8 (B, h, w); a CPU's scores are overwritten.

    Of equal scores the lowest class wins. torch's own reduction over a middle dimension is not vectorised on a CPU; the
    maximum alone is, and so is asking each class whether it has it. Raises `ValueError` for more than 255 classes.
    """
    classes = scores.shape[1]
    refuse_more_than_labels_hold(classes)
    if scores.device.type != "cpu":
        return scores.argmax(1).to(torch.uint8)
    best = scores.amax(1, keepdim=True)
    if best.isnan().any():
        return scores.argmax(1).to(torch.uint8)
    falling = torch.arange(classes, 0, -1, dtype=scores.dtype).view(-1, 1, 1)
    return scores.eq_(best).mul_(falling).amax(1).neg_().add_(classes).to(torch.uint8)


def argmax_resized(logits: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Compute `resize(...).argmax(1)`: (B, K, h, w) -> labels uint8 (B, *size).

    The full (B, K, *size) map never exists. On a tie the lowest class wins, as in `argmax`. (The last bit of torch's
    map depends on the number of classes in one call for sizes below some 100 pixels; no more is left open.) Raises
    `ValueError` for more than 255 classes, because 255 is void.
    """
    refuse_more_than_labels_hold(logits.shape[1])
    logits = logits.contiguous()  # channels-last slices resize slowly, and by a kernel that depends on their number
    if logits.device.type != "cpu" or logits.dtype != torch.float32 or not logits.isfinite().all():
        return _by_classes(logits, size, align_corners)
    return torch.cat([_by_rows(one, size, align_corners) for one in logits.split(1)])


def _by_classes(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Label a few classes at a time, with a running maximum."""
    best = logits.new_full((len(logits), *size), -torch.inf)
    labels = torch.zeros_like(best, dtype=torch.uint8)
    for start in range(0, logits.shape[1], CHUNK):
        value, label = resize(logits[:, start : start + CHUNK], size, align_corners).max(1)
        labels = torch.where(value > best, label.to(torch.uint8) + start, labels)
        best = torch.maximum(best, value)
    return labels


def _by_rows(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Label logits (1, K, h, w) a few rows at a time; `resize`, which rounds otherwise, decides where that counts.

    The two differ by at most 9 half units in the last place of the largest logit; who leads by more leads in both.
    """
    classes = logits.shape[1]
    resized = ResizedRows(logits, size, align_corners)
    doubt = 16 * torch.finfo(logits.dtype).eps * float(logits.abs().max())
    count_and_sum = torch.stack([torch.ones(classes), torch.arange(classes, dtype=torch.float32)])
    labels = torch.empty(*size, dtype=torch.uint8)
    unsure, rivals = torch.zeros(*size, dtype=torch.bool), torch.zeros(classes, dtype=torch.bool)
    step = max(1, STRIP // (classes * size[1]))
    for start in range(0, size[0], step):
        rows = slice(start, min(start + step, size[0]))
        scores = resized(rows)[0]  # (K, len(rows), W)
        leads = scores.ge_(scores.amax(0) - doubt).flatten(1)  # 1 or 0
        count, label = (count_and_sum @ leads).view(2, -1, size[1])
        labels[rows] = label.to(torch.uint8)
        several = count > 1
        if several.any():
            unsure[rows] = several
            rivals |= leads[:, several.flatten()].any(1)
    if rivals.any():
        _decide(labels, unsure, logits[:, rivals], rivals.nonzero()[:, 0], size, align_corners)
    return labels[None]


def _decide(
    labels: Tensor, unsure: Tensor, logits: Tensor, names: Tensor, size: Sequence[int], align_corners: bool
) -> None:
    """Label the `unsure` pixels as `resize` says, whose classes are among `names`, with logits (1, K', h, w).

    `resize` goes along a row and then down a column, so columns of the widened map have the values of the whole.
    """
    where, height = unsure.any(0).nonzero()[:, 0], logits.shape[-2]
    wide = [resize(part, (height, size[1]), align_corners)[..., where] for part in logits.split(CHUNK, 1)]
    for columns, line in zip(where.split(COLUMNS), torch.cat(wide, 1).split(COLUMNS, 3), strict=True):
        exact = argmax(resize(line.contiguous(), (size[0], len(columns)), align_corners))[0]
        labels[:, columns] = torch.where(unsure[:, columns], names[exact.long()].to(torch.uint8), labels[:, columns])
