"""`fit` and `evaluate`: what the commands do, as functions that return what they made."""

import csv
import logging
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from contextseg import build, run_folder, viz
from contextseg.callbacks.record import Record
from contextseg.checkpoint import read_checkpoint, read_start, restore, start_from
from contextseg.config import check_values, differences
from contextseg.console import console
from contextseg.contract import ConfigError
from contextseg.data.datamodule import SegDataModule
from contextseg.data.source import Source
from contextseg.module import SegModule
from contextseg.run_folder import RunFolder, supervised
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)
for library in ("lightning", "lightning.pytorch", "lightning.fabric"):  # to train.log, not onto the console
    logging.getLogger(library).handlers.clear()
    logging.getLogger(library).propagate = True
logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").setLevel(logging.WARNING)


@dataclass
class Result:
    """What a run made."""

    folder: Path
    metrics: dict[str, Any]  # the contents of metrics.json
    module: SegModule
    datamodule: SegDataModule


def fit(cfg: DictConfig) -> Result:
    """Train, evaluate the final weights, and leave a complete run folder.

    Raises `ConfigError` for what the user can put right, before anything is trained.
    """
    folder = run_folder.open_folder(runs_of(cfg), given=cfg.run.dir, resume=cfg.resume)
    cfg = settle(cfg, folder)
    first_step = steps_done(folder, cfg) if folder.resumed else 0
    metrics = {"status": "running", "seed": cfg.seed, "choices": dict(cfg.choices), "versions": build.versions()}
    metrics |= {"git_commit": git_commit(), "split": "val", "protocol": cfg.choices.get("eval")}
    with supervised(folder, metrics):
        check_values(cfg)
        L.seed_everything(cfg.seed, verbose=False)
        write_config(folder, cfg)
        data = build.datamodule(cfg)
        callbacks = {name: build.instantiate(node, f"callbacks.{name}") for name, node in cfg.callbacks.items()}
        with loggers(cfg, first_step) as started:
            trainer = build.trainer(cfg, list(callbacks.values()), started)
            accumulate = trainer.accumulate_grad_batches
            data.plan(
                seed=cfg.seed,
                num_batches=cfg.trainer.max_steps * accumulate,
                first_batch=first_step * accumulate,
                accumulate=accumulate,
                eval_batch_size=cfg.eval.batch_size,
            )
            data.trainer = trainer  # knows the number of processes
            data.check()
            module = build.module(cfg, data)
            module.train_images = fingerprints(data.source("train"))
            if cfg.init_from:
                continue_from(cfg.init_from, module, folder)
            if seen := overlap(module.train_images, fingerprints(data.source("val"))):
                log.warning("%d validation images are in the training split too: their score says nothing", seen)
            describe(module, data, trainer, folder)
            metrics["parameters"] = sum(p.numel() for p in module.segmenter.parameters())
            start = time.perf_counter()
            try:
                checkpoint = folder.last_checkpoint if folder.resumed else None
                trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            finally:
                metrics |= {"steps": trainer.global_step, "seconds": round(time.perf_counter() - start, 1)}
            if module.scored_step != trainer.global_step:  # the run was killed after its last step
                trainer.validate(module, datamodule=data, verbose=False)
        metrics |= scores(module) | training_summary(callbacks.values())
        write_tables(folder, module)
    return Result(folder.path, metrics, module, data)


def evaluate(cfg: DictConfig) -> Result:
    """Score a checkpoint on a split; the results get a run folder of their own."""
    if cfg.split not in ("val", "test"):
        raise ConfigError(f"split={cfg.split}: choose val or test")
    if not isinstance(cfg.force, bool):
        raise ConfigError(f"force={cfg.force}: give true or false")
    checkpoint = read_checkpoint(cfg.ckpt)
    cfg = as_trained(checkpoint["config"], cfg)
    folder = run_folder.open_folder(runs_of(cfg), suffix="_evaluate")
    cfg = settle(cfg, folder)
    metrics = {"status": "running", "ckpt": str(cfg.ckpt), "trained_steps": checkpoint["global_step"]}
    metrics |= {
        "force": cfg.force,
        "split": cfg.split,
        "protocol": cfg.choices.get("eval"),
        "versions": build.versions(),
    }
    with supervised(folder, metrics):
        check_values(cfg)
        write_config(folder, cfg)
        network = restore(checkpoint, cfg.ckpt)
        callbacks = [build.instantiate(cfg.callbacks[name], f"callbacks.{name}") for name in ("progress", "pictures")]
        trainer = build.trainer(cfg, callbacks, [])
        data = build.datamodule(cfg)
        refuse_other_classes(data, network, cfg.ckpt)
        data.plan(seed=0, num_batches=0, eval_batch_size=cfg.eval.batch_size)
        data.trainer = trainer
        data.check(splits=(cfg.split,))
        refuse_unlabelled(data, cfg.split)
        if not cfg.force:
            refuse_trained_on(checkpoint, data.source(cfg.split), cfg)
        module = build.module(cfg, data, network)
        start = time.perf_counter()
        run = trainer.validate if cfg.split == "val" else trainer.test
        run(module, datamodule=data, verbose=False)
        seconds = time.perf_counter() - start
        metrics |= {"seconds": round(seconds, 1), "images_per_second": round(len(data.source(cfg.split)) / seconds, 1)}
        metrics |= scores(module)
        write_tables(folder, module)
    return Result(folder.path, metrics, module, data)


