"""Training: choose the run folder, then pass typed options to `engine.fit`."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from contextseg.commands.train.options import checked, settled
from contextseg.engine.fit import Result, fit
from contextseg.engine.options import TrainOptions
from contextseg.engine.restart import Restart
from contextseg.errors import ConfigError
from contextseg.runs.configuration import differences
from contextseg.runs.folder import RunFolder, plain_name, rank
from contextseg.runs.lock import at_work
from contextseg.runs.opening import already_finished, open_folder
from contextseg.runs.outside import join

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Train a network."""
    train(cfg)


def train(cfg: DictConfig) -> Result | None:
    """Train the composed configuration in a run folder of its own, or continue in that of an unfinished run.

    Returns None if `resume=auto` finds that there is nothing left to do. Raises `ConfigError` for mistakes that the
    user can correct, for a wrong option before there is a folder, and if another run is at work in the folder.
    """
    options, config = checked(cfg)
    if options.trainer.nodes:
        join()
    parent = options.paths.runs / plain_name(options.name or "")
    if options.resume == "auto" and not options.run.dir and (done := already_finished(parent, config)):
        log.info(
            "resume=auto: %s is finished (step %d, mIoU %.2f); for a new run: resume=null",
            done.folder,
            done.metrics.get("steps", done.steps),
            done.metrics.get("miou") or float("nan"),
        )
        return None
    folder = open_folder(parent, given=options.run.dir, resume=options.resume, config=config)
    with at_work(folder.path):
        start = restart(folder, config, options) if folder.resumed else None
        if start and not rank():
            folder.remove_parts()
        options, config = settled(cfg, folder.path, start.config["run"]["id"] if start else folder.id)
        return fit(options, config, folder, start)


def restart(folder: RunFolder, config: dict, options: TrainOptions) -> Restart:
    """Return the checkpoint from which a run goes on.

    Raises `ConfigError` if the configuration differs, naming the keys, or if the run has done all its steps.
    """
    refuse_other(config, folder.read_config(), folder.path / "config.yaml")
    start = Restart(folder)
    refuse_other(config, start.config, folder.last_checkpoint)  # which may have been copied from elsewhere
    left, finished = options.trainer.max_steps - start.step, folder.read_metrics().get("status") == "finished"
    if left < 0 or (left == 0 and finished):
        raise ConfigError(f"resume: {folder.path} has done its {start.step} steps; raise trainer.max_steps to go on")
    if not rank():
        log.info("going on in %s after step %d of %d", folder.path, start.step, options.trainer.max_steps)
    return start


def refuse_other(config: dict, before: dict, where: Path) -> None:
    """Raise `ConfigError` if a run that goes on had another configuration, naming the keys and the file that has it."""
    if keys := differences(before, config):
        raise ConfigError(
            f"resume: the configuration differs from that of {where} in {len(keys)} keys ({'; '.join(keys[:5])}); "
            "use the same settings, or start a new run with resume=null"
        )
