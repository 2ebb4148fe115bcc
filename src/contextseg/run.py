"""`fit` and `evaluate`: what the commands do, as functions that return what they made."""

import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from contextseg import build, run_folder, viz
from contextseg.callbacks.record import Record
from contextseg.checkpoint import read_checkpoint, restore
from contextseg.console import console
from contextseg.contract import ConfigError
from contextseg.data.datamodule import SegDataModule
from contextseg.module import SegModule
from contextseg.run_folder import RunFolder

log = logging.getLogger(__name__)
logging.getLogger("lightning").handlers.clear()  # its lines go to train.log, not onto the console
logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").setLevel(logging.WARNING)

# What may differ when a run goes on: limits of the trainer, loggers, paths; nothing that changes the numbers.
FREE = ("trainer.max_steps", "trainer.val_every_steps", "trainer.save_every_steps", "trainer.log_every_steps")
FREE += (
    "trainer.lightning",
    "logger",
    "callbacks",
    "paths",
    "run",
    "resume",
    "data.root",
    "data.num_workers",
    "choices",
)


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
    folder = open_folder(cfg)
    cfg = settle(cfg, folder)
    metrics = {"status": "running", "seed": cfg.seed, "choices": dict(cfg.choices), "versions": build.versions()}
    metrics |= {"git_commit": git_commit(), "split": "val", "protocol": cfg.choices.get("eval")}
    with supervised(folder, metrics):
        L.seed_everything(cfg.seed, verbose=False)
        if not folder.resumed:
            write_config(folder, cfg)
        callbacks = {name: build.instantiate(node, f"callbacks.{name}") for name, node in cfg.callbacks.items()}
        trainer = build.trainer(cfg, list(callbacks.values()), build_loggers(cfg))
        data = build.datamodule(cfg)
        first_step = resume(folder, cfg, trainer) if folder.resumed else 0
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
        describe(module, data, trainer, folder)
        start = time.perf_counter()
        try:
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=folder.last_checkpoint if folder.resumed else None,
                weights_only=True,
            )
        finally:
            metrics |= {"steps": trainer.global_step, "seconds": round(time.perf_counter() - start, 1)}
        if module.scored_step != trainer.global_step:
            trainer.validate(module, datamodule=data, verbose=False)
        metrics |= scores(module)
        for callback in callbacks.values():
            if isinstance(callback, Record):
                metrics["images_per_second"] = round(callback.images_per_second, 1)
            elif isinstance(callback, ModelCheckpoint) and callback.best_model_score is not None:
                metrics["best"] = best(callback)
        metrics["parameters"] = sum(p.numel() for p in module.segmenter.parameters())
        write_tables(folder, module)
    return Result(folder.path, metrics, module, data)


def evaluate(cfg: DictConfig) -> Result:
    """Score a checkpoint on a split; the results get a run folder of their own."""
    checkpoint = read_checkpoint(cfg.ckpt)
    cfg = OmegaConf.merge(OmegaConf.create(checkpoint["config"]), OmegaConf.masked_copy(cfg, given(cfg)))
    folder = open_folder(cfg, suffix="_evaluate")
    cfg = settle(cfg, folder)
    metrics = {"status": "running", "ckpt": str(cfg.ckpt), "trained_steps": checkpoint["global_step"]}
    metrics |= {"split": cfg.split, "protocol": cfg.choices.get("eval"), "versions": build.versions()}
    with supervised(folder, metrics):
        write_config(folder, cfg)
        network = restore(checkpoint, cfg.ckpt)
        callbacks = [build.instantiate(cfg.callbacks[name], name) for name in ("progress", "pictures")]
        trainer = build.trainer(cfg, callbacks, [])
        data = build.datamodule(cfg)
        if data.classes.names != network.classes.names:
            raise ConfigError(
                f"data={data.name} has classes {', '.join(data.classes.names)}, but ckpt={cfg.ckpt} was trained for "
                f"{', '.join(network.classes.names)}; give the data set that it was trained on"
            )
        data.plan(seed=0, num_batches=0, eval_batch_size=cfg.eval.batch_size)
        data.trainer = trainer
        data.check(splits=(cfg.split,))
        module = build.module(cfg, data, network)
        start = time.perf_counter()
        if cfg.split == "val":
            trainer.validate(module, datamodule=data, verbose=False)
        else:
            trainer.test(module, datamodule=data, verbose=False)
        seconds = time.perf_counter() - start
        metrics |= {"seconds": round(seconds, 1), "images_per_second": round(len(data.source(cfg.split)) / seconds, 1)}
        metrics |= scores(module)
        write_tables(folder, module)
    return Result(folder.path, metrics, module, data)


def given(cfg: DictConfig) -> list[str]:
    """Top-level keys of `conf/evaluate.yaml` that take the place of what the checkpoint says."""
    return [key for key, value in cfg.items() if value is not None]


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


