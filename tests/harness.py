"""What the process-level tests share: runs of a second or less, and callbacks that disturb them."""

import csv
import io
import logging
import os
import runpy
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import lightning as L
import torch

from contextseg.commands.compose import compose
from contextseg.commands.train.command import train as fit
from contextseg.engine.fit import Result
from contextseg.signals import STOP_SIGNALS

SMALL = (
    "head=fcn",
    "width=16",
    "data.size=80",
    "data.train_size=64",
    "data.val_size=8",
    "data.batch_size=4",
    "callbacks.pictures.count=1",
    "trainer=cpu",
    "trainer.precision=32",
    "trainer.max_steps=10",
    "trainer.val_every_steps=null",
    "trainer.save_every_steps=5",
    "trainer.log_every_steps=1",
)
COMMANDS = Path(__file__).parents[1] / "src"
TIMES = {"train/images_per_second", "train/waiting_for_data", "train/peak_ram_gib"}  # that no two runs share


class PowerCut(RuntimeError):
    """Stands for anything that ends a process."""


class Disturb(L.Callback):
    """Before the training step that follows `step`, in process `rank`: raises `PowerCut`, or sends itself `signal`."""

    def __init__(self, step: int, signal: str | None = None, rank: int = 0):
        self.step, self.signal, self.rank = step, signal, rank

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            if self.signal is None:
                raise PowerCut(f"at step {self.step}")
            os.kill(os.getpid(), getattr(signal, self.signal))


class StopAt(L.Callback):
    """At the end of the first batch after `step`: asks for a stop, as a user's own callback may."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.should_stop or batch_idx // trainer.accumulate_grad_batches == self.step


class Poison(L.Callback):
    """Before the training step that follows `step`: one number of the last weight becomes NaN."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step:
            *_, last = module.segmenter.parameters()
            last.data.view(-1)[0] = torch.nan


def disturb(step: int, signal: str | None = None, rank: int = 0) -> str:
    """The override that adds a `Disturb`."""
    return f"+callbacks.disturb={{_target_:harness.Disturb,step:{step},signal:{signal or 'null'},rank:{rank}}}"


def train(folder: Path, *overrides: str) -> Result:
    """`fit` of a small run whose folders lie in `folder`."""
    return fit(compose([*SMALL, f"paths.runs={folder}", *overrides]))


def call(command: str, *arguments: str) -> tuple[int, str]:
    """`python src/<command>.py <arguments>` in this process: its exit code, and what it wrote on the terminal.

    An error that the command does not explain comes out as it is: on a terminal it would be a traceback.
    """
    file, argv = COMMANDS / f"{command}.py", sys.argv
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    terminal = io.StringIO()
    try:
        sys.argv = [str(file), *arguments]
        with redirect_stdout(terminal), redirect_stderr(terminal):
            runpy.run_path(str(file), run_name="__main__")
    except SystemExit as stop:
        return stop.code, terminal.getvalue()
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
        logging.captureWarnings(False)
        logging.getLogger().handlers.clear()
    raise AssertionError("a command ends with an exit code")


def subprocess_environment() -> dict[str, str]:
    """The environment of a command: it finds this module and this checkout, takes one thread, is of no other run."""
    alone = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK")}
    return alone | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{COMMANDS.resolve()}", "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def last_checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def checkpoint_differences(one: Path, other: Path) -> Iterator[str]:
    """Name what differs between the `last.ckpt` of two runs: weights, optimizer, schedule, counters, bit for bit."""
    checkpoints = [last_checkpoint(folder) for folder in (one, other)]
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step"):
        first, second = (dict(leaves(checkpoint[part])) for checkpoint in checkpoints)
        yield from (part + key for key in first.keys() | second.keys() if not same(first.get(key), second.get(key)))


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Nested containers as pairs of path and leaf."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else None
    if items is None:
        yield path, node
        return
    for name, child in items:
        yield from leaves(child, f"{path}/{name}")


def same(one: Any, other: Any) -> bool:
    """Whether leaves are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return type(one) is type(other) and one == other


def curve(folder: Path) -> list[dict[str, str]]:
    """The rows of `metrics.csv`, as text, without the columns that tell times."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def folders(parent: Path) -> list[Path]:
    """All run folders below a folder, those of sweeps too."""
    return sorted(path.parent for path in parent.rglob("config.yaml"))
