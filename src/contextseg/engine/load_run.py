"""Loading a run folder: its configuration, network and data."""

from pathlib import Path
from typing import Any

from contextseg.checkpoint import read_checkpoint, restore
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.door import parse
from contextseg.engine.build import instantiate
from contextseg.engine.options import TrainOptions
from contextseg.errors import ConfigError
from contextseg.runs.folder import RunFolder
from contextseg.segmenter import Segmenter


def load_run(folder: str | Path, which: str = "last") -> tuple[dict[str, Any], Segmenter, SegDataModule]:
    """Return configuration (plain containers), network (evaluation mode) and data module of a run folder.

    `which` checkpoint: last or best. Raises `ConfigError` if it is no run folder, or has no such checkpoint.
    """
    place = RunFolder(Path(folder))
    config = place.read_config()
    if lacks := [name for name in ("seed", "trainer", "eval") if config.get(name) is None]:
        raise ConfigError(f"{place.path / 'config.yaml'}: lacks {', '.join(lacks)}; restore the whole file")
    found = sorted((place.path / "checkpoints").glob(f"{which}*.ckpt"))
    if not found:
        raise ConfigError(f"{place.path} has no checkpoints/{which}*.ckpt")
    try:
        options = parse(TrainOptions, {name: config.get(name) for name in ("seed", "trainer", "eval")})
        data = instantiate(config.get("data"), "data", SegDataModule)
    except ConfigError as error:
        raise ConfigError(f"{place.path / 'config.yaml'}: {error}") from error
    data.set_stream(
        seed=options.seed,
        num_batches=options.trainer.max_steps,
        eval_batch_size=options.eval.batch_size,
    )
    return config, restore(read_checkpoint(found[-1]), found[-1]), data
