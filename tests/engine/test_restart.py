"""A run that is killed and started again equals the run that was never killed, bit for bit."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import lightning as L
import pytest
import torch
from harness import (
    COMMANDS,
    SMALL,
    PowerCut,
    call,
    checkpoint_differences,
    curve,
    disturb,
    folders,
    last_checkpoint,
    subprocess_environment,
    train,
)
from selected import quick

from contextseg.engine.callbacks.save_last import RunFolderGone
from contextseg.errors import ConfigError
from contextseg.runs.lock import at_work

VARIANTS = {
    "a validation at the step of the checkpoint, bf16": ["trainer.val_every_steps=5", "trainer.precision=bf16"],
    "validations and an epoch border in between, ocr with dropout": [
        "trainer.val_every_steps=3",
        "data.train_size=14",
        "head=ocr",
        "head.dropout=0.5",
    ],
    "two workers, an epoch border, two batches per step": [
        "data.num_workers=2",
        "data.train_size=14",
        "trainer.max_device_batch=2",
    ],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never killed."""
    return train(tmp_path_factory.mktemp("whole")).folder


def assert_same_run(one, other):
    """Weights and batch statistics, optimizer, schedule, the loops' counters and the curve are equal, bit for bit."""
    assert not list(checkpoint_differences(one, other))
    assert curve(one) == curve(other)


def cut(folder, step, *overrides):
    """A run that ends before its step `step` + 1."""
    with pytest.raises(PowerCut):
        train(folder, disturb(step), *overrides)


@pytest.mark.parametrize("name", quick(VARIANTS, ["validations and an epoch border in between, ocr with dropout"]))
def test_restart_is_exact(tmp_path, name):
    overrides = VARIANTS[name]
    whole = train(tmp_path / "whole", *overrides).folder
    cut(tmp_path / "cut", 7, *overrides)
    assert last_checkpoint(folders(tmp_path / "cut")[0])["global_step"] == 5
    resumed = train(tmp_path / "cut", "resume=auto", *overrides).folder
    assert folders(tmp_path / "cut") == [resumed], "the run goes on in its own folder"
    assert [row["step"] for row in curve(resumed)] == [str(step) for step in range(1, 11)]
    assert_same_run(whole, resumed)


