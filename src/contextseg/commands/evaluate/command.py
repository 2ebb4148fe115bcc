"""Evaluate: read the checkpoint, settle the run folder, then hand typed options to `engine.evaluate`."""

from omegaconf import DictConfig

from contextseg.checkpoint import read_checkpoint
from contextseg.commands.evaluate.options import checked
from contextseg.engine import evaluate as engine
from contextseg.engine.fit import Result
from contextseg.engine.options import EvaluateOptions
from contextseg.runs.folder import plain_name
from contextseg.runs.opening import open_folder


def main(cfg: DictConfig) -> None:
    """Run the command."""
    evaluate(cfg)


def evaluate(cfg: DictConfig) -> Result:
    """Score a checkpoint by its own data set and protocol, or by those that the command line chooses.

    Raises `ConfigError` for what the user can put right; before there is a folder, if an option is wrong.
    """
    checkpoint = read_checkpoint(cfg.ckpt)
    options, config = checked(EvaluateOptions, checkpoint["config"], cfg)
    folder = open_folder(options.paths.runs / plain_name(options.name or ""), suffix="_evaluate")
    options.run.dir, options.run.id = folder.path, folder.id
    config["run"] = {"dir": str(folder.path), "id": folder.id}
    return engine.evaluate(options, config, checkpoint, folder)
