"""Training: train, evaluate the final weights, and leave a run folder."""

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from contextseg import parts
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine import build, ranks
from contextseg.engine.callbacks.stopping import Stopping, leave
from contextseg.engine.features import whole_image_features
from contextseg.engine.fingerprints import fingerprints, seen_before
from contextseg.engine.loggers import loggers
from contextseg.engine.module import SegModule
from contextseg.engine.options import TrainOptions
from contextseg.engine.restart import Restart
from contextseg.engine.results import image_counts, scores, training_summary, write_image_counts, write_tables
from contextseg.engine.trainer import trainer
from contextseg.runs.folder import RunFolder, plain, rank, supervised
from contextseg.runs.provenance import git_commit, versions
from contextseg.warm_start import read_start, start_from

log = logging.getLogger(__name__)


@dataclass
class Result:
    """The result of a training or an evaluation."""

    folder: Path
    metrics: dict[str, Any]  # the contents of metrics.json
    module: SegModule
    datamodule: SegDataModule


def fit(options: TrainOptions, config: dict[str, Any], folder: RunFolder, start: Restart | None = None) -> Result:
    """Train as the options say, from the checkpoint `start` on if the run was begun before, and fill the run folder.

    `config`: the same configuration as plain containers, for config.yaml and the checkpoints. Raises `ConfigError`,
    before anything is trained, for mistakes that the user can correct.
    """
    first_step = start.step if start else 0
    metrics = {"status": "running", "seed": options.seed, "choices": options.choices, "versions": versions()}
    scored = "holdout" if options.holdout else "val"
    metrics |= {"git_commit": git_commit(), "split": scored, "protocol": options.choices.get("eval")}
    with supervised(folder, metrics):
        L.seed_everything(options.seed, verbose=False)
        write_config(folder, config)
        data = build.datamodule(options)
        data.holdout = options.holdout
        callbacks = [parts.make(node, f"callbacks.{name}") for name, node in options.callbacks.items()]
        here = ranks.present(folder.path, rank()) if options.trainer.nodes else nullcontext()
        with here, loggers(options.logger or {}, config, first_step) as started:
            stopping = Stopping()
            lightning = trainer(options.trainer, data.batch_size, [*callbacks, stopping], started)
            accumulate = lightning.accumulate_grad_batches
            data.set_stream(
                seed=options.seed,
                num_batches=options.trainer.max_steps * accumulate,
                first_batch=first_step * accumulate,
                accumulate=accumulate,
                eval_batch_size=options.eval.batch_size,
            )
            data.trainer = lightning  # knows the number of processes
            data.check()
            module = build.module(options, data)
            build.refuse_other_clips(module.segmenter, data.source("train"))
            build.try_out_evaluation(module, data, options)
            module.config = config
            module.train_images = images = fingerprints(data.source("train"))
            if options.init_from:
                module.train_images = images = continue_from(options.init_from, module, images, start)
            whole_image_features(options, module, data, start)
            if seen := seen_before(images, data.source("val")):
                log.warning("%d validation images are in the training split too, so the score is biased", seen)
            describe(module, data, lightning, folder)
            metrics["parameters"] = sum(p.numel() for p in module.segmenter.parameters())
            if start:
                lightning.strategy.checkpoint_io = start
            began = time.perf_counter()
            try:
                checkpoint = folder.last_checkpoint if start else None
                with ranks.watched(lightning, lambda said: record_loss(folder, metrics, said)):
                    lightning.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            except RuntimeError as error:
                if options.trainer.nodes and (said := ranks.gone(folder, options.trainer)):
                    raise ranks.ProcessGone(said) from error
                if said := ranks.lost(lightning, patience=2):
                    raise RuntimeError(said) from error
                # the signal reached the whole group, while this process waited for a batch of its workers
                if stopping.noted and "DataLoader worker" in str(error):
                    leave(stopping.noted)
                raise
            finally:
                metrics |= {"steps": lightning.global_step, "seconds": round(time.perf_counter() - began, 1)}
            if reason := stopping.reason(lightning):
                metrics["stopped_by"] = reason.by
                if reason.done:
                    log.info("step %d is the last: %s", lightning.global_step, reason.by)
                else:
                    metrics["status"] = "stopped"
            if module.scored_step != lightning.global_step:  # the run was killed after its last step
                lightning.validate(module, datamodule=data, verbose=False)
        metrics |= scores(module) | training_summary(callbacks)
        write_tables(folder, module)
        write_image_counts(folder, image_counts(module, data, "val"), metrics)
    return Result(folder.path, metrics, module, data)


def record_loss(folder: RunFolder, metrics: dict[str, Any], said: str) -> None:
    """Record that a process was lost: Lightning may kill this one before it can."""
    log.error("%s", said)
    folder.write_metrics(plain(metrics | {"status": "failed", "error": said}))


def continue_from(path: str, module: SegModule, images: Tensor, restart: Restart | None) -> Tensor:
    """Start from the weights of another run, unless this one has its own.

    `images`: fingerprints of this run's training images, uint8 (N, 8). Returns those of both runs. Raises `ConfigError`
    if `path` is no run, or a run of another network.
    """
    if restart:
        seen = restart.train_images
    else:
        start = read_start(path)
        taken = start_from(module.segmenter, start, path)
        log.info("init_from: of %s after %d steps, %s", path, start["global_step"], taken)
        seen = start.get("train_images")
    return images if seen is None else torch.cat([seen, images]).unique(dim=0)


@rank_zero_only
def write_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Write `config.yaml`, the resolved configuration."""
    folder.write_config(config)


def describe(module: SegModule, data: SegDataModule, lightning: L.Trainer, folder: RunFolder) -> None:
    """Log network, loss, data, device and folder in one line."""
    if not lightning.is_global_zero:
        return
    network = module.segmenter
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    log.info(
        "%s + %s, %.2f M parameters; loss %s; %s: %d train / %d val images; %s, %d device(s), %s; %s",
        type(network.head).__name__,
        module.recipe["backbone"].get("model", type(network.backbone).__name__),
        millions,
        " + ".join(module.loss.term),
        data.name,
        len(data.source("train")),
        len(data.source("val")),
        lightning.strategy.root_device.type,
        lightning.world_size,
        lightning.precision,
        folder.path,
    )
    if network.backbone.frozen:
        held = list(network.backbone.parameters())
        fixed, whole = (sum(p.numel() for p in some) / 1e6 for some in ([p for p in held if not p.requires_grad], held))
        log.info("frozen: %.2f of %.2f M parameters of the backbone, and their batch statistics", fixed, whole)
