"""Loading a run folder: its configuration, network and data."""

from pathlib import Path
from typing import Any

from contextseg.checkpoint import read_checkpoint, restore
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine.build import instantiate
from contextseg.errors import ConfigError
from contextseg.runs.folder import RunFolder
from contextseg.segmenter import Segmenter


def load_run(folder: str | Path, which: str = "last") -> tuple[dict[str, Any], Segmenter, SegDataModule]:
    """Return configuration (plain containers), network (evaluation mode) and data module of a run folder.

    `which` checkpoint: last or best. Raises `ConfigError` if it is no run folder, or has no such checkpoint.
    """
    place = RunFolder(Path(folder))
    config = place.read_config()
    found = sorted((place.path / "checkpoints").glob(f"{which}*.ckpt"))
    if not found:
        raise ConfigError(f"{place.path} has no checkpoints/{which}*.ckpt")
    data = instantiate(config["data"], "data")
    data.set_stream(
        seed=config["seed"],
        num_batches=config["trainer"]["max_steps"],
        eval_batch_size=config["eval"]["batch_size"],
    )
    return config, restore(read_checkpoint(found[-1]), found[-1]), data
