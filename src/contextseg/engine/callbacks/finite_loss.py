"""Stopping a run whose loss is not finite."""

import lightning as L
import torch

from contextseg.engine.finite import WAY_OUT, NonFinite
from contextseg.typed import Count


class FiniteLoss(L.Callback):
    """Raise `NonFinite`, which names step and images, to end a run early; what is saved is checked whatever this sees.

    It checks every `every_steps` batches, as that takes time.
    """

    def __init__(self, every_steps: Count = 10):
        self.every_steps = every_steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx % self.every_steps == 0 and not torch.isfinite(outputs["loss"]):
            terms = ", ".join(f"{name} {float(value):.4g}" for name, value in outputs.items())
            raise NonFinite(
                f"the loss is not finite at step {trainer.global_step} ({terms}; images {', '.join(batch.name)}); "
                f"{WAY_OUT}"
            )
