"""Writing checkpoints: a file is the old one or the new one, whenever the process dies."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from contextseg.files import side_file


class CheckpointFile(TorchCheckpointIO):
    """Write beside the target and rename; Lightning writes into the temporary folder, which may be small or far."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint. Raises `OSError` if the disk is full, and leaves the old file."""
        with side_file(Path(path)) as side, side.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's own word for an error of `file`
                if isinstance(error.__context__, OSError):
                    raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from error
                raise
