"""Processes that torchrun or srun has started, on one node or several, before any of them is connected.

Otherwise one process is started, and starts the others of its run itself. Names of variables: torchrun's and SLURM's
own documentation. Lightning recognises both.
"""

import os
from dataclasses import dataclass

from contextseg.errors import ConfigError
from contextseg.runs.folder import RANK


@dataclass(frozen=True)
class Outside:
    """How this process was started: by what, its number and how many there are, over all nodes."""

    by: str
    rank: int
    size: int


def outside() -> Outside | None:
    """Return how torchrun or a step of srun started this process among others; None if neither did."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return Outside("torchrun", int(env["RANK"]), int(env["WORLD_SIZE"]))
    if "SLURM_STEP_ID" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):  # as Lightning does
        size = int(env.get("SLURM_STEP_NUM_TASKS", 1))
        return Outside("srun", int(env["SLURM_PROCID"]), size) if size > 1 else None
    return None


def refuse_other_start(nodes: int | None, devices: int, has_folder: bool) -> None:
    """Raise `ConfigError` unless the processes of a run were started as `trainer.nodes` and `trainer.devices` say.

    `has_folder`: whether the run folder is given, as no process could tell another node of one that it chooses.
    """
    found = outside()
    if nodes is None:
        if found and found.by == "torchrun":
            raise ConfigError(
                f"torchrun started {found.size} processes: give trainer.nodes=N and trainer.devices=M, or start one "
                "process without torchrun, it starts the others of a machine itself"
            )
        return
    if found is None:
        raise ConfigError(
            f"trainer.nodes={nodes}: on every node, run  torchrun --nnodes={nodes} --nproc-per-node={devices} "
            f"--node-rank=K --master-addr=HOST -m contextseg train trainer.nodes={nodes} trainer.devices={devices} "
            "run.dir=FOLDER ..., or start it by srun (docs/scaling.md)"
        )
    if found.size != nodes * devices:
        raise ConfigError(
            f"trainer.nodes={nodes} x trainer.devices={devices} are {nodes * devices} processes, but {found.by} "
            f"started {found.size}; give the numbers that it was given"
        )
    if not has_folder:
        raise ConfigError(f"trainer.nodes={nodes}: give run.dir=FOLDER, a folder that all nodes see")


def join() -> None:
    """Make `runs.folder.rank` the number over all nodes, in this process and those that it starts."""
    if found := outside():
        os.environ[RANK] = str(found.rank)
