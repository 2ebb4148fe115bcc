"""Several processes on the CPU, started by the command as a user starts them: the same numbers as one process."""

import json
import subprocess
import sys
import time
from functools import cache

import numpy as np
import pytest
from harness import COMMANDS, SMALL, call, curve, disturb, folders, last_checkpoint, subprocess_environment, train

FROZEN = ("frozen_batch_norm=true", "+head.dropout=0", "trainer.max_steps=20", "data.batch_size=12")
SIZES = {2: 299, 3: 301}  # validation images for so many processes: neither divides
PROCESSES = [2, pytest.param(3, marks=pytest.mark.slow)]


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
    overrides = [*FROZEN, f"data.val_size={SIZES[processes]}"]
    one = train(tmp_path / "one", *overrides)
    # quotes and a relative folder, as they reach the other processes through Lightning and Hydra
    several = [*SMALL, *overrides, "trainer=ddp_cpu", f"trainer.devices={processes}", "name='of_several'"]
    done = run("train", *several, f"paths.runs='{tmp_path}/of several'")
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path / "of several")
    assert void_pixels(one.datamodule) > 0

    before, after = last_checkpoint(one.folder)["state_dict"], last_checkpoint(folder)["state_dict"]
    for name, value in before.items():
        np.testing.assert_allclose(after[name].float(), value.float(), atol=1e-4, err_msg=name)
        assert not name.endswith("num_batches_tracked") or value == 0, "the batch statistics are frozen"
    losses = [[float(row["train/loss"]) for row in curve(place)] for place in (one.folder, folder)]
    np.testing.assert_allclose(*losses, atol=1e-4)

    assert confusion(folder).sum(1).tolist() == confusion(one.folder).sum(1).tolist(), "each image is counted once"
    assert json.loads((folder / "metrics.json").read_text())["status"] == "finished"
    assert done.stderr.count("results: ") == 1, "one process speaks"


@cache
def checkpoint(folder):
    return train(folder, "trainer.max_steps=20").folder / "checkpoints/last.ckpt"


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("size", [301, pytest.param(299, marks=pytest.mark.slow)])
def test_evaluation_counts_every_image_once(tmp_path_factory, tmp_path, processes, size):
    settings = [
        f"ckpt={checkpoint(tmp_path_factory.getbasetemp() / 'trained')}",
        f"data.val_size={size}",
        "eval.batch_size=1",
    ]
    code, _ = call("evaluate", *settings, f"paths.runs={tmp_path}/one")
    assert code == 0
    done = run("evaluate", *settings, f"paths.runs={tmp_path}/several", f"trainer.devices={processes}")
    assert done.returncode == 0, done.stderr
    one, several = (confusion(folders(tmp_path / name)[0]) for name in ("one", "several"))
    assert one.sum() > size * 0.8 * 80 * 80
    assert (one == several).all()


@pytest.mark.parametrize("protocol", ["ms_flip", "slide"])
def test_protocols_do_not_depend_on_processes_workers_or_batch(tmp_path_factory, tmp_path, protocol):
    extra = "eval.extra_metrics=[boundary_iou,miou_per_image]"
    settings = [f"ckpt={checkpoint(tmp_path_factory.getbasetemp() / 'trained')}", f"eval={protocol}", extra]
    settings += ["data.val_size=9", "callbacks.pictures.count=0"]
    settings += ["eval.predictor.crop=[48,64]"] if protocol == "slide" else []
    code, said = call("evaluate", *settings, f"paths.runs={tmp_path}/one")
    assert code == 0, said
    other = ["eval.batch_size=3", "data.num_workers=1", "trainer.devices=2", f"paths.runs={tmp_path}/several"]
    done = run("evaluate", *settings, *other)
    assert done.returncode == 0, done.stderr
    one, several = (folders(tmp_path / name)[0] for name in ("one", "several"))
    assert (confusion(one) == confusion(several)).all()
    one, several = (json.loads((folder / "metrics.json").read_text()) for folder in (one, several))
    for name in ("miou", "boundary_iou", "miou_per_image"):
        assert one[name] == several[name] > 0


def test_one_failing_process_stops_all(tmp_path):
    start = time.monotonic()
    done = run("train", *SMALL, "trainer=ddp_cpu", f"paths.runs={tmp_path}", disturb(3, rank=1))
    assert done.returncode != 0
    assert time.monotonic() - start < 120, "no process waits for the one that is gone"
    assert "error in process 1: PowerCut: at step 3" in done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = folders(tmp_path)
    assert "PowerCut: at step 3" in (folder / "train.log").read_text()
    assert json.loads((folder / "metrics.json").read_text())["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopping_one_process_stops_all(tmp_path, name):
    done = run("train", *SMALL, "trainer=ddp_cpu", f"paths.runs={tmp_path}", disturb(3, name))
    assert done.returncode != 0
    (folder,) = folders(tmp_path)
    assert json.loads((folder / "metrics.json").read_text())["status"] == "stopped"


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
