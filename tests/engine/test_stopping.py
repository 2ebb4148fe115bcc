"""Whatever ends a run before its last step: the step is whole and saved, the record says why, and the run can go on."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from harness import COMMANDS, SMALL, call, curve, disturb, folders, last_checkpoint, subprocess_environment, train
from selected import quick

from contextseg.engine.restart import Restart
from contextseg.runs.folder import RunFolder
from contextseg.runs.opening import already_finished, runs_in

STOP_AT = "+callbacks.stop={_target_:harness.StopAt,step:%d}"

TIME_IS_UP = "+trainer.lightning.max_time={seconds: 0}"
EARLY = "+callbacks.early={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:miou,mode:max,%s}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    return train(tmp_path_factory.mktemp("whole"))


def assert_same_weights(one, other):
    """The same in every bit, with what the optimizer and the schedule keep; the losses of every step are."""
    first, second = last_checkpoint(one), last_checkpoint(other)
    assert first["global_step"] == second["global_step"]
    assert first["lr_schedulers"] == second["lr_schedulers"]
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    kept, again = (checkpoint["optimizer_states"][0]["state"] for checkpoint in (first, second))
    assert all(torch.equal(value, again[n][key]) for n, state in kept.items() for key, value in state.items())
    assert [row["train/loss"] for row in curve(one)] == [row["train/loss"] for row in curve(other)]


@pytest.mark.parametrize("step", quick([6, 5, 7], ["6"]))
def test_a_callback_stops_a_run(tmp_path, whole, step):
    """Step 6 is neither saved nor evaluated by its number, 5 is saved; 7 is where an evaluation was due."""
    every = ["trainer.val_every_steps=7"] if step == 7 else []
    stopped = train(tmp_path, STOP_AT % (step - 1), *every)
    assert last_checkpoint(stopped.folder)["global_step"] == step
    assert (stopped.metrics["status"], stopped.metrics["steps"]) == ("stopped", step)
    assert "a callback" in stopped.metrics["stopped_by"]
    assert stopped.module.scored_step == step
    assert "val/miou" in curve(stopped.folder)[-1]
    best = next(state for name, state in last_checkpoint(stopped.folder)["callbacks"].items() if "miou" in name)
    assert best["best_model_score"] == pytest.approx(stopped.metrics["best"]["miou"]), "saved after the evaluation"
    resumed = train(tmp_path, "resume=auto", *every)
    assert resumed.folder == stopped.folder
    assert resumed.metrics["status"] == "finished"
    assert "stopped_by" not in resumed.metrics
    assert_same_weights(whole.folder, resumed.folder)


@pytest.mark.slow
def test_a_stop_in_the_middle_of_a_step_comes_after_it(tmp_path):
    """`StopAt` asks at the first of the two batches of step 7."""
    two = "trainer.max_device_batch=2"
    whole = train(tmp_path / "whole", two)
    stopped = train(tmp_path / "cut", two, STOP_AT % 6)
    assert last_checkpoint(stopped.folder)["global_step"] == stopped.metrics["steps"] == 7
    assert_same_weights(whole.folder, train(tmp_path / "cut", two, "resume=auto").folder)


@pytest.mark.slow
def test_time_that_is_up_stops_a_run(tmp_path, whole):
    cut = train(tmp_path, STOP_AT % 3).folder
    stopped = train(tmp_path, "resume=auto", TIME_IS_UP)
    assert stopped.folder == cut
    assert stopped.metrics["stopped_by"] == "trainer.lightning.max_time"
    assert stopped.metrics["steps"] == last_checkpoint(cut)["global_step"] == 4
    assert_same_weights(whole.folder, train(tmp_path, "resume=auto").folder)


def test_the_time_of_a_run_counts_from_each_start(tmp_path):
    """Else a job that is queued again after its time would stop at once, for ever."""
    folder = train(tmp_path, "+trainer.lightning.max_time={hours: 1}", "trainer.max_steps=2").folder
    assert "Timer" in last_checkpoint(folder)["callbacks"]
    assert "Timer" not in Restart(RunFolder(folder)).contents["callbacks"]


def test_early_stopping_is_honoured(tmp_path):
    stopped = train(tmp_path, EARLY % "stopping_threshold:-1", "trainer.val_every_steps=3")
    assert stopped.metrics["steps"] == last_checkpoint(stopped.folder)["global_step"] == 3
    assert stopped.metrics["stopped_by"].startswith("EarlyStopping: Stopping threshold reached: miou = ")
    assert stopped.metrics["status"] == "finished"
    (run,) = runs_in(stopped.folder.parent)
    assert already_finished(stopped.folder.parent, run.config).folder == run.folder  # resume=auto leaves it alone


def test_the_last_step_is_no_stop(tmp_path, whole):
    run = train(tmp_path, STOP_AT % 9)
    assert run.metrics["status"] == "finished"
    assert_same_weights(whole.folder, run.folder)


def test_a_run_that_diverged_is_not_finished(tmp_path):
    stopped = train(tmp_path, EARLY % "divergence_threshold:200", "trainer.val_every_steps=3")
    assert (stopped.metrics["status"], stopped.metrics["steps"]) == ("stopped", 3)
    assert stopped.metrics["stopped_by"].startswith("EarlyStopping: ")


@pytest.mark.parametrize("name", quick(["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"], ["SIGTERM"]))
def test_a_signal_stops_after_the_step_and_saves_it(tmp_path, whole, warm, name):
    arguments = [*SMALL, f"paths.runs={tmp_path}", disturb(6, name)]
    command = [sys.executable, str(COMMANDS / "train.py"), *arguments]
    done = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 128 + getattr(signal, name), done.stderr
    (folder,) = folders(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["status"], metrics["stopped_by"], metrics["steps"]) == ("stopped", name, 7)
    assert last_checkpoint(folder)["global_step"] == 7
    assert "resume=auto" in done.stderr
    if name == "SIGHUP":
        resumed = train(tmp_path, "resume=auto").folder
        assert resumed == folder
        assert_same_weights(whole.folder, resumed)
        assert curve(whole.folder) == curve(resumed)


def test_a_signal_before_an_evaluation_waits_for_it(tmp_path, whole, warm):
    """So that the run that goes on is the one that was never stopped."""
    every = "trainer.val_every_steps=7"
    before = train(tmp_path / "whole", every).folder
    code, said = call("train", *SMALL, every, f"paths.runs={tmp_path}/cut", disturb(6, "SIGUSR1"))
    assert code == 128 + signal.SIGUSR1, said
    (folder,) = folders(tmp_path / "cut")
    assert last_checkpoint(folder)["global_step"] == 7
    assert curve(train(tmp_path / "cut", every, "resume=auto").folder) == curve(before)


def twice(name):
    """Two signals before the end of one step."""
    return [disturb(6, name), disturb(6, name).replace("disturb=", "again=", 1)]


def test_ctrl_c_again_does_not_wait(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        code, said = call("train", *SMALL, f"paths.runs={tmp_path}", *twice("SIGINT"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 128 + signal.SIGINT, said
    (folder,) = folders(tmp_path)
    assert last_checkpoint(folder)["global_step"] == 5
    assert json.loads((folder / "metrics.json").read_text())["stopped_by"] == "SIGINT"


def test_a_signal_that_comes_twice_counts_once(tmp_path):
    """A scheduler sends it to the process and to its group; a sweep sends it, and closes the pipe."""
    code, said = call("train", *SMALL, f"paths.runs={tmp_path}", *twice("SIGTERM"))
    assert code == 128 + signal.SIGTERM, said
    (folder,) = folders(tmp_path)
    assert last_checkpoint(folder)["global_step"] == 7


def test_what_is_ignored_stays_ignored(tmp_path):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(tmp_path, disturb(6, "SIGHUP")).metrics["status"] == "finished"
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
