"""Going on from a checkpoint: it is read once, and given to Lightning as it was read."""

from typing import Any

from contextseg.checkpoint import read_as_saved
from contextseg.engine.checkpoint_io import CheckpointFile
from contextseg.parts import upgrade_config
from contextseg.runs.folder import RunFolder


class Restart(CheckpointFile):
    """Hold the contents of a run's `last.ckpt`: the step that sets the data stream is that of the weights.

    Lightning asks it for the file, and the contents are let go when it has got them.
    """

    def __init__(self, folder: RunFolder):
        """Read the checkpoint. Raises `ConfigError` if it cannot be read, or is damaged."""
        contents = read_as_saved(folder.last_checkpoint, "resume")
        self.step: int = contents["global_step"]
        self.config = upgrade_config(contents["config"])  # of the run that wrote it
        self.train_images = contents.get("train_images")  # fingerprints, uint8 (N, 8)
        contents.get("callbacks", {}).pop("Timer", None)  # trainer.lightning.max_time counts from each start
        self.contents: dict[str, Any] | None = contents

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what was read, once."""
        contents, self.contents = self.contents, None
        return super().load_checkpoint(path, *args, **kwargs) if contents is None else contents
