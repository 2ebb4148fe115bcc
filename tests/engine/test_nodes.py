"""Several nodes: processes that torchrun or srun starts. Two of two processes each, on the loopback address."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from harness import (
    COMMANDS,
    SMALL,
    call,
    curve,
    disturb,
    folders,
    free_port,
    last_checkpoint,
    subprocess_environment,
    train,
)

from contextseg.commands.evaluate.options import as_trained
from contextseg.engine.callbacks import stopping
from contextseg.engine.options import TrainerOptions
from contextseg.engine.ranks import ProcessGone, gone, present
from contextseg.errors import ConfigError
from contextseg.runs.folder import RANK, RunFolder, rank
from contextseg.runs.opening import open_folder
from contextseg.runs.outside import Outside, join, outside, refuse_other_start

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_JOB_NAME": "train"}
# as in `test_ddp`: no batch statistics and no dropout, which go by process
ALIKE = (*SMALL, "frozen_batch_norm=true", "+head.dropout=0", "optim=sgd", "optim.lr=0.1", "schedule=constant")
ALIKE += ("trainer.max_steps=5", "data.batch_size=12", "data.val_size=9", "callbacks.pictures.count=0")


def start(way, folder, *words):
    """The exit code and output of each of two nodes, or under srun, of each of four processes."""
    line = [str(COMMANDS / "train.py"), *words, "trainer=ddp_cpu", "trainer.nodes=2", f"run.dir={folder}"]
    port, alone = str(free_port()), subprocess_environment()
    if way == "torchrun":
        more = ["--nnodes=2", "--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={port}"]
        begin = [sys.executable, "-m", "torch.distributed.run", *more]
        started = [([*begin, f"--node-rank={node}", *line], alone) for node in range(2)]
    else:
        alone |= SRUN | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "SLURM_JOB_ID": "12345"}
        alone |= {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2"}
        places = [{"SLURM_PROCID": f"{n}", "SLURM_NODEID": f"{n // 2}", "SLURM_LOCALID": f"{n % 2}"} for n in range(4)]
        started = [([sys.executable, *line], alone | place) for place in places]
    running = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command, env in started
    ]
    said = [one.communicate(timeout=300)[0] for one in running]
    return [one.returncode for one in running], said


@pytest.mark.slow
@pytest.mark.parametrize("way", ["torchrun", "srun"])
def test_training_on_two_nodes_follows_one_process(tmp_path, way):
    codes, said = start(way, tmp_path / "nodes", *ALIKE)
    assert not any(codes), said
    assert sum(text.count("results: ") for text in said) == 1, "one process speaks"
    one, several = train(tmp_path / "one", *ALIKE).folder, tmp_path / "nodes"
    before, after = last_checkpoint(one)["state_dict"], last_checkpoint(several)["state_dict"]
    for name, value in before.items():
        np.testing.assert_allclose(after[name].float(), value.float(), rtol=1e-4, atol=1e-5, err_msg=name)
    losses = [[float(row["train/loss"]) for row in curve(place)] for place in (one, several)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    counted = [np.load(place / "confusion.npz")["confusion"].sum(1).tolist() for place in (one, several)]
    assert counted[0] == counted[1], "each of nine images is counted once, by one of four processes"
    assert json.loads((several / "metrics.json").read_text())["status"] == "finished"
    assert not (several / "ranks").exists()


@pytest.mark.slow
def test_a_dead_node_ends_all_and_the_same_command_goes_on(tmp_path):
    words = [*ALIKE, "trainer.max_steps=8", "trainer.save_every_steps=2"]
    codes, said = start("torchrun", tmp_path / "run", *words, disturb(5, "SIGKILL", rank=2))
    assert all(codes)
    assert "ProcessGone: process 2 of 4 (node 1, " in said[0].replace("\n", " ")
    assert 'Traceback (most recent call last):\n  File "' + str(COMMANDS) not in said[0]
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["status"] == "failed"
    assert "process 2 of 4 (node 1, " in metrics["error"]
    codes, said = start("torchrun", tmp_path / "run", *words)
    assert not any(codes), said
    assert "going on in" in said[0]
    assert last_checkpoint(tmp_path / "run")["global_step"] == 8


@pytest.mark.slow
def test_an_error_on_a_node_is_shown_on_all(tmp_path):
    codes, said = start("torchrun", tmp_path / "run", *ALIKE, disturb(3, rank=3))
    assert all(codes)
    assert "error: process 3: PowerCut: at step 3" in said[1]
    assert "process 3 of 4 (node 1, " in said[0]
    assert "recorded: PowerCut: at step 3" in said[0]


def test_nodes_without_their_processes_are_refused(tmp_path, monkeypatch):
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)
    code, text = call("train", *SMALL, "trainer=ddp_cpu", "trainer.nodes=2", f"paths.runs={tmp_path}")
    assert code == 2
    assert len(text.splitlines()) == 1
    assert "trainer.nodes=2: on every node, run  torchrun --nnodes=2 --nproc-per-node=2 --node-rank=K" in text
    code, text = call("train", *SMALL, "trainer.nodes=0", f"paths.runs={tmp_path}")
    assert code == 2
    assert "trainer.nodes=0: give a whole number, 1 or more" in text
    assert not folders(tmp_path)


@pytest.mark.parametrize(
    ("nodes", "devices", "place", "wrong"),
    [
        (None, 2, True, "torchrun started 4 processes: give trainer.nodes=N"),
        (2, 1, True, "trainer.nodes=2 x trainer.devices=1 are 2 processes, but torchrun started 4"),
        (2, 2, False, "trainer.nodes=2: give run.dir=FOLDER"),
    ],
)
def test_what_does_not_fit_the_start_is_refused(monkeypatch, nodes, devices, place, wrong):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=wrong):
        refuse_other_start(nodes, devices, place)
    refuse_other_start(2, 2, True)


@pytest.mark.parametrize(("env", "found"), [(TORCHRUN, Outside("torchrun", 3, 4)), (SRUN, Outside("srun", 2, 4))])
def test_a_process_knows_its_number_over_all_nodes(tmp_path, monkeypatch, env, found):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(RANK, "")
    assert outside() == found
    join()
    assert rank() == found.rank
    assert open_folder(tmp_path, given=tmp_path / "run").path == tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        stopping.leave(15)
    assert end.value.code == 143, "nobody else ends it"


@pytest.mark.parametrize("change", [{"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_JOB_NAME": "bash"}])
def test_a_process_of_srun_that_is_alone_is_none_of_several(monkeypatch, change):
    for name, value in (SRUN | change).items():
        monkeypatch.setenv(name, value)
    assert outside() is None


def test_an_evaluation_leaves_the_nodes_behind():
    from omegaconf import OmegaConf

    merged = as_trained({"trainer": {"nodes": 2, "devices": 2}}, OmegaConf.create({"choices": {}}), "x")
    assert merged.trainer == {"nodes": None, "devices": 2, "lightning": {}}


def test_the_lost_process_is_the_one_that_was_not_told(tmp_path):
    """Process 3 fails by itself, 2 because of it, 1 was killed: its record is not locked; 0 looks."""
    node, folder = TrainerOptions(devices=2, nodes=2), RunFolder(tmp_path)
    with present(tmp_path, 0):
        assert gone(folder, node, patience=0) is None
        for number, error in ((3, ValueError), (2, ProcessGone)):
            with pytest.raises(error), present(tmp_path, number):
                raise error
        assert gone(folder, node, patience=0) == f"process 3 of 4 (node 1, {os.uname().nodename})"
        folder.write_metrics({"error": "ValueError: no"})
        killed = "import os, sys; from contextseg.runs.lock import RunLock; from pathlib import Path"
        killed += "; place = Path(sys.argv[1]); place.mkdir(); RunLock(place).take(); os._exit(9)"
        subprocess.run([sys.executable, "-c", killed, tmp_path / "ranks/1"], env=subprocess_environment())
        said = gone(folder, node, patience=0)
        assert said.startswith("process 1 of 4 (node 0, ")
        assert said.endswith("; recorded: ValueError: no")
    assert not (tmp_path / "ranks/0").exists()
