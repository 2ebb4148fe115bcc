"""Sweeps: what is planned for the papers' tables, and jobs in processes of their own whose end is always recorded."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import yaml
from harness import COMMANDS, SMALL, call, disturb, folders, last_checkpoint, subprocess_environment
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from contextseg.commands.compose import compose
from contextseg.commands.sweep import pool
from contextseg.commands.sweep.job import Job, config_places
from contextseg.commands.sweep.plan import DONE, HALF_DONE, TO_DO, Plan
from contextseg.conf import CONF
from contextseg.errors import ConfigError
from contextseg.papers import rows as paper_rows

EMBEDDED = ("data=context_scenes", "backbone=tiny")
TINY = (*SMALL[1:], "trainer.max_steps=3", "trainer.save_every_steps=1")  # without the head, for tables
FINISH = "import json; open('metrics.json', 'w').write(json.dumps(dict(status='finished', miou=50.0)))"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*command_line, sweep="runs/sweeps/sweep/now"):
    """The plan of a command line."""
    parsed = OverridesParser.create().parse_overrides(list(command_line))
    return Plan(parsed, lambda overrides: composed(tuple(overrides)), lambda: Path(sweep).absolute())


@cache
def composed(overrides):
    return compose(overrides)


def leave(planned, status, *, checkpoint=False, **changes):
    """What the run of a planned job leaves behind that ended with a status."""
    cfg = OmegaConf.to_container(planned.cfg, resolve=True)
    cfg["trainer"] |= changes
    (planned.folder / "checkpoints").mkdir(parents=True)
    (planned.folder / "config.yaml").write_text(yaml.safe_dump(cfg))
    (planned.folder / "metrics.json").write_text(json.dumps({"status": status}))
    if checkpoint:
        (planned.folder / "checkpoints/last.ckpt").touch()


# the plan


STUDIES = [
    paper_rows.table(f"diagnostic/{file.stem}") for file in sorted((CONF / "ablation/diagnostic").glob("*.yaml"))
]


@pytest.mark.parametrize("table", [*paper_rows.tables(), *STUDIES], ids=lambda table: table["table"])
def test_the_rows_of_a_table_have_plain_names_of_their_own(table):
    keys = [paper_rows.key(row["row"]) for row in table["rows"]]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9._]+", key) for key in keys)


def test_a_table_times_seeds():
    planned = plan("ablation=ctnet_t6", "seed=0,3", *EMBEDDED[:1])
    assert [job.name for job in planned.jobs][:2] == [
        "ctnet_t6/panet_parallel_resnet50_s0",
        "ctnet_t6/ctnet_resnet50_s0",
    ]
    assert [job.cfg.seed for job in planned.jobs] == [0] * 4 + [3] * 4
    first = planned.jobs[0]
    assert {"head=ctnet", "head.wiring=parallel", "backbone=resnet50", "seed=0", "data=context_scenes"} < set(
        first.overrides
    )
    assert first.cfg.row == "ctnet_t6/panet_parallel_resnet50"
    assert first.folder == Path("runs/ablations/ctnet_t6/panet_parallel_resnet50_s0/now").absolute()
    assert not set("=, []") & set(str(first.folder.relative_to(Path.cwd())))


def test_a_study_is_a_table_that_is_not_a_paper_s():
    planned = plan("ablation=diagnostic/facts", "rows=fcn,agln_n_64,agln_n_1", "seed=0,1")
    assert [job.name for job in planned.jobs][:2] == ["diagnostic/facts/fcn_s0", "diagnostic/facts/agln_n_64_s0"]
    assert len(planned.jobs) == 6
    first = planned.jobs[0]
    assert first.folder == Path("runs/ablations/diagnostic/facts/fcn_s0/now").absolute()
    assert first.cfg.row == "diagnostic/facts/fcn"
    assert (first.cfg.choices.data, first.cfg.choices.backbone, first.cfg.width) == ("context_scenes_hard", "tiny", 64)
    assert not any(table["table"].startswith("diagnostic") for table in paper_rows.tables())
    with pytest.raises(ConfigError, match=r"ablation=diagnostic/colours: no such table; .*diagnostic/facts"):
        plan("ablation=diagnostic/colours")


@pytest.mark.parametrize("rows", ["rows=ccnet_r_2,ccnet_hv*", "rows=[ccnet_r_2,ccnet_hv*]"])
def test_some_rows_of_a_table(rows):
    planned = plan("ablation=ccnet_t2,ccnet_t4", rows, *EMBEDDED)
    assert [row.id for row in planned.rows] == [
        "ccnet_t2/ccnet_r_2",
        "ccnet_t4/ccnet_hv_resnet50",
        "ccnet_t4/ccnet_hv_vh_resnet50",
    ]
    assert all(job.cfg.rows is None for job in planned.jobs)


def test_the_command_line_beats_a_row_and_equal_rows_share_a_run():
    planned = plan("ablation=ctnet_t6", *EMBEDDED)
    assert [job.cfg.choices.backbone for job in planned.jobs] == ["tiny", "tiny"]
    assert planned.jobs[1].rows == ["ctnet_t6/ctnet_resnet50", "ctnet_t6/ctnet_resnet101"]
    fates = [planned.fate(row) for row in planned.rows]
    assert fates[:2] == ["1 to do"] * 2
    assert fates[3] == "the same configuration as CTNet, resnet50, run once"


def test_a_backbone_replaces_what_a_row_says_of_backbone_and_neck():
    coarse = plan("ablation=ocr_t6", *EMBEDDED).rows[0]
    assert coarse.dropped == ["backbone.stages=3"]
    hrnet = plan("ablation=ocr_t5", *EMBEDDED).rows[1]
    assert hrnet.dropped == ["neck=concat"]
    assert "neck=concat" in plan("ablation=ocr_t5", "data=context_scenes").rows[1].overrides


def test_tables_share_runs():
    planned = plan("ablation=ctnet_t5,ctnet_t6", *EMBEDDED)
    assert len(planned.jobs) == 4
    assert planned.fate(planned.rows[-1]) == "the same configuration as CTNet, resnet50 in ctnet_t5, run once"


def test_a_row_of_another_command_says_which():
    planned = plan("ablation=ccnet_t8")
    assert planned.jobs == []
    fate = "not run: use contextseg instances context=none trunk=resnet50 weights=imagenet source=coco_instances"
    assert planned.fate(planned.rows[0]) == fate


def test_an_experiment_brings_its_data(here):
    """Not the table's, which is PASCAL-Context."""
    words = ["ablation=ctnet_t6", "experiment=camvid_frozen", f"data.root={here}", "backbone=efficientnet_lite0"]
    jobs = plan(*words).jobs
    assert [job.name for job in jobs] == [f"ctnet_t6/{row}_resnet50_s0" for row in ("panet_parallel", "ctnet")]
    assert {(job.cfg.choices.data, job.cfg.data._target_, job.cfg.features.whole) for job in jobs} == {
        ("camvid", "CamVid", True)
    }
    assert {job.cfg.data.root for job in jobs} == {str(here)}