def refuse_other_classes(data: SegDataModule, network: Segmenter, ckpt: str) -> None:
    """Raises `ConfigError` if a network was trained for other classes than those of a data set."""
    if data.classes.names != network.classes.names:
        raise ConfigError(
            f"data={data.name} has classes {', '.join(data.classes.names)}, but ckpt={ckpt} was trained for "
            f"{', '.join(network.classes.names)}; give the data set that it was trained on"
        )


def refuse_unlabelled(data: SegDataModule, split: str) -> None:
    """Raises `ConfigError` for a split whose labels its makers keep back."""
    if not data.source(split).labelled:
        way_out = "submit.py makes the archive for its server" if data.submission else "choose split=val"
        raise ConfigError(f"split={split}: {data.name} has no public labels for it; {way_out}")


def continue_from(path: str, module: SegModule, folder: RunFolder) -> None:
    """Start from the weights of another run, unless this one has its own; what that was trained on, this one was too.

    Raises `ConfigError` if it is no run, or one of another network or other classes.
    """
    start = read_checkpoint(folder.last_checkpoint) if folder.resumed else read_start(path)
    if not folder.resumed:
        start_from(module.segmenter, start, path)
        log.info("init_from: the weights of %s after %d steps", path, start["global_step"])
    if start.get("train_images") is not None:
        module.train_images = torch.cat([start["train_images"], module.train_images]).unique(dim=0)


def fingerprints(source: Source) -> Tensor:
    """The 8 bytes that stand for the content of each image of a split: uint8 (N, 8)."""
    with ThreadPoolExecutor(32) as pool:  # it waits for the disk
        codes = "".join(pool.map(source.fingerprint, range(len(source))))
    return torch.tensor(list(bytes.fromhex(codes)), dtype=torch.uint8).view(-1, 8)


def overlap(known: Tensor, asked: Tensor) -> int:
    """How many rows of `asked` (M, 8) are among those of `known` (N, 8)."""
    rows = {row.tobytes() for row in known.numpy()}
    return sum(row.tobytes() in rows for row in asked.numpy())


def refuse_trained_on(checkpoint: dict[str, Any], source: Source, cfg: DictConfig) -> None:
    """Raises `ConfigError` if a split holds images that the checkpoint was trained on (by content)."""
    if checkpoint.get("train_images") is None:
        log.warning(
            "ckpt=%s does not say what it was trained on: make sure that split=%s is new to it", cfg.ckpt, cfg.split
        )
        return
    if seen := overlap(checkpoint["train_images"], fingerprints(source)):
        raise ConfigError(
            f"split={cfg.split}: {seen} of its {len(source)} images are among those that ckpt={cfg.ckpt} was trained "
            "on, so their score says nothing about new images; give another split or data set, or force=true"
        )


def as_trained(trained: dict[str, Any], cfg: DictConfig) -> DictConfig:
    """The configuration in a checkpoint, with what `cfg` sets in its place; a group that was chosen replaces all."""
    trained = {group: node for group, node in trained.items() if group not in cfg.choices}
    return OmegaConf.merge(trained, without_nulls(OmegaConf.to_container(cfg)))


