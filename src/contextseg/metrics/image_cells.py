"""The confusion matrix of every image, from which intervals and tests are computed later (`contextseg.statistics`)."""

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from contextseg.classes import ClassSet
from contextseg.metrics.confusion import count


class ImageCells(Metric):
    """Keep the counts of every image that are not 0, with the image's number in the data set.

    The images of a process are those of `StridedEvalSampler`: its rank and every n-th one after it, in order.
    """

    full_state_update = False
    images: list[Tensor]  # int64 (B,): numbers of the images seen
    cells: list[Tensor]  # int64 (M, 4): number, class in the truth, class in the prediction, pixels

    def __init__(self, classes: ClassSet):
        super().__init__()
        self.num_classes = len(classes)
        self.seen = 0  # images of this process
        for name in ("images", "cells"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.seen = 0

    def update(self, prediction: Tensor, mask: Tensor) -> None:
        """Count labels (B, H, W), integers below K, against a mask uint8 (B, H, W). Raises what `count` raises."""
        together = dist.is_available() and dist.is_initialized()
        rank, processes = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        places = self.seen + torch.arange(len(mask), device=mask.device)
        numbers = rank + processes * places
        counts = torch.stack(
            [count(*one, self.num_classes) for one in zip(prediction[:, None], mask[:, None], strict=True)]
        )
        image, truth, guess = counts.nonzero(as_tuple=True)
        self.images.append(numbers)
        self.cells.append(torch.stack([numbers[image], truth, guess, counts[image, truth, guess]], 1))
        self.seen += len(mask)

    def compute(self) -> dict[str, Tensor]:
        """Return the images of all processes, int64 (N,), and cells, int64 (M, 4), both in the data set's order."""
        images, cells = (dim_zero_cat(state).cpu() for state in (self.images, self.cells))  # lists, or joined already
        return {"images": images.sort().values, "cells": cells[cells[:, 0].argsort(stable=True)]}