def test_another_data_set_means_the_papers_recipe():
    recipes = {
        ("data=camvid", "data.root=."): (40000, None),
        ("data=context_scenes",): (1500, 64),
    }
    for data, (steps, width) in recipes.items():
        cfg = plan("ablation=ctnet_t8", *data).jobs[0].cfg
        assert f"data={cfg.choices.data}" == data[0]
        assert (cfg.trainer.max_steps, cfg.width) == (steps, width)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ablation=ctnet_t5"], "data/pascal_context: no such folder; docs/data.md says how to get pascal_context"),
        (["ablation=ocr_t4"], "its data set (not applicable) is not one of ours; choose one of"),
        (["ablation=ocr_t5"], "it was run on several data sets"),
        (["ablation=ccnet_t2", "rows=hv*"], "rows=hv*: no such row; these tables have fcn, ccnet_r_1, ccnet_r_2"),
        (["rows=hv*"], "rows=hv*: no such row; it chooses rows of ablation=<table>"),
        (["ablation=ctnet_t5,nope"], "ablation=nope: no such table; choose one of ctnet_"),
        (["optim.lr=interval(0,1)"], "an interval is for hydra/sweeper=optuna"),
    ],
)
def test_what_cannot_be_planned_is_refused(words, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        plan(*words)


def test_a_table_needs_a_sweep(here):
    code, said = call("train", "ablation=ctnet_t5", "data=context_scenes")
    assert code == 2
    assert "add -m: python src/train.py -m ablation=" in " ".join(said.split())
    for words, says in {
        "ablation=nope": "ablation=nope: no such option; choose one of",
        "resume=x": "resume=x with -m",
    }.items():
        code, said = call("train", "-m", words, "seed=0,1")
        assert code == 2
        assert says in said
    assert not os.listdir(here)


def test_a_sweep_goes_on_where_it_was():
    words = ("ablation=ctnet_t6", *EMBEDDED, "seed=0,1")
    first, second, third = plan(*words).jobs[:3]
    leave(first, "finished", checkpoint=True)
    leave(second, "failed", checkpoint=True)
    leave(third, "finished", max_steps=1000)  # another budget is another run
    again = plan(*words, "resume=auto", sweep="runs/sweeps/sweep/later")
    assert [job.state for job in again.jobs] == [DONE, HALF_DONE, TO_DO, TO_DO]
    assert [job.folder for job in again.jobs[:2]] == [first.folder, second.folder]
    assert again.jobs[2].folder == third.folder.with_name("later")
    assert again.to_do() == again.jobs[1:]
    assert {job.state for job in plan(*words, sweep="runs/sweeps/sweep/later").jobs} == {TO_DO}, (
        "all new without resume"
    )
    assert {job.state for job in plan(*words, "width=32", "resume=auto").jobs} == {TO_DO}
    assert f'run.dir="{second.folder}"' in again.jobs[1].overrides
    assert not any(text.startswith("resume") for text in again.jobs[1].overrides)


def test_runs_of_one_row_are_numbered():
    one, two = plan("ablation=ctnet_t8", *EMBEDDED, "optim.lr=0.1,0.2").jobs
    assert (one.name, two.name) == ("ctnet_t8/ctnet_s0", "ctnet_t8/ctnet_s0_2")
    assert one.folder != two.folder


def test_an_ordinary_sweep_goes_on_too():
    words = ("head=fcn,ocr", "seed=3")
    first, second = plan(*words).jobs
    assert [first.folder.name, second.folder.name] == ["000_fcn_tiny_s3", "001_ocr_tiny_s3"]
    leave(second, "finished")
    again = plan(*words, "resume=auto", sweep="runs/sweeps/sweep/later")
    assert [(job.state, job.folder.parent.name) for job in again.jobs] == [(TO_DO, "later"), (DONE, "now")]


def test_two_sweeps_share_the_jobs_that_neither_has_begun():
    """They were resumed at once: each has made its plan before the other one claims a folder."""
    words = ("head=fcn,ocr", "seed=3", "resume=auto")
    one, two = (plan(*words, sweep=f"runs/sweeps/sweep/{name}") for name in ("one", "two"))
    assert one.jobs[0].folder != two.jobs[0].folder
    one.claim()
    two.claim()
    assert [job.folder for job in two.jobs] == [job.folder for job in one.jobs]
    assert [job.overrides for job in two.jobs] == [job.overrides for job in one.jobs]
    assert not list(Path("runs").rglob("run.lock"))
    later = plan(*words, sweep="runs/sweeps/sweep/later")
    later.claim()
    assert [(job.folder, job.state) for job in later.jobs] == [(job.folder, TO_DO) for job in one.jobs]
    anew = plan(*words[:2], sweep="runs/sweeps/sweep/anew")
    anew.claim()
    assert [job.folder.parent.name for job in anew.jobs] == ["anew", "anew"]


def test_two_sweeps_share_the_rows_of_a_table():
    words = ("ablation=ctnet_t6", *EMBEDDED, "resume=auto")
    one, two = (plan(*words, sweep=f"runs/sweeps/sweep/{name}") for name in ("one", "two"))
    two.claim()
    one.claim()
    assert [job.folder.name for job in one.jobs] == ["two", "two"]


def test_a_job_that_another_sweep_finished_is_done():
    words = ("head=fcn", "seed=3", "resume=auto")
    one, two = (plan(*words, sweep=f"runs/sweeps/sweep/{name}") for name in ("one", "two"))
    one.claim()
    (one.jobs[0].folder / "metrics.json").write_text('{"status": "finished", "steps": 1500}')
    two.claim()
    assert two.to_do() == []


def test_the_time_is_told_from_earlier_runs():
    planned = plan("ablation=ctnet_t6", *EMBEDDED)
    assert planned.seconds() is None
    metrics = {"status": "finished", "steps": 1000, "seconds": 100, "choices": dict(planned.jobs[0].cfg.choices)}
    (Path("runs") / "metrics.json").parent.mkdir()
    (Path("runs") / "metrics.json").write_text(json.dumps(metrics))
    assert planned.seconds() == pytest.approx(2 * 1500 * 0.1)


# jobs


def job(name, code, devices=1):
    """A job whose process runs some Python in its folder."""
    cfg = OmegaConf.create({"run": {"dir": str(Path(name).absolute())}, "row": None, "trainer": {"devices": devices}})
    made = Job(cfg, [], 0, Path())
    made.command = [sys.executable, "-c", f"import os; os.chdir({str(made.folder.path)!r})\n{code}"]
    return made


def test_every_end_is_recorded():
    ends = {
        "done": FINISH,
        "refused": "print('error: optim.lr=-1: give more'); raise SystemExit(2)",
        "killed": "os.kill(os.getpid(), 9)",
        "silent": "raise SystemExit(3)",
    }
    jobs = [job(name, code) for name, code in ends.items()]
    pool.run(jobs, at_once=2)
    done, refused, killed, silent = (entry.outcome() for entry in jobs)
    assert done == {"status": "finished", "miou": 50.0}
    assert refused == {"status": "failed", "error": "optim.lr=-1: give more"}
    assert killed == {"status": "failed", "error": "killed by SIGKILL"}
    assert silent["error"].startswith("exit code 3; see ")
    assert json.loads(Path("killed/metrics.json").read_text()) == killed


def test_the_end_of_an_earlier_process_is_not_that_of_a_job():
    again = job("again", "os.kill(os.getpid(), 9)")
    again.folder.path.mkdir()
    again.folder.write_metrics({"status": "stopped"})
    pool.run([again])
    assert again.outcome() == {"status": "failed", "error": "killed by SIGKILL"}


def test_a_job_knows_of_no_other_process(monkeypatch):
    for name in ("LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS", "CONTEXTSEG_RUN_FOLDER", "CONTEXTSEG_SWEEP_FOLDER"):
        monkeypatch.setenv(name, "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(pool, "processors", lambda: 12)
    write = "import json; json.dump(dict(os.environ), open('environment.json', 'w'));"
    pool.run([job("one", write + FINISH), job("two", write + FINISH, devices=3)], at_once=2, gpus=[4, 5, 6, 7])
    one, two = (json.loads(Path(name, "environment.json").read_text()) for name in ("one", "two"))
    assert not {"LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS"} & one.keys()
    assert {name for name in one if name.startswith("CONTEXTSEG_")} == {"CONTEXTSEG_JOB", "CONTEXTSEG_LOCK"}
    assert (one["OMP_NUM_THREADS"], two["OMP_NUM_THREADS"]) == ("6", "2")
    assert {one["CUDA_VISIBLE_DEVICES"], two["CUDA_VISIBLE_DEVICES"]} == {"4,6", "5,7"}


MEET = """
import time
from pathlib import Path
here = Path("..").absolute()
mine = here / (Path.cwd().name + ".up")
mine.touch()
while len([*here.glob("*.up"), *here.glob("*.down")]) < 2:
    time.sleep(0.01)
Path("together").write_text(str(len([*here.glob("*.up")])))
mine.rename(mine.with_suffix(".down"))
"""  # a job waits for the start of a second one, then counts those at work


def test_so_many_jobs_at_a_time():
    pool.run([job(str(number), MEET + FINISH) for number in range(4)], at_once=2)
    assert max(int(Path(str(number), "together").read_text()) for number in range(4)) == 2


WAIT = "import time\nwhile not os.path.exists('go'): time.sleep(0.01)\n"


def test_no_second_process_works_in_a_folder():
    first, second = job("same", WAIT + FINISH), job("same", "os.remove('metrics.json')")
    assert first.start(1)
    assert not second.start(1)
    Path("same/go").touch()
    pool.run([second])
    assert second.process is None, "the other one finished meanwhile: nothing is left to do"
    assert second.outcome()["status"] == "finished"


def test_whatever_ends_a_sweep_ends_its_jobs(monkeypatch):
    jobs = [job("one", WAIT), job("two", WAIT)]
    calls = []

    def interrupted(*_):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(pool, "standing", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.run(jobs, at_once=2)
    assert [entry.process.returncode for entry in jobs] == [-signal.SIGTERM] * 2
    assert {entry.outcome()["status"] for entry in jobs} == {"stopped"}


def test_a_job_stops_when_its_sweep_is_killed(here):
    """SIGKILL, so that the sweep can tell nobody."""
    script = """
import sys, pathlib
from omegaconf import OmegaConf
from contextseg.commands.sweep import job, pool
cfg = OmegaConf.create({"run": {"dir": str(pathlib.Path("orphan").absolute())}, "row": None, "trainer": {"devices": 1}})
orphan = job.Job(cfg, [], 0, pathlib.Path())
wait = "import os, time; from contextseg.commands.sweep.job import follow_parent; follow_parent()"
wait += "; open('orphan/up', 'w').write(str(os.getpid())); time.sleep(3600)"
orphan.command = [sys.executable, "-c", wait]
pool.run([orphan])
"""
    sweep = subprocess.Popen([sys.executable, "-c", script], env=subprocess_environment())
    until(lambda: Path("orphan/up").exists() and Path("orphan/up").read_text())
    waiting = job("orphan", FINISH)
    assert not waiting.start(1)
    sweep.kill()
    sweep.wait()
    until(lambda: waiting.start(1))
    waiting.clear()
    assert waiting.outcome()["status"] == "finished"


def until(condition):
    """Wait for something to become true, however busy the machine is."""
    while not condition():
        time.sleep(0.05)


# whole sweeps


def sweep(*words, **keywords):
    """A sweep as a user runs it."""
    command = [sys.executable, str(COMMANDS / "train.py"), "-m", *words]
    return subprocess.Popen(command, env=subprocess_environment(), stderr=subprocess.PIPE, text=True, **keywords)


@pytest.mark.slow
def test_a_killed_sweep_loses_nothing_and_repeats_nothing(here):
    """One job is killed by itself; then the sweep is, with a job at work; the third time all get done."""
    words = ("ablation=ctnet_t5", *EMBEDDED, *TINY, "trainer.max_steps=8", "resume=auto")
    killed = sweep(*words, disturb(4, "SIGKILL"))  # each at its step 4
    said = killed.communicate(timeout=300)[1]
    assert killed.returncode == 1
    assert said.count("killed by SIGKILL") == 3
    before = folders(here)
    assert [last_checkpoint(folder)["global_step"] for folder in before] == [4] * 3

    second = sweep(*words)
    until(lambda: any(json_status(folder) == "finished" for folder in before))
    second.kill()
    second.communicate()
    times = {
        folder: (folder / "metrics.json").stat().st_mtime for folder in before if json_status(folder) == "finished"
    }
    assert 1 <= len(times) <= 2

    third = sweep(*words)
    said = third.communicate(timeout=300)[1]
    assert third.returncode == 0, said
    assert f"{len(times)} done" in said
    assert folders(here) == before
    assert {json_status(folder) for folder in before} == {"finished"}
    for folder in before:
        steps = (folder / "metrics.csv").read_text().splitlines()[1:]
        assert [line.split(",")[0] for line in steps] == [str(step) for step in range(1, 9)]
        assert yaml.safe_load((folder / "config.yaml").read_text())["row"].startswith("ctnet_t5/")
    assert all((folder / "metrics.json").stat().st_mtime == at for folder, at in times.items()), "not run again"


@pytest.mark.slow
def test_two_sweeps_at_once_run_each_job_once(here):
    words = ("head=fcn", "seed=0,1", *TINY, "resume=auto")
    both = [sweep(*words), sweep(*words)]
    said = [entry.communicate(timeout=300)[1] for entry in both]
    assert [entry.returncode for entry in both] == [0, 0], said
    assert len(folders(here)) == 2
    for folder in folders(here):
        steps = (folder / "metrics.csv").read_text().splitlines()[1:]
        assert [line.split(",")[0] for line in steps] == ["1", "2", "3"]
        assert (folder / "output.log").read_text().count("results: ") == 1


def json_status(folder):
    file = folder / "metrics.json"
    return json.loads(file.read_text())["status"] if file.is_file() else None


@pytest.mark.slow
def test_several_processes_in_a_sweep(here):
    """Each job's processes start the job again, not the sweep; their number is what was asked, in each job."""
    done = sweep("head=fcn", *TINY, "trainer=ddp_cpu", "trainer.devices=2,1")
    said = done.communicate(timeout=300)[1]
    assert done.returncode == 0, said
    two, one = folders(here)
    logs = [(folder / "train.log").read_text() for folder in (two, one)]
    assert ["cpu, 2 device(s)" in logs[0], "cpu, 1 device(s)" in logs[1]] == [True, True]
    assert len(list((here / "runs/sweeps/sweep").iterdir())) == 1


@pytest.mark.slow
def test_a_table_through_submitit(here):
    pytest.importorskip("submitit")
    done = sweep("hydra/launcher=submitit_local", "ablation=ctnet_t6", *EMBEDDED, *TINY)
    said = done.communicate(timeout=300)[1]
    assert done.returncode == 0, said
    assert [folder.parent.name for folder in folders(here)] == ["ctnet_resnet50_s0", "panet_parallel_resnet50_s0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopping_a_sweep_stops_its_jobs(here, name):
    stopped = sweep("head=fcn,ocr", *TINY, "trainer.max_steps=100000", "hydra.launcher.jobs=2")
    until(lambda: len(list(here.rglob("last.ckpt"))) == 2)
    stopped.send_signal(getattr(signal, name))
    stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + getattr(signal, name)
    assert {json_status(folder) for folder in folders(here)} == {"stopped"}


def test_jobs_find_the_users_own_configuration(tmp_path):
    """`--config-dir` and `hydra.searchpath` of the command line, from any folder."""
    sources = [
        {"path": "hydra.conf", "schema": "pkg", "provider": "hydra"},
        {"path": "conf", "schema": "file", "provider": "main"},
        {"path": "mine, too", "schema": "file", "provider": "command-line"},
        {"path": "parts", "schema": "pkg", "provider": "hydra.searchpath in command-line"},
        {"path": "", "schema": "structured", "provider": "schema"},
    ]
    (override,) = config_places(OmegaConf.create(sources))
    ((found),) = [OverridesParser.create().parse_override(override).value()]
    assert found == [f"file://{Path('mine, too').resolve()}", "pkg://parts"]
    assert config_places(OmegaConf.create(sources[:2])) == []