def without_nulls(node: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts without the keys that are null."""
    return {
        key: without_nulls(value) if isinstance(value, dict) else value
        for key, value in node.items()
        if value is not None
    }


def load_run(folder: str | Path, which: str = "last") -> tuple[DictConfig, Any, SegDataModule]:
    """Configuration, network (evaluation mode) and data module of a run folder; `which` checkpoint: last or best."""
    folder = RunFolder(Path(folder))
    cfg = OmegaConf.create(folder.read_config())
    found = sorted((folder.path / "checkpoints").glob(f"{which}*.ckpt"))
    if not found:
        raise ConfigError(f"{folder.path} has no checkpoints/{which}*.ckpt")
    data = build.datamodule(cfg)
    data.plan(seed=cfg.seed, num_batches=cfg.trainer.max_steps, eval_batch_size=cfg.eval.batch_size)
    return cfg, restore(read_checkpoint(found[-1]), found[-1]), data


# the run folder and what is written into it


def runs_of(cfg: DictConfig) -> Path:
    """The folder that holds the runs of this name."""
    return Path(cfg.paths.runs) / run_folder.plain_name(cfg.name)


def settle(cfg: DictConfig, folder: RunFolder) -> DictConfig:
    """The configuration with the folder filled in and every interpolation resolved.

    A run that goes on keeps the id in its checkpoint, under which loggers know it, wherever its folder lies now.
    """
    run_id = read_checkpoint(folder.last_checkpoint)["config"]["run"]["id"] if folder.resumed else folder.id
    cfg = OmegaConf.merge(cfg, {"run": {"dir": str(folder.path), "id": run_id}})
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


@rank_zero_only
def write_config(folder: RunFolder, cfg: DictConfig) -> None:
    """Write the resolved configuration."""
    folder.write_config(OmegaConf.to_container(cfg))


def steps_done(folder: RunFolder, cfg: DictConfig) -> int:
    """The optimizer steps after which a run goes on. Raises `ConfigError` if it may not go on under this
    configuration, naming the keys that differ, or if it has done all its steps."""
    if keys := differences(folder.read_config(), OmegaConf.to_container(cfg)):
        raise ConfigError(
            f"resume: the configuration differs from that of {folder.path} in {len(keys)} keys "
            f"({'; '.join(keys[:5])}); use the same settings, or start a new run without resume"
        )
    step = read_checkpoint(folder.last_checkpoint)["global_step"]
    left, finished = cfg.trainer.max_steps - step, folder.read_metrics().get("status") == "finished"
    if left < 0 or (left == 0 and finished):
        raise ConfigError(f"resume: {folder.path} has done its {step} steps; raise trainer.max_steps to go on")
    return step


def scores(module: SegModule) -> dict[str, Any]:
    """The scores of the last evaluation, for `metrics.json`, and the classes that they are of."""
    classes = module.segmenter.classes
    scalars = {name: value for name, value in module.scores.items() if isinstance(value, int | float)}
    by_class = dict(zip(classes.names, module.scores["iou"].tolist(), strict=True))
    return {"class_set": classes.name} | scalars | {"iou": by_class}


def training_summary(callbacks: Iterable[L.Callback]) -> dict[str, Any]:
    """What the callbacks know of the training: its time and speed, and step and score of the best weights."""
    summary = {}
    for callback in callbacks:
        if isinstance(callback, Record):
            summary["seconds"] = round(callback.elapsed, 1)
            summary["images_per_second"] = round(callback.images_per_second, 1)
        elif isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
            step = int(Path(callback.best_model_path).stem.split("-")[1])
            summary["best"] = {"step": step, "miou": float(callback.best_model_score)}
    return summary


@rank_zero_only
def write_tables(folder: RunFolder, module: SegModule) -> None:
    """Write `per_class.csv`, `confusion.npz` and a picture of each, and print the table of classes."""
    classes = module.segmenter.classes
    confusion = module.scores["confusion"].numpy()
    np.savez_compressed(folder.path / "confusion.npz", confusion=confusion, names=np.array(classes.names))
    scores = ([f"{value:.4f}" for value in module.scores[name]] for name in ("iou", "acc"))
    with (folder.path / "per_class.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["class", "iou", "acc", "pixels"])
        rows.writerows(zip(classes.names, *scores, confusion.sum(1), strict=True))
    viz.per_class_picture(module.scores, classes, folder.path / "per_class.png")
    viz.confusion_picture(confusion, classes, folder.path / "confusion.png")
    console.print(viz.per_class_table(module.scores, classes))
    console.print(f"results: {folder.path}", soft_wrap=True, highlight=False)


def describe(module: SegModule, data: SegDataModule, trainer: L.Trainer, folder: RunFolder) -> None:
    """Say in a few lines what is about to run."""
    if not trainer.is_global_zero:
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
        trainer.strategy.root_device.type,
        trainer.world_size,
        trainer.precision,
        folder.path,
    )


@contextmanager
def loggers(cfg: DictConfig, first_step: int) -> Iterator[list[Logger]]:
    """The loggers of `cfg.logger`, closed at the end so that the runs of one process, a notebook say, do not mix.

    A logger that cannot start or close is left out with a warning: it never stops a run.
    """
    started = []
    for name, node in cfg.logger.items():
        with never_fatal(f"logger.{name} does not start"):
            logger = build.instantiate(node, f"logger.{name}")
            logger.log_hyperparams(OmegaConf.to_container(cfg))
            if first_step and hasattr(logger, "resume"):
                logger.resume(first_step)
            started.append(logger)
    failed = 1
    try:
        yield started
        failed = 0
    finally:
        for logger in started:
            with never_fatal(f"{logger.name} does not close"):
                if hasattr(logger.experiment, "finish"):  # W&B
                    logger.experiment.finish(exit_code=failed)
                elif hasattr(logger.experiment, "close"):  # TensorBoard
                    logger.experiment.close()


def sweep_of(folder: str, row: str | None) -> str | None:
    """The sweep that a run is part of, by which loggers group runs: the table of its row, or the name of the folder
    that the jobs lie in; None for a run of its own."""
    if row:
        return row.partition("/")[0]
    path = Path(folder)
    return path.parent.name if re.match(r"\d{3}_", path.name) else None


def tags(*words: str | None) -> list[str]:
    """The words that are there, cut to the 64 characters of W&B's tags."""
    return [word[:64] for word in words if word]


@contextmanager
def never_fatal(what: str) -> Iterator[None]:
    """Turn an error, unless the user can put it right, into a warning."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        log.warning("%s (%s: %s); going on without it", what, type(error).__name__, error)


def git_commit() -> str | None:
    """The commit of the source tree, with "+" if it has changes; None outside a git checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