def open_folder(cfg: DictConfig, suffix: str = "") -> RunFolder:
    """The folder of this run, chosen by rank 0: new, or that of an unfinished run (`resume`)."""
    if rank_zero_only.rank:
        return RunFolder(Path(os.environ[run_folder.ENVIRONMENT]), resumed=bool(cfg.get("resume")))
    parent = Path(cfg.paths.runs) / run_folder.plain_name(cfg.name)
    wanted = cfg.get("resume")
    folder = None
    if cfg.run.dir:  # a sweep has chosen it
        folder = RunFolder(Path(cfg.run.dir).resolve())
    elif wanted == "auto":
        folder = run_folder.newest_unfinished(parent)
        log.info("resume=auto: %s", f"going on in {folder.path}" if folder else "no unfinished run; starting a new one")
    elif wanted:
        folder = RunFolder(Path(wanted).resolve(), resumed=True)
        if not folder.last_checkpoint.is_file():
            raise ConfigError(f"resume={wanted}: there is no checkpoints/last.ckpt in it; give a run folder, or auto")
    folder = folder or RunFolder(run_folder.new_folder(parent, suffix))
    os.environ[run_folder.ENVIRONMENT] = str(folder.path)
    return folder


def settle(cfg: DictConfig, folder: RunFolder) -> DictConfig:
    """The configuration with the folder filled in and every interpolation resolved."""
    cfg = OmegaConf.merge(cfg, {"run": {"dir": str(folder.path), "id": folder.id}})
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


@rank_zero_only
def write_config(folder: RunFolder, cfg: DictConfig) -> None:
    """Write the resolved configuration."""
    folder.write_config(OmegaConf.to_container(cfg))


def resume(folder: RunFolder, cfg: DictConfig, trainer: L.Trainer) -> int:
    """Check that the run may go on under this configuration, and take up its curves; returns the steps done.

    Raises `ConfigError` naming the keys that differ.
    """
    before, now = flatten(folder.read_config()), flatten(OmegaConf.to_container(cfg))
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    keys = [key for key in keys if not key.startswith(FREE)]
    if keys:
        differences = "; ".join(f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys[:5])
        raise ConfigError(
            f"resume: the configuration differs from that of {folder.path} in {len(keys)} keys ({differences}); "
            "use the same settings, or start a new run without resume"
        )
    step = read_checkpoint(folder.last_checkpoint)["global_step"]
    if step >= cfg.trainer.max_steps:
        raise ConfigError(f"resume: {folder.path} has done its {step} steps; raise trainer.max_steps to go on")
    for logger in trainer.loggers:
        if hasattr(logger, "resume"):
            logger.resume(step)
    return step


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested containers as one dict with dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        key: value
        for name, child in node.items()
        for key, value in flatten(child, f"{prefix}.{name}".strip(".")).items()
    }


@contextmanager
def supervised(folder: RunFolder, metrics: dict[str, Any]) -> Iterator[None]:
    """Whatever happens inside, `metrics.json` says how it ended and `train.log` holds the traceback."""
    main = rank_zero_only.rank == 0
    handler = folder.log_to_file() if main else None
    try:
        yield
        metrics["status"] = "finished"
    except (KeyboardInterrupt, SystemExit):
        metrics["status"] = "stopped"
        log.warning("stopped; to go on: the same command with resume=auto")
        raise
    except BaseException as error:
        metrics |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        log.exception("the run failed", extra={"file_only": True})
        raise
    finally:
        if main:
            folder.write_metrics(plain(metrics))
            logging.getLogger().removeHandler(handler)
            handler.close()
        os.environ.pop(run_folder.ENVIRONMENT, None)


def plain(value: Any) -> Any:
    """Containers that JSON holds: no NaN (null), floats to four digits."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 4)
    return value


def scores(module: SegModule) -> dict[str, Any]:
    """The scores of the last evaluation, for `metrics.json`."""
    names = module.segmenter.classes.names
    scalars = {name: value for name, value in module.scores.items() if isinstance(value, int | float)}
    return scalars | {"iou": dict(zip(names, module.scores["iou"].tolist(), strict=True))}


def best(callback: ModelCheckpoint) -> dict[str, Any]:
    """Step and score of the best weights seen during training."""
    step = int(Path(callback.best_model_path).stem.split("-")[1])
    return {"step": step, "miou": float(callback.best_model_score)}


@rank_zero_only
def write_tables(folder: RunFolder, module: SegModule) -> None:
    """Write `per_class.csv` and `confusion.npz`, and print the table of classes."""
    classes = module.segmenter.classes
    confusion = module.metrics["seg"].confusion.cpu().numpy()
    np.savez_compressed(folder.path / "confusion.npz", confusion=confusion, names=np.array(classes.names))
    rows = zip(
        classes.names, module.scores["iou"].tolist(), module.scores["acc"].tolist(), confusion.sum(1), strict=True
    )
    lines = ["class,iou,acc,pixels", *(f"{name},{iou:.4f},{acc:.4f},{pixels}" for name, iou, acc, pixels in rows)]
    (folder.path / "per_class.csv").write_text("\n".join(lines) + "\n")
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


def build_loggers(cfg: DictConfig) -> list:
    """The loggers of `cfg.logger`; one that cannot start is left out with a warning, it never stops a run."""
    loggers = []
    for name, node in cfg.logger.items():
        try:
            logger = build.instantiate(node, f"logger.{name}")
            if rank_zero_only.rank == 0:
                logger.log_hyperparams(OmegaConf.to_container(cfg))
            loggers.append(logger)
        except ConfigError:
            raise
        except Exception as error:
            log.warning("logger.%s does not start (%s: %s); going on without it", name, type(error).__name__, error)
    return loggers


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
