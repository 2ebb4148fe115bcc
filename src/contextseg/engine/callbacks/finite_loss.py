"""Stopping a run whose loss is not finite."""

import lightning as L
import torch

from contextseg.typed import Count


class NonFiniteLoss(RuntimeError):
    """A loss that is NaN or infinite."""


class FiniteLoss(L.Callback):
    """Raise `NonFiniteLoss`, which names step and images. It checks every `every_steps` batches, as that takes time."""

    def __init__(self, every_steps: Count = 10):
        self.every_steps = every_steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx % self.every_steps == 0 and not torch.isfinite(outputs["loss"]):
            terms = ", ".join(f"{name} {float(value):.4g}" for name, value in outputs.items())
            raise NonFiniteLoss(
                f"the loss is not finite at step {trainer.global_step} ({terms}; images {', '.join(batch.name)}); "
                "lower optim.lr, set trainer.gradient_clip, or use trainer.precision=32"
            )
