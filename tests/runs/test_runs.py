"""Runs on disk: which is taken up, and that a broken neighbour is named once and stands in nobody's way."""

import json
import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from harness import PowerCut
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from selected import slow

from contextseg.commands.compose import compose, options
from contextseg.commands.report.command import report
from contextseg.commands.sweep.plan import DONE, Plan
from contextseg.errors import ConfigError
from contextseg.files import refuse_unwritable
from contextseg.parts import completed
from contextseg.runs.configuration import differences
from contextseg.runs.folder import ENVIRONMENT, RunFolder, supervised
from contextseg.runs.lock import at_work
from contextseg.runs.opening import newest_unfinished, open_folder
from contextseg.runs.store import Run, find, named_settings, settings

WORDS = ("head=fcn", "seed=3")
BROKEN = [
    (name, content)
    for name, contents in {
        "metrics.json": (
            *(b"[1]", b"null", b"", b'{"status": "finished"', b'{"status": "\xff"}'),
            *(b'{"miou": "high"}', b'{"seconds": [1]}', b'{"iou_scene": true}', b'{"protocol": [1]}', b'{"status": 1}'),
        ),
        "config.yaml": (
            *(b"[1]", b"null", b"", b"a: [", b"name: \xff\xfe", b"seed: 1", b"seed: 1\nseed: 2"),
            *(b"{seed: '1', choices: {}, trainer: {max_steps: 1}}", b"{seed: 1, choices: {}, trainer: {max_steps: a}}"),
        ),
    }.items()
    for content in contents
]
broken = pytest.mark.parametrize(
    ("name", "content"), [case if number % 5 == 0 else slow(case) for number, case in enumerate(BROKEN)]
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    return tmp_path


def leave(folder, status="finished", *, saved_at=None):
    """A run folder as a training leaves it; `saved_at`: the time of its checkpoint, if it has one."""
    folder.mkdir(parents=True)
    config = OmegaConf.to_container(compose(WORDS), resolve=True)
    metrics = {"status": status, "seed": 3, "choices": config["choices"], "steps": 1500, "seconds": 150.0}
    metrics |= {"parameters": 1000, "miou": 50.0, "images_per_second": 10.0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if saved_at is not None:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints/last.ckpt").touch()
        os.utime(folder / "checkpoints/last.ckpt", (saved_at, saved_at))
    return folder


def warned(caplog):
    """The warnings so far."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_run_says_what_it_is(here):
    run = Run.read(leave(here / "ablations/ctnet_t5/ctnet_s3/now", saved_at=7))
    assert (run.finished, run.failed, run.training, run.row, run.steps) == (True, False, True, None, 1500)
    assert (run.saved_at, run.seconds_per_step) == (7, 0.1)
    (run.folder / "config.yaml").unlink()
    assert Run.read(run.folder).row == "ctnet_t5/ctnet"
    killed = Run.read(here / "nothing")
    assert (killed.finished, killed.failed, killed.saved_at, killed.config) == (False, False, 0, {})


def test_the_newest_unfinished_run_goes_on(here):
    leave(here / "name/a", "stopped", saved_at=100)
    newest = leave(here / "name/b", "failed", saved_at=200)
    leave(here / "name/c", "finished", saved_at=300)
    leave(here / "name/d", "stopped")  # without a checkpoint
    assert newest_unfinished(here / "name").path == newest
    assert open_folder(here / "name", resume="auto").path == newest
    assert newest_unfinished(here / "other") is None


def test_a_run_that_has_just_begun_is_not_begun_again(here):
    """It has no checkpoint yet. One of another seed is another run."""
    begun = leave(here / "name/a", "running")
    config = OmegaConf.to_container(compose(WORDS), resolve=True)
    with at_work(begun):
        with pytest.raises(ConfigError, match=r"resume=auto: .*name/a is in use by another run"):
            open_folder(here / "name", resume="auto", config=config)
        assert open_folder(here / "name", resume="auto", config=config | {"seed": 4}).fresh
    assert open_folder(here / "name", resume="auto", config=config).fresh, "it was killed before it had a checkpoint"


def test_a_folder_that_cannot_be_resumed_is_refused(here):
    leave(here / "name/a", "stopped")
    with pytest.raises(ConfigError, match=r"resume=name/a: there is no checkpoints/last\.ckpt"):
        open_folder(here / "name", resume="name/a")


@broken
def test_resuming_skips_a_broken_neighbour(here, caplog, name, content):
    good = leave(here / "name/good", "stopped", saved_at=100)
    bad = leave(here / "name/bad", "stopped", saved_at=200)
    (bad / name).write_bytes(content)
    assert newest_unfinished(here / "name").path == good
    (said,) = warned(caplog)
    assert said.startswith(f"skipped a run: {bad / name} ")
    assert "\n" not in said


@broken
def test_a_plan_skips_a_broken_neighbour(here, caplog, name, content):
    good, bad = leave(here / "runs/sweeps/sweep/before/000_fcn_tiny_s3"), leave(here / "runs/sweeps/sweep/before/bad")
    (bad / name).write_bytes(content)
    command_line = OverridesParser.create().parse_overrides([*WORDS, "width=64,32", "resume=auto"])
    plan = Plan(command_line, compose, lambda: Path("runs/sweeps/sweep/now").absolute())
    assert (plan.jobs[0].folder, plan.jobs[0].state) == (good, DONE)
    assert plan.seconds() == pytest.approx(1500 * 0.1)
    (said,) = warned(caplog)
    assert str(bad / name) in said


@broken
def test_a_report_skips_a_broken_neighbour(here, caplog, name, content):
    leave(here / "runs/other/good")
    bad = leave(here / "runs/other/bad")
    (bad / name).write_bytes(content)
    folder = report(options(["runs=runs"], "report"))
    assert "| fcn | 1 | 50.0 |" in (folder / "runs.md").read_text()
    (said,) = warned(caplog)
    assert str(bad.relative_to(here) / name) in said


def test_a_scored_checkpoint_is_no_training(here, caplog):
    scored = leave(here / "runs/name/now_evaluate")
    (scored / "metrics.json").write_text('{"status": "finished", "ckpt": "last.ckpt"}')
    (scored / "config.yaml").write_text("ckpt: last.ckpt")
    assert find(here / "runs") == []
    assert warned(caplog) == []


def test_a_run_that_goes_on_forgets_its_earlier_end(here):
    """What is killed must not look stopped, and what fails says so."""
    folder = RunFolder(leave(here / "name/a", "stopped", saved_at=100))
    with supervised(folder, {"status": "running"}):
        assert not (folder.path / "metrics.json").exists()
    folder.write_metrics({"status": "stopped"})
    with pytest.raises(ZeroDivisionError), supervised(folder, {"status": "running"}):
        raise ZeroDivisionError
    assert folder.read_metrics()["status"] == "failed"


def test_a_broken_record_of_ones_own_is_none(here):
    folder = RunFolder(leave(here / "mine"))
    (folder.path / "metrics.json").write_text("[1]")
    assert folder.read_metrics() == {}
    (folder.path / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"mine/config\.yaml cannot be read"):
        folder.read_config()


def end(status, remove=None):
    """What a run does last."""
    if remove:
        shutil.rmtree(remove)
    if status == "failed":
        raise PowerCut("first")


@pytest.mark.parametrize("status", ["failed", "finished"])
def test_an_error_in_the_last_record_hides_no_earlier_one(tmp_path, monkeypatch, status):
    """On a full disk, say."""
    folder, metrics = RunFolder(tmp_path), {"status": "running"}
    monkeypatch.setattr(RunFolder, "write_metrics", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(PowerCut if status == "failed" else OSError), supervised(folder, metrics):
        end(status)


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with pytest.raises(PowerCut), supervised(folder, {"status": "running"}):
        end("failed", remove=folder.path)
    assert not folder.path.exists()


@pytest.mark.parametrize(("place", "fits"), [("new/deep", True), ("file", True), ("file/below", False)])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place, fits):
    (tmp_path / "file").touch()
    with nullcontext() if fits else pytest.raises(ConfigError, match=r"output=.*file is no folder"):
        refuse_unwritable(tmp_path / place, "output")


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere but on a read-only disk
    with pytest.raises(ConfigError, match="cannot be written"):
        refuse_unwritable(tmp_path / "new", "paths.runs")


def config(**head):
    return {"seed": 0, "head": {"_target_": "PSPHead", "bins": [1, 2, 3, 6], **head}, "choices": {"head": "psp"}}


def test_a_run_older_than_a_setting_had_the_setting_s_default():
    """Else the seeds of one configuration would count as two, and the older run could not go on."""
    old, null, new, other = (
        config(),
        config(align_corners=None),
        config(align_corners=False),
        config(align_corners=True),
    )
    assert settings(old) == settings(null) == settings(new) != settings(other)
    assert differences(old, new) == []
    assert differences(old, other) == ["head.align_corners: False -> True"]


def test_the_defaults_of_a_stranger_s_part_are_not_looked_up():
    """A saved configuration may name anything; comparing it must not import that."""
    node = {"head": {"_target_": "antigravity.Head", "depth": 1}, "choices": {}}
    assert completed(node) == node
    assert "antigravity" not in sys.modules


def test_seeds_of_one_recipe_may_come_from_several_kinds_of_devices():
    one = {"seed": 0, "trainer": {"accelerator": "cpu", "precision": "bf16"}}
    other = {"seed": 1, "trainer": {"accelerator": "gpu", "precision": "bf16"}}
    assert named_settings(one) == named_settings(other)
    other["trainer"]["precision"] = "32"
    assert named_settings(one) != named_settings(other)
    assert differences(one, other | {"seed": 0}), "a run goes on where it began"
