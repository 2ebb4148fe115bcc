"""`checkpoints/best-<step>-<score>.ckpt`, the weights of the best evaluation."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint


class SaveBest(ModelCheckpoint):
    """Keep what Lightning's callback keeps, and nothing else.

    A run that was killed around an evaluation leaves files that its `last.ckpt` does not know; after the next
    evaluation they are gone.
    """

    def __init__(
        self,
        dirpath: str,
        monitor: str = "miou",
        mode: Literal["max", "min"] = "max",
        filename: str = "best-{step:06d}-{miou:.2f}",
        **settings: Any,
    ):
        # a restart evaluates again what it lost, into a file of the same name
        plain = {"auto_insert_metric_name": False, "enable_version_counter": False}
        super().__init__(dirpath, filename, monitor, mode=mode, **plain | settings)

    @property
    def state_key(self) -> str:
        """Return Lightning's own, by which runs of earlier versions go on."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_validation_end(self, trainer, module):
        super().on_validation_end(trainer, module)
        if trainer.is_global_zero and trainer.state.fn == "fit":
            self.remove_others()

    def remove_others(self) -> None:
        """Delete checkpoints of evaluations that are not among the best, unless the best one lies elsewhere."""
        folder, best = Path(self.dirpath or "."), Path(self.best_model_path)
        if best.parent != folder or not best.is_file():  # the run was moved here, or has not been evaluated
            return
        kept = {best, *map(Path, self.best_k_models)}
        for file in folder.glob("best-*.ckpt"):
            if file not in kept:
                file.unlink(missing_ok=True)
