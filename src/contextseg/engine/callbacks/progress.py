"""Progress bars: one for the whole run, with loss, rate and the time left; one for each evaluation."""

import lightning as L
from rich.progress import Progress, TaskID

from contextseg.console import progress


class ProgressBar(L.Callback):
    """Show training by optimizer steps and evaluation by batches, on rank 0."""

    def __init__(self):
        self.bar: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    def _start(self, trainer: L.Trainer, name: str, total: int, completed: int = 0) -> None:
        if not trainer.is_global_zero:
            return
        if self.bar is None:
            self.bar = progress()
            self.bar.start()
        self.tasks[name] = self.bar.add_task(name, total=total, completed=completed, note="")

    def _update(self, name: str, **fields) -> None:
        if self.bar is not None and name in self.tasks:
            self.bar.update(self.tasks[name], **fields)

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        self.bar, self.tasks = None, {}

    def on_train_start(self, trainer, module):
        self._start(trainer, "train", trainer.max_steps, trainer.global_step)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx % 5 == 0 or trainer.global_step == trainer.max_steps:
            miou = f"  miou {module.scores['miou']:.1f}" if module.scores else ""
            self._update("train", completed=trainer.global_step, note=f"loss {float(outputs['loss']):.3f}{miou}")

    def on_train_end(self, trainer, module):
        self._stop()

    def on_validation_start(self, trainer, module):
        self._start(trainer, "evaluate", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self._update("evaluate", completed=batch_idx + 1)

    def on_validation_end(self, trainer, module):
        if self.bar is not None:
            self.bar.remove_task(self.tasks.pop("evaluate"))
        if not self.tasks:
            self._stop()

    def on_test_start(self, trainer, module):
        self._start(trainer, "evaluate", sum(trainer.num_test_batches))

    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end

    def on_exception(self, trainer, module, exception):
        self._stop()
