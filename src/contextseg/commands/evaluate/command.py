"""Evaluation: read the checkpoints, choose the run folders, then pass typed options to `engine.evaluate`."""

from omegaconf import DictConfig

from contextseg.checkpoint import read_checkpoint
from contextseg.commands.evaluate.options import checked, each_checkpoint, each_protocol
from contextseg.engine import evaluate as engine
from contextseg.engine.candidates import Candidate, refuse_unlike
from contextseg.engine.fit import Result
from contextseg.engine.options import EvaluateOptions
from contextseg.runs.folder import RunFolder, plain_name
from contextseg.runs.opening import open_folder


def main(cfg: DictConfig) -> None:
    """Score the checkpoints."""
    evaluate(cfg)


def evaluate(cfg: DictConfig) -> list[Result]:
    """Score checkpoints by their own data set and protocol, or by those that the command line chooses, one or several.

    Raises `ConfigError` for mistakes that the user can correct; for a wrong option, before there is a folder.
    """
    candidates = []
    for one in each_checkpoint(cfg):
        checkpoint = read_checkpoint(one.ckpt)
        checkpoint.pop("optimizer_states", None)  # memory, of many checkpoints
        for by in each_protocol(one):
            candidates.append(Candidate(by.ckpt, checkpoint, *checked(EvaluateOptions, checkpoint["config"], by)))
    refuse_unlike(candidates)
    return engine.evaluate(candidates, [new_folder(candidate) for candidate in candidates])


def new_folder(candidate: Candidate) -> RunFolder:
    """Make the run folder of an evaluation, and write its place into options and configuration."""
    options = candidate.options
    folder = open_folder(options.paths.runs / plain_name(options.name or ""), suffix="_evaluate")
    options.run.dir, options.run.id = folder.path, folder.id
    candidate.config["run"] = {"dir": str(folder.path), "id": folder.id}
    return folder
