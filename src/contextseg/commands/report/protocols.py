"""The scores of a training by several protocols: its own, and those of evaluations of its last weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from contextseg.commands.report.scored import training_in
from contextseg.runs.configuration import flatten
from contextseg.runs.store import Run

SCORES = ("miou", "pix_acc", "mean_acc")
KINDS = ("ss", "ms")  # single scale, multi scale
ENDINGS = ("_ss", "_ms")  # of the columns of a paper, and of our metrics
NOT_IMAGES = ("transform", "batch_size", "num_workers", "root")  # settings of data= on which no score depends
Scores = dict[str, dict[str, dict[str, Any]]]  # kind -> protocol -> scores


def kind(config: Mapping[str, Any]) -> str:
    """Return which kind of test a configuration has: "ss", "ms", or "flip" for one scale with mirror images."""
    predictor = (config.get("eval") or {}).get("predictor") or {}
    if predictor.get("_target_") not in ("MultiScale", "RandomScales"):
        return "ss"
    if predictor["_target_"] == "RandomScales" or len(predictor.get("scales") or "many") > 1:
        return "ms"
    return "flip" if predictor.get("flip") else "ss"


def with_protocols(trainings: Sequence[Run], evaluations: Iterable[Run]) -> list[Run]:
    """Return the trainings with `by_protocol` in their metrics: kind of test -> protocol -> scores.

    An evaluation counts if it scored the last weights on the images that the training scored; of several by one
    protocol, the last.
    """
    found: dict[Path, Scores] = {}
    for run in [*trainings, *evaluations]:
        if not (run.finished and run.config):
            continue
        owner = run if run.training else training_in(Path(run.metrics["ckpt"]).parent.parent, trainings)
        if owner is None or not (owner is run or same_images(owner, run)):
            continue
        scores = {name: run.metrics[name] for name in SCORES if run.metrics.get(name) is not None}
        named = str(run.config.get("choices", {}).get("eval", "own"))
        found.setdefault(owner.folder, {}).setdefault(kind(run.config), {})[named] = scores
    return [replace(run, metrics=run.metrics | {"by_protocol": found.get(run.folder, {})}) for run in trainings]


def same_images(training: Run, evaluation: Run) -> bool:
    """Tell whether an evaluation scored the weights at the end of a training, on the same images."""
    if training.metrics.get("steps") != evaluation.metrics.get("trained_steps"):
        return False
    if training.metrics.get("split", "val") != evaluation.metrics.get("split", "val"):
        return False
    one, other = (flatten(run.config.get("data")) for run in (training, evaluation))
    differ = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    return all(key.partition(".")[0] in NOT_IMAGES for key in differ)


def shown(paper: str | None, runs: Iterable[Mapping[str, Any]], kind: str) -> str | None:
    """Choose the protocol of a kind that a table shows: the paper's, or the most frequent in the metrics of its runs.

    None if there is no score of this kind.
    """
    names = [name for metrics in runs for name in metrics.get("by_protocol", {}).get(kind, {})]
    if paper in names:
        return paper
    return max(sorted(set(names)), key=names.count, default=None)
