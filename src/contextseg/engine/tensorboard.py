"""TensorBoard's event files, without a second point for a step that a restart did again."""

from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class TensorBoard(TensorBoardLogger):
    """Write `<folder>/tensorboard/`; `settings` go to Lightning's logger."""

    def __init__(self, folder: str, **settings: Any):
        super().__init__(folder, **{"name": "tensorboard", "version": "", "default_hp_metric": False} | settings)

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Have TensorBoard hide what was written of later steps, which are done again."""
        self._kwargs["purge_step"] = step + 1  # of the writer, which is made at its first use
