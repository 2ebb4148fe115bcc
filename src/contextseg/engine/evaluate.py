"""Evaluation: score a checkpoint on a split, and leave a run folder."""

import logging
import time
from typing import Any

from contextseg.checkpoint import restore
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine import build
from contextseg.engine.callbacks.pictures import Pictures
from contextseg.engine.callbacks.progress import ProgressBar
from contextseg.engine.fingerprints import seen_before
from contextseg.engine.fit import Result, write_config
from contextseg.engine.module import SegModule
from contextseg.engine.options import EvaluateOptions
from contextseg.engine.results import image_counts, intervals, scores, tell, write_image_counts, write_tables
from contextseg.engine.trainer import trainer
from contextseg.errors import ConfigError, how_to_run
from contextseg.losses.total import LossSum
from contextseg.runs.folder import RunFolder, supervised
from contextseg.runs.provenance import versions
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)


def evaluate(options: EvaluateOptions, config: dict[str, Any], checkpoint: dict[str, Any], folder: RunFolder) -> Result:
    """Score the network of a checkpoint as the options say, and fill the run folder.

    `config`: the configuration as plain containers, for config.yaml. Raises `ConfigError` for a data set of other
    classes, for a split without labels, and, unless `force`, for images that the network was trained on.
    """
    metrics = {"status": "running", "ckpt": str(options.ckpt), "trained_steps": checkpoint["global_step"]}
    metrics |= {"force": options.force, "split": options.split}
    metrics |= {"protocol": options.choices.get("eval"), "versions": versions()}
    with supervised(folder, metrics):
        write_config(folder, config)
        network = restore(checkpoint, options.ckpt)
        pictures = options.callbacks.pictures
        callbacks = [ProgressBar(), Pictures(str(pictures.folder or folder.path / "predictions"), pictures.count or 0)]
        data = build.datamodule(options)
        lightning = trainer(options.trainer, data.batch_size, callbacks, [])
        refuse_other_classes(data, network, str(options.ckpt))
        data.set_stream(seed=0, num_batches=0, eval_batch_size=options.eval.batch_size)
        data.trainer = lightning
        data.check(splits=(options.split,))
        refuse_unlabelled(data, options.split)
        if not options.force:
            refuse_trained_on(checkpoint, data, options)
        module = scoring_module(options, data, network)
        start = time.perf_counter()
        run = lightning.validate if options.split == "val" else lightning.test
        run(module, datamodule=data, verbose=False)
        seconds = time.perf_counter() - start
        images = len(data.source(options.split))
        metrics |= {"seconds": round(seconds, 1), "images_per_second": round(images / seconds, 1)}
        metrics |= scores(module)
        write_tables(folder, module)
        counts = image_counts(module, data, options.split)
        write_image_counts(folder, counts, metrics)
        if lightning.is_global_zero:
            metrics["interval"] = intervals(counts)
            tell(metrics)
    return Result(folder.path, metrics, module, data)


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
