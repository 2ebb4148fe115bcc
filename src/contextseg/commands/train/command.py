"""Training: choose the run folder, then pass typed options to `engine.fit`."""

from omegaconf import DictConfig

from contextseg.checkpoint import read_checkpoint
from contextseg.commands.train.options import checked, settled
from contextseg.engine.fit import Result, fit
from contextseg.engine.options import TrainOptions
from contextseg.errors import ConfigError
from contextseg.runs.configuration import differences
from contextseg.runs.folder import RunFolder, plain_name
from contextseg.runs.opening import open_folder


def main(cfg: DictConfig) -> None:
    """Train a network."""
    train(cfg)


def train(cfg: DictConfig) -> Result:
    """Train the composed configuration in a run folder of its own, or continue in that of an unfinished run.

    Raises `ConfigError` for mistakes that the user can correct; for a wrong option, before there is a folder.
    """
    options, config = checked(cfg)
    parent = options.paths.runs / plain_name(options.name or "")
    folder = open_folder(parent, given=options.run.dir, resume=options.resume)
    first_step = steps_done(folder, config, options) if folder.resumed else 0
    run_id = read_checkpoint(folder.last_checkpoint)["config"]["run"]["id"] if folder.resumed else folder.id
    options, config = settled(cfg, folder.path, run_id)
    return fit(options, config, folder, first_step)


def steps_done(folder: RunFolder, config: dict, options: TrainOptions) -> int:
    """Return the optimizer steps after which a run continues.

    Raises `ConfigError` if the configuration differs, naming the keys, or if the run has done all its steps.
    """
    if keys := differences(folder.read_config(), config):
        raise ConfigError(
            f"resume: the configuration differs from that of {folder.path} in {len(keys)} keys "
            f"({'; '.join(keys[:5])}); use the same settings, or start a new run without resume"
        )
    step = read_checkpoint(folder.last_checkpoint)["global_step"]
    left, finished = options.trainer.max_steps - step, folder.read_metrics().get("status") == "finished"
    if left < 0 or (left == 0 and finished):
        raise ConfigError(f"resume: {folder.path} has done its {step} steps; raise trainer.max_steps to go on")
    return step
