"""Evaluation: score checkpoints on a split, and leave a run folder for each."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from contextseg.checkpoint import restore
from contextseg.console import console
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine import build
from contextseg.engine.callbacks.pictures import Pictures
from contextseg.engine.callbacks.progress import ProgressBar
from contextseg.engine.candidates import Candidate
from contextseg.engine.features import maps_to_evaluate
from contextseg.engine.fingerprints import seen_before
from contextseg.engine.fit import Result, write_config
from contextseg.engine.module import SegModule
from contextseg.engine.options import EvaluateOptions
from contextseg.engine.results import image_counts, intervals, scores, tell, write_image_counts, write_tables
from contextseg.engine.together import Together
from contextseg.engine.trainer import trainer
from contextseg.errors import ConfigError, how_to_run
from contextseg.losses.total import LossSum
from contextseg.runs.folder import RunFolder, supervised
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)


def evaluate(candidates: Sequence[Candidate], folders: Sequence[RunFolder]) -> list[Result]:
    """Score checkpoints, by one protocol or several, in one pass over the data, and fill the run folder of each.

    Raises `ConfigError` for a data set of other classes, for a split without labels, and, unless `force`, for images
    that a network was trained on.
    """
    records = [candidate.facts(len(candidates)) for candidate in candidates]
    options = candidates[0].options  # `refuse_unlike`: what the pass depends on is the same in all
    with ExitStack() as ends:
        for candidate, folder, metrics in zip(candidates, folders, records, strict=True):
            ends.enter_context(supervised(folder, metrics))
            write_config(folder, candidate.config)
        files = {id(one.checkpoint): one for one in candidates}
        restored = {key: restore(one.checkpoint, one.file) for key, one in files.items()}
        networks = [restored[id(one.checkpoint)] for one in candidates]
        for one in files.values():
            del one.checkpoint["state_dict"]  # the networks hold it, soon with one backbone for all
        pictures = [drawn(one.options, folder) for one, folder in zip(candidates, folders, strict=True)]
        data = build.datamodule(options)
        lightning = trainer(options.trainer, data.batch_size, [ProgressBar(), *pictures], [])
        for key, one in files.items():
            refuse_other_classes(data, restored[key], one.file)
            build.refuse_other_clips(restored[key], data.source(options.split))
        batch_size = max(one.options.eval.batch_size for one in candidates)  # by images: all protocols but `ss`
        data.set_stream(seed=0, num_batches=0, eval_batch_size=batch_size)
        data.trainer = lightning
        data.check(splits=(options.split,))
        refuse_unlabelled(data, options.split)
        if not options.force:
            for one in files.values():
                refuse_trained_on(one.checkpoint, data, one.options)
        modules = [
            scoring_module(one.options, data, network) for one, network in zip(candidates, networks, strict=True)
        ]
        for drawer, module in zip(pictures, modules, strict=True):
            drawer.module = module
        if cached := maps_to_evaluate(candidates[0], modules, data):
            for metrics in records:
                metrics["features"] = str(cached.folder)
        start = time.perf_counter()
        run = lightning.validate if options.split == "val" else lightning.test
        run(Together(modules), datamodule=data, verbose=False)
        seconds = time.perf_counter() - start
        images = len(data.source(options.split))
        for folder, metrics, module in zip(folders, records, modules, strict=True):
            metrics |= {"seconds": round(seconds, 1), "images_per_second": round(images / seconds, 1)}
            metrics |= scores(module)
            if len(candidates) > 1:
                console.print(f"{metrics['ckpt']}, eval={metrics['protocol']}", soft_wrap=True, highlight=False)
            write_tables(folder, module)
            counts = image_counts(module, data, options.split)
            write_image_counts(folder, counts, metrics)
            if lightning.is_global_zero:
                metrics["interval"] = intervals(counts)
                tell(metrics)
    found = zip(folders, records, modules, strict=True)
    return [Result(folder.path, metrics, module, data) for folder, metrics, module in found]


def drawn(options: EvaluateOptions, folder: RunFolder) -> Pictures:
    """Build the callback that draws predictions."""
    wanted = options.callbacks.pictures
    return Pictures(str(wanted.folder or folder.path / "predictions"), wanted.count or 0)


def scoring_module(options: EvaluateOptions, data: SegDataModule, network: Segmenter) -> SegModule:
    """Build the LightningModule that scores a given network."""
    return SegModule(network, LossSum({}), build.predictor(options.eval, network), build.metrics(options.eval, data))


def refuse_other_classes(data: SegDataModule, network: Segmenter, ckpt: str) -> None:
    """Raise `ConfigError` if the network was trained for other classes than those of the data set."""
    if network.classes is None or data.classes.names != network.classes.names:
        trained_for = ", ".join(network.classes.names) if network.classes else "classes without names"
        raise ConfigError(
            f"data={data.name} has classes {', '.join(data.classes.names)}, but ckpt={ckpt} was trained for "
            f"{trained_for}; give the data set that it was trained on"
        )


def refuse_unlabelled(data: SegDataModule, split: str) -> None:
    """Raise `ConfigError` for a split whose labels its authors keep back."""
    if not data.source(split).labelled:
        way_out = f"{how_to_run('submit')} makes the archive for its server" if data.submission else "choose split=val"
        raise ConfigError(f"split={split}: {data.name} has no public labels for it; {way_out}")


def refuse_trained_on(checkpoint: dict[str, Any], data: SegDataModule, options: EvaluateOptions) -> None:
    """Raise `ConfigError` if the split holds images that the checkpoint was trained on, by their content."""
    source = data.source(options.split)
    if checkpoint.get("train_images") is None:
        log.warning(
            "ckpt=%s does not say what it was trained on: make sure that split=%s is new to it",
            options.ckpt,
            options.split,
        )
        return
    if seen := seen_before(checkpoint["train_images"], source):
        raise ConfigError(
            f"split={options.split}: {seen} of its {len(source)} images are among those that ckpt={options.ckpt} was "
            "trained on, so the score does not hold for new images; give another split or data set, or force=true"
        )
