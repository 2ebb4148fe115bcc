"""Evaluation: read the checkpoint, choose the run folder, then pass typed options to `engine.evaluate`."""

from omegaconf import DictConfig

from contextseg.checkpoint import read_checkpoint
from contextseg.commands.evaluate.options import checked
from contextseg.engine import evaluate as engine
from contextseg.engine.fit import Result
from contextseg.engine.options import EvaluateOptions
from contextseg.runs.folder import plain_name
from contextseg.runs.opening import open_folder


def main(cfg: DictConfig) -> None:
    """Score the checkpoint."""
    evaluate(cfg)


def evaluate(cfg: DictConfig) -> Result:
    """Score a checkpoint by its own data set and protocol, or by those that the command line chooses.

    Raises `ConfigError` for mistakes that the user can correct; for a wrong option, before there is a folder.
    """
    checkpoint = read_checkpoint(cfg.ckpt)
    options, config = checked(EvaluateOptions, checkpoint["config"], cfg)
    folder = open_folder(options.paths.runs / plain_name(options.name or ""), suffix="_evaluate")
    options.run.dir, options.run.id = folder.path, folder.id
    config["run"] = {"dir": str(folder.path), "id": folder.id}
    return engine.evaluate(options, config, checkpoint, folder)
