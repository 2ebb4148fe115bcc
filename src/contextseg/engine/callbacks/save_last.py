"""`checkpoints/last.ckpt`, from which a stopped run continues."""

import os
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from contextseg.typed import Count


class RunFolderGone(RuntimeError):
    """The folder of a run is not there any more, or another one of its name is."""


class SaveLast(Checkpoint):
    """Save every `every_steps` optimizer steps, atomically: the file is either the old or the new one.

    `Stopping` has the last step saved, whatever ends the run.

    A step that is also evaluated is saved after its evaluation, so that a restart does not evaluate it again. The
    curves are written first, so that they reach at least as far as the checkpoint.
    """

    def __init__(self, folder: str, every_steps: Count = 100):
        self.path = Path(folder) / "last.ckpt"
        self.every_steps = every_steps
        self.saved = (-1, -1)  # the step, and the last one evaluated by then

    def on_train_start(self, trainer, module):
        self.run = os.stat(self.path.parent.parent)
        if trainer.global_step:  # it is what the run goes on from
            self.saved = (trainer.global_step, module.scored_step)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not self._evaluated_next(trainer, batch_idx):
            self._save_if_due(trainer)

    def on_validation_end(self, trainer, module):
        if trainer.state.fn == "fit":
            self._save_if_due(trainer)

    def _refuse_other_folder(self) -> None:
        """Raise `RunFolderGone` if the run's folder is not the one of the start: a file of it would look like a run."""
        folder = self.path.parent.parent
        try:
            same = os.path.samestat(self.run, os.stat(folder))
        except FileNotFoundError:
            same = False
        if not same:
            raise RunFolderGone(f"{folder} was removed while the run was at work; nothing more can be saved in it")

    def _evaluated_next(self, trainer: L.Trainer, batch_idx: int) -> bool:
        return (batch_idx + 1) % trainer.val_check_batch == 0 or trainer.global_step == trainer.max_steps

    def _save_if_due(self, trainer: L.Trainer) -> None:
        if trainer.global_step % self.every_steps == 0 or trainer.global_step == trainer.max_steps:
            self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Write the file, unless it is that of the present step and its evaluation."""
        present = (trainer.global_step, trainer.lightning_module.scored_step)
        if present == self.saved:
            return
        self.saved = present
        for logger in trainer.loggers:
            logger.save()
        self._refuse_other_folder()
        trainer.save_checkpoint(self.path)  # on all ranks, of which rank 0 writes
        trainer.strategy.barrier()
