"""Stops a run whose loss is no number any more, and says where."""

import lightning as L
import torch

from contextseg.typed import Count


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite."""


class FiniteLoss(L.Callback):
    """Looks at the loss every `every_steps` batches (each look waits for the device); raises `NonFiniteLoss`."""

    def __init__(self, every_steps: Count = 10):
        self.every_steps = every_steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx % self.every_steps == 0 and not torch.isfinite(outputs["loss"]):
            terms = ", ".join(f"{name} {float(value):.4g}" for name, value in outputs.items())
            raise NonFiniteLoss(
                f"the loss is not finite at step {trainer.global_step} ({terms}; images {', '.join(batch.name)}); "
                "lower optim.lr, set trainer.gradient_clip, or use trainer.precision=32"
            )
