"""Fixtures for all tests: very small runs in a folder of their own, on the CPU."""

import os
import signal
import subprocess

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch read it: `make test` runs two processes

import numpy as np
import pytest
from PIL import Image

# Imports that take seconds stand in the fixtures: the process that only hands out tests reads this file too.


def pytest_collection_modifyitems():
    """Prepare the process in which tests run: one thread, and nothing imported twice."""
    import quick_hydra
    import torch
    import warm_python

    # a shell that starts us with & has us ignore Ctrl-C, and our children too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    quick_hydra.remember()
    warm_python.keep_copy()


@pytest.fixture(autouse=True)
def seed():
    """Random tensors of a test are the same whatever ran before it."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def warm(monkeypatch):
    """Commands started in processes of their own are forks of a copy of this one, which has imported everything.

    The jobs of a sweep too, without a warm parent of their own: torch, which has run in this process, does not survive
    a fork of a fork.
    """
    from warm_python import WarmPopen

    from contextseg.commands.sweep import pool

    monkeypatch.setattr(pool, "warm_parents", lambda *_: {})
    monkeypatch.setattr(subprocess, "Popen", WarmPopen)


SMALL = (
    "trainer=cpu",
    "trainer.precision=32",
    "trainer.max_steps=2",
    "trainer.val_every_steps=2",
    "trainer.save_every_steps=2",
    "trainer.log_every_steps=1",
    "data.batch_size=4",
    "data.num_workers=0",
    "width=16",
)
SCENES = ("data.train_size=16", "data.val_size=4", "data.test_size=4", "data.size=96")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """The tables of a run are files as before, but matplotlib, half of the time of a short run, does not draw them.

    The session's run, `trained`, is drawn; those in processes of their own are not (`warm_python`).
    """
    from undrawn import viz

    from contextseg.engine import results

    monkeypatch.setattr(results, "viz", viz)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The `Result` of a short run of FCN, for all tests that need some run or checkpoint; not to be changed."""
    from harness import train

    return train(tmp_path_factory.mktemp("trained"), "trainer.max_steps=4", "data.test_size=6")


@pytest.fixture
def small(tmp_path, request):
    """small("head=fcn", ...) -> the configuration of a run of two steps, its folders in `tmp_path`.

    The data are 16 embedded scenes of 96 px, or with "data=camvid" or "data=camvid_clips" those of
    `camvid_root`.
    """
    from contextseg.commands.compose import compose

    def configure(*more):
        data = SCENES
        if {"data=camvid", "data=camvid_clips"} & {*more}:
            data = (f"data.root={request.getfixturevalue('camvid_root')}", "data.transform.crop_size=[48,64]")
        return compose([*SMALL, *data, f"paths.runs={tmp_path}/runs", *more])

    return configure


@pytest.fixture
def tmp_run(small):
    """tmp_run("head=fcn", ...) -> the `Result` of such a run, in this process; no pictures unless asked for."""
    from contextseg.commands.train.command import train

    return lambda *more: train(small("callbacks.pictures.count=0", *more))


@pytest.fixture
def camvid_root(tmp_path):
    """A folder like CamVid's: 8 train, 3 val and 2 test images of 64x80 with labels 0..11."""
    rng = np.random.default_rng(0)
    root = tmp_path / "camvid"
    for split, count in {"train": 8, "val": 3, "test": 2}.items():
        for folder in (root / split, root / f"{split}annot"):
            folder.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (64, 80, 3), np.uint8)).save(root / split / f"{split}{i}.png")
            Image.fromarray(rng.integers(0, 12, (64, 80), np.uint8)).save(root / f"{split}annot" / f"{split}{i}.png")
    return root


@pytest.fixture
def train_with(small):
    """train_with(overrides, *callbacks) -> (module, trainer) after a training without a run folder."""
    import lightning as L

    from contextseg.commands.train.options import checked
    from contextseg.engine import build
    from contextseg.engine.trainer import trainer as make_trainer

    def trained_with(overrides, *callbacks):
        cfg = small(*overrides)
        L.seed_everything(cfg.seed, verbose=False)
        options, _ = checked(cfg)
        trainer = make_trainer(
            options.trainer, options.data["batch_size"], callbacks, [], enable_checkpointing=False, limit_val_batches=0
        )
        data = build.datamodule(options)
        accumulate = trainer.accumulate_grad_batches
        data.set_stream(seed=cfg.seed, num_batches=cfg.trainer.max_steps * accumulate, accumulate=accumulate)
        data.trainer = trainer
        module = build.module(options, data)
        trainer.fit(module, datamodule=data)
        return module, trainer

    return trained_with