def test_restart_after_a_kill(tmp_path, whole, warm):
    """As a user meets it: the process is gone (SIGKILL), the same command with resume=auto goes on."""
    arguments = [*SMALL, f"paths.runs={tmp_path}/killed", disturb(5, "SIGKILL")]
    command = [sys.executable, str(COMMANDS / "train.py"), *arguments]
    killed = subprocess.run(command, env=subprocess_environment(), capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not list((tmp_path / "killed").rglob("metrics.json")), "nothing says that it ended"
    resumed = train(tmp_path / "killed", "resume=auto")
    assert folders(tmp_path / "killed") == [resumed.folder]
    assert resumed.metrics["status"] == "finished"
    assert_same_run(whole, resumed.folder)


def test_a_run_killed_in_its_last_evaluation_is_only_evaluated(tmp_path):
    run = train(tmp_path)
    os.remove(run.folder / "metrics.json")
    again = train(tmp_path, "resume=auto")
    assert again.folder == run.folder
    assert again.metrics["steps"] == 10
    assert again.metrics["iou"] == pytest.approx(run.metrics["iou"], nan_ok=True)
    assert again.metrics["best"] == run.metrics["best"]
    assert again.metrics["seconds"] > 0.9 * run.metrics["seconds"] - 1
    assert again.metrics["images_per_second"] > 0


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch, whole):
    save = torch.save

    def half(contents, file):
        save(contents, file)
        if contents["global_step"] > 5:
            file.truncate(file.tell() // 2)
            raise PowerCut("in the middle of the file")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(PowerCut):
            train(tmp_path / "cut")
    (folder,) = folders(tmp_path / "cut")
    assert last_checkpoint(folder)["global_step"] == 5
    assert_same_run(whole, train(tmp_path / "cut", "resume=auto").folder)


def test_what_a_kill_left_around_an_evaluation_goes(tmp_path):
    """`best` of an evaluation that the checkpoint does not know, and the parts of files."""
    evaluated = ["trainer.val_every_steps=3"]
    cut(tmp_path, 7, *evaluated)
    (folder,) = folders(tmp_path)
    (best,) = folder.glob("checkpoints/best-*.ckpt")
    shutil.copy(best, best.with_name("best-000006-99.00.ckpt"))
    parts = [folder / "checkpoints/.part_1_last.ckpt", folder / "predictions/.part_1_a.png"]
    for part in parts:
        part.touch()
    run = train(tmp_path, "resume=auto", *evaluated)
    assert run.folder == folder
    assert len(list(folder.glob("checkpoints/best-*.ckpt"))) == 1
    assert not any(part.exists() for part in parts)


def test_a_folder_that_is_removed_ends_the_run(tmp_path):
    """A new one of its name would look like a run, without configuration and log."""
    with pytest.raises(RunFolderGone, match="was removed while the run was at work") as gone:
        train(tmp_path, "+callbacks.remove={_target_:test_restart.Remove}")
    assert not folders(tmp_path)
    assert not any("train.log" in note for note in getattr(gone.value, "__notes__", []))  # it went with the folder


class Remove(L.Callback):
    """After the third step: removes the folder of the run."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == 3:
            shutil.rmtree(module.config["run"]["dir"])


@pytest.mark.slow
@pytest.mark.parametrize("schedule", quick(["constant", "onecycle"], ["constant"]))
def test_a_finished_run_goes_on_with_more_steps(tmp_path, schedule):
    choice = f"schedule={schedule}"
    short = train(tmp_path, choice, "trainer.max_steps=5").folder
    longer = train(tmp_path, choice, f"resume={short}", "trainer.max_steps=10", "name=other")
    assert longer.folder == short
    assert longer.metrics["steps"] == 10
    assert [row["step"] for row in curve(short)] == [str(step) for step in range(1, 11)]
    if schedule == "constant":
        whole = train(tmp_path / "whole", choice).folder
        assert [row["train/loss"] for row in curve(whole)] == [row["train/loss"] for row in curve(short)]


def test_auto_leaves_a_finished_run_alone(tmp_path, caplog):
    """A job that is queued again must not train for ever."""
    words = ("resume=auto", "trainer.max_steps=2")
    run = train(tmp_path, *words)
    saved = (run.folder / "checkpoints/last.ckpt").read_bytes()
    with caplog.at_level("INFO"):
        assert train(tmp_path, *words) is None
    score = f"step 2, mIoU {run.metrics['miou']:.2f}"
    assert f"{run.folder} is finished ({score}); for a new run: resume=null" in caplog.text
    assert (run.folder / "checkpoints/last.ckpt").read_bytes() == saved
    code, said = call("train", *SMALL, f"paths.runs={tmp_path}", *words)
    assert (code, folders(tmp_path)) == (0, [run.folder]), said
    anew = train(tmp_path, "resume=null", "trainer.max_steps=2").folder
    assert folders(tmp_path) == sorted([run.folder, anew])


@pytest.mark.slow
def test_auto_starts_a_new_run_when_none_is_unfinished(tmp_path):
    first = train(tmp_path, "resume=auto", "trainer.max_steps=2").folder
    second = train(tmp_path, "resume=auto", "trainer.max_steps=2", "seed=1").folder
    assert folders(tmp_path) == sorted([first, second]), "another configuration is another run"
    other = train(tmp_path, "name=other", "trainer.max_steps=2")
    cut(tmp_path, 7)
    again = train(tmp_path, "name=other", "resume=auto", "trainer.max_steps=3")
    assert again.folder.parent == other.folder.parent


def test_going_on_names_the_step(tmp_path, caplog):
    cut(tmp_path, 7)
    with caplog.at_level("INFO"):
        resumed = train(tmp_path, "resume=auto").folder
    assert f"going on in {resumed} after step 5 of 10" in caplog.text


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    """The configuration in the checkpoint counts, not only the file beside it."""
    cut(tmp_path / "mine", 7)
    cut(tmp_path / "other", 7, "seed=1")
    (mine,), (other,) = folders(tmp_path / "mine"), folders(tmp_path / "other")
    shutil.copy(other / "checkpoints/last.ckpt", mine / "checkpoints/last.ckpt")
    with pytest.raises(ConfigError, match=r"mine/.*/last\.ckpt in 1 keys \(seed: 1 -> 0\)"):
        train(tmp_path / "mine", "resume=auto")


def test_a_run_at_work_is_left_alone(tmp_path):
    """One folder, one run: the second is refused, whichever way it names the folder."""
    cut(tmp_path, 7)
    (folder,) = folders(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with at_work(folder):
        for resume in ("auto", folder):
            code, said = call("train", *SMALL, f"paths.runs={tmp_path}", f"resume={resume}")
            assert code == 2
            assert f"process {os.getpid()} on {socket.gethostname()}" in " ".join(said.split())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert train(tmp_path, "resume=auto").folder == folder
    assert not (folder / "run.lock").exists()


def test_a_checkpoint_is_read_once(tmp_path, monkeypatch):
    """The step that sets the data stream and the weights come from one reading, so nothing can come between them."""
    cut(tmp_path, 7)
    read, load = [], torch.load

    def counted(path, **how):
        read.append(path)
        return load(path, **how)

    monkeypatch.setattr(torch, "load", counted)
    train(tmp_path, "resume=auto")
    assert len(read) == 1


def test_another_configuration_is_refused_by_its_keys(tmp_path):
    finished = train(tmp_path, "trainer.max_steps=5").folder
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    for change, named in {
        "optim.lr=0.1": "optim.lr: 0.003 -> 0.1",
        "head=ocr": "head._target_",
        "seed=1": "seed: 0 -> 1",
    }.items():
        with pytest.raises(ConfigError, match=named):
            train(tmp_path, f"resume={finished}", "trainer.max_steps=10", change)
    with pytest.raises(ConfigError, match=r"has done its 5 steps; raise trainer\.max_steps"):
        train(tmp_path, f"resume={finished}", "trainer.max_steps=5")
    with pytest.raises(ConfigError, match="give a run folder"):
        train(tmp_path, f"resume={tmp_path}")
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
    assert json.loads((finished / "metrics.json").read_text())["status"] == "finished"
