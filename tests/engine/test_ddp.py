"""Several processes on the CPU, started by the command as a user starts them: the same numbers as one process."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from harness import COMMANDS, SMALL, call, curve, disturb, folders, last_checkpoint, subprocess_environment, train

from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.statistics import ImageCounts

# No batch statistics and no dropout, which go by process; SGD, which passes rounding on as it is: AdamW divides a
# gradient by its own size, and makes of a rounded zero a whole step.
ALIKE = ("frozen_batch_norm=true", "+head.dropout=0", "optim=sgd", "optim.lr=0.1", "schedule=constant")
ALIKE += ("trainer.max_steps=5", "data.batch_size=12", "callbacks.pictures.count=0")
PROCESSES = [2, pytest.param(3, marks=pytest.mark.slow)]

pytestmark = pytest.mark.usefixtures("warm")


def run(command, *arguments):
    """A command as a user runs it."""
    line = [sys.executable, str(COMMANDS / f"{command}.py"), *arguments]
    return subprocess.run(line, env=subprocess_environment(), capture_output=True, text=True, timeout=300)


def confusion(folder):
    return np.load(folder / "confusion.npz")["confusion"]


def void_pixels(datamodule):
    return sum(int((datamodule.source("train").read(index)[1] == 255).sum()) for index in range(20))


@pytest.mark.parametrize("processes", PROCESSES)
def test_training_follows_one_process(tmp_path, processes):
    """Gradients are means over the valid pixels of all processes, whose numbers differ."""
    one = train(tmp_path / "one", *ALIKE)
    # quotes and a relative folder, as they reach the other processes through Lightning and Hydra
    several = [*SMALL, *ALIKE, "trainer=ddp_cpu", f"trainer.devices={processes}", "name='of_several'"]
    done = run("train", *several, f"paths.runs='{tmp_path}/of several'")
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path / "of several")
    assert void_pixels(one.datamodule) > 0

    before, after = last_checkpoint(one.folder)["state_dict"], last_checkpoint(folder)["state_dict"]
    for name, value in before.items():
        np.testing.assert_allclose(after[name].float(), value.float(), rtol=1e-4, atol=1e-5, err_msg=name)
        assert not name.endswith("num_batches_tracked") or value == 0, "the batch statistics are frozen"
    losses = [[float(row["train/loss"]) for row in curve(place)] for place in (one.folder, folder)]
    np.testing.assert_allclose(*losses, rtol=1e-4)

    assert confusion(folder).sum(1).tolist() == confusion(one.folder).sum(1).tolist(), "each image is counted once"
    assert json.loads((folder / "metrics.json").read_text())["status"] == "finished"
    assert done.stderr.count("results: ") == 1, "one process speaks"


@pytest.mark.parametrize("processes", PROCESSES)
def test_evaluation_does_not_depend_on_processes_workers_or_batch(tmp_path, trained, processes):
    """Seven images, which neither 2 nor 3 divides: each is counted once."""
    settings = [f"ckpt={trained.folder}/checkpoints/last.ckpt", "eval=slide_ms_flip", "eval.predictor.scales=[0.75,1]"]
    settings += ["eval.predictor.inner.crop=[48,64]", "eval.extra_metrics=[boundary_iou,miou_per_image]"]
    settings += ["data.val_size=7", "callbacks.pictures.count=0"]
    code, said = call("evaluate", *settings, f"paths.runs={tmp_path}/one", "eval.batch_size=1")
    assert code == 0, said
    other = ["eval.batch_size=3", "data.num_workers=1", f"trainer.devices={processes}"]
    done = run("evaluate", *settings, *other, f"paths.runs={tmp_path}/several")
    assert done.returncode == 0, done.stderr
    one, several = (folders(tmp_path / name)[0] for name in ("one", "several"))
    assert (confusion(one) == confusion(several)).all()
    data = build.datamodule(compose([*SMALL, "data.val_size=7"]))
    masks = [data.source("val").read(index)[1] for index in range(7)]
    assert confusion(one).sum() == sum(int((mask != 255).sum()) for mask in masks)
    ours, theirs = (ImageCounts.load(folder / "per_image/val_slide_ms_flip.npz") for folder in (one, several))
    assert (ours.names, ours.cells.tolist()) == (theirs.names, theirs.cells.tolist())
    assert (ours.confusion == confusion(one)).all()
    assert ours.totals[..., 1].sum(1).tolist() == [int((mask != 255).sum()) for mask in masks], "in their order"
    one, several = (json.loads((folder / "metrics.json").read_text()) for folder in (one, several))
    assert one["interval"] == several["interval"]
    assert one["interval"]["miou"]["low"] < one["miou"] < one["interval"]["miou"]["high"]
    for name in ("miou", "boundary_iou", "miou_per_image"):
        assert one[name] == several[name] > 0


def test_one_failing_process_stops_all(tmp_path):
    """No process waits for the one that is gone; `run` would give up after five minutes."""
    done = run("train", *SMALL, "trainer=ddp_cpu", f"paths.runs={tmp_path}", disturb(3, rank=1))
    assert done.returncode != 0
    assert "error: process 1: PowerCut: at step 3" in done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = folders(tmp_path)
    assert "PowerCut: at step 3" in (folder / "train.log").read_text()
    assert json.loads((folder / "metrics.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_a_killed_process_is_named(tmp_path):
    done = run("train", *SMALL, "trainer=ddp_cpu", f"paths.runs={tmp_path}", disturb(3, "SIGKILL", rank=1))
    assert done.returncode != 0
    assert "process 1 of 2 was killed by SIGKILL" in done.stderr
    (folder,) = folders(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["status"] == "failed"
    assert "process 1 of 2 was killed by SIGKILL" in metrics["error"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rank"), [("SIGINT", 0), ("SIGTERM", 0), ("SIGTERM", 1)])
def test_stopping_one_process_stops_all(tmp_path, name, rank):
    """All after the same step, and rank 0 ends as the signal does, whichever process got it."""
    done = run("train", *SMALL, "trainer=ddp_cpu", f"paths.runs={tmp_path}", disturb(3, name, rank))
    assert done.returncode == 128 + getattr(signal, name), done.stderr
    (folder,) = folders(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["status"], metrics["stopped_by"]) == ("stopped", name)
    assert last_checkpoint(folder)["global_step"] == metrics["steps"] == 4


@pytest.mark.slow
def test_restart_of_several_processes(tmp_path):
    settings = [*SMALL, "trainer=ddp_cpu"]
    assert run("train", *settings, f"paths.runs={tmp_path}/whole", "resume=auto").returncode == 0
    assert run("train", *settings, f"paths.runs={tmp_path}/cut", disturb(7, rank=1)).returncode != 0
    again = run("train", *settings, f"paths.runs={tmp_path}/cut", "resume=auto")
    assert again.returncode == 0, again.stderr
    (whole,), (resumed,) = folders(tmp_path / "whole"), folders(tmp_path / "cut")
    assert curve(whole) == curve(resumed)
    before, after = (last_checkpoint(folder)["state_dict"] for folder in (whole, resumed))
    assert all((after[name] == value).all() for name, value in before.items())


def test_synchronised_batch_norm_is_refused_on_the_cpu(tmp_path):
    code, said = call("train", *SMALL, "trainer=ddp_cpu", "trainer.sync_batchnorm=true", f"paths.runs={tmp_path}")
    assert code == 2
    assert "needs CUDA" in said
