"""Fixtures for all tests: very small runs in a folder of their own, on the CPU."""

from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import quick_hydra
import torch
from harness import train
from PIL import Image

from contextseg import viz
from contextseg.commands.compose import compose
from contextseg.commands.train.command import train as fit
from contextseg.commands.train.options import checked
from contextseg.engine import build, results
from contextseg.engine.trainer import trainer as make_trainer

torch.set_num_threads(1)  # the tests run in two processes
quick_hydra.remember()


@pytest.fixture(autouse=True)
def seed():
    """Random tensors of a test are the same whatever ran before it."""
    torch.manual_seed(0)


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

    The session's run, `trained`, is drawn; so are those in processes of their own.
    """

    def blank(_, classes, path):
        Image.new("RGB", (1, 1)).save(path)

    undrawn = SimpleNamespace(**vars(viz) | {"confusion_picture": blank, "per_class_picture": blank})
    monkeypatch.setattr(results, "viz", undrawn)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The `Result` of a short run of FCN, for all tests that need some run or checkpoint; not to be changed."""
    return train(tmp_path_factory.mktemp("trained"), "trainer.max_steps=4", "data.test_size=6")


@pytest.fixture
def small(tmp_path, request):
    """small("head=fcn", ...) -> the configuration of a run of two steps, its folders in `tmp_path`.

    The data are 16 embedded scenes of 96 px, or with "data=camvid" those of `camvid_root`.
    """

    def configure(*more):
        data = SCENES
        if "data=camvid" in more:
            data = (f"data.root={request.getfixturevalue('camvid_root')}", "data.transform.crop_size=[48,64]")
        return compose([*SMALL, *data, f"paths.runs={tmp_path}/runs", *more])

    return configure


@pytest.fixture
def tmp_run(small):
    """tmp_run("head=fcn", ...) -> the `Result` of such a run, in this process; no pictures unless asked for."""
    return lambda *more: fit(small("callbacks.pictures.count=0", *more))


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
