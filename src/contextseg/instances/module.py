"""Training and validation of a detector."""

import lightning as L
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchvision.models.detection import MaskRCNN

from contextseg.instances.score import AveragePrecision

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class InstanceModule(L.LightningModule):
    """Train a detector with SGD, momentum 0.9, weight decay 1e-4, as Mask R-CNN's "1x" schedule does.

    The rate grows over `warmup` steps and is divided by 10 after 2/3 and 8/9 of `max_steps`.
    """

    def __init__(self, detector: MaskRCNN, *, lr: float = 0.01, max_steps: int = 180_000, warmup: int = 500):
        super().__init__()
        self.detector, self.lr, self.max_steps, self.warmup = detector, lr, max_steps, warmup
        self.found = AveragePrecision()
        self.scores: dict[str, float] = {}

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Detect on images float32 (3, H, W): each has `boxes`, `labels`, `scores`, `masks` (n, 1, H, W)."""
        return self.detector(images)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the sum of the detector's losses. Raises `FloatingPointError` if it is not finite."""
        losses = self.detector(*batch)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss is not finite: { ({name: float(x) for name, x in losses.items()}) }")
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()})
        self.log("train/loss", total.detach(), prog_bar=True)
        return total

    def validation_step(self, batch: Batch, _: int) -> None:
        """Detect on images and keep what was found."""
        images, targets = batch
        self.found.update(self.detector(images), targets)

    def on_validation_epoch_end(self) -> None:
        """Compute `scores`: the same on every process."""
        self.scores = self.found.compute()
        self.log("val/box_ap", self.scores["box_ap"], rank_zero_only=True)
        self.log("val/mask_ap", self.scores["mask_ap"], rank_zero_only=True)

    def factor(self, step: int) -> float:
        """Return what the rate is multiplied by at a step."""
        grown = min(1.0, (step + 1) / max(self.warmup, 1))
        return grown * 0.1 ** sum(step >= self.max_steps * share for share in (2 / 3, 8 / 9))

    def configure_optimizers(self) -> dict:
        """Make the optimizer and its schedule, which counts steps."""
        learnt = [parameter for parameter in self.detector.parameters() if parameter.requires_grad]
        optimizer: Optimizer = SGD(learnt, self.lr, momentum=0.9, weight_decay=1e-4)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.factor), "interval": "step"},
        }
