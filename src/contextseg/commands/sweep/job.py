"""One job of a sweep: a training in a process of its own, whose end is recorded however it comes."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from contextseg.files import lock
from contextseg.runs.folder import ENVIRONMENT, RunFolder

log = logging.getLogger(__name__)

JOB = "CONTEXTSEG_JOB"  # tells a process that it is the job of a sweep
SOURCE = Path(__file__).resolve().parents[3]  # holds the package, which need not be installed
PATIENCE = 60  # seconds that a job gets to end by itself

# What a job must not inherit: its place among the processes of a launcher, or of another run.
STRANGE = {"LOCAL_RANK", "RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
STRANGE |= {"MASTER_ADDR", "MASTER_PORT", ENVIRONMENT, "CONTEXTSEG_SWEEP_FOLDER"}
STRANGE_PREFIXES = ("SLURM_", "TORCHELASTIC_", "PL_")


class Job:
    """A training in a process of its own: `start`, wait while `running`, `outcome`.

    What it prints goes to `output.log` in its run folder. While the process lives it holds a lock on that file, so
    that no second one works in the folder; it stops when its parent is gone, however that went.
    """

    def __init__(self, cfg: DictConfig, overrides: Sequence[str], number: int, sweep: Path):
        """`number`: names its folder within that of the sweep, if no plan gave it one."""
        path = Path(cfg.run.dir or sweep / numbered(number, cfg))
        again = re.search(r"-\d\d(_\d+)$", path.name)  # the number that the plan gave to a second run of the row
        self.name = f"{cfg.row}_s{cfg.seed}{again[1] if again else ''}" if cfg.row else path.name
        self.devices, self.folder = cfg.trainer.devices, RunFolder(path)
        told = [] if cfg.run.dir else [given_folder(path)]
        self.command = [sys.executable, "-m", "contextseg", "train", *overrides, *told]
        self.process: subprocess.Popen | None = None
        self.stopped = self.waited = False

    @property
    def output(self) -> Path:
        return self.folder.path / "output.log"

    def start(self, threads: int, gpus: Sequence[int] = ()) -> bool:
        """Start the process; False if another one is at work in the folder. One that has finished is left alone."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with self.output.open("a") as output:
            if not lock(output):
                if not self.waited:
                    log.info("%s waits: another process is at work in %s", self.name, self.folder.path)
                self.waited = True
                return False
            if finished(self.folder):
                return True
            (self.folder.path / "metrics.json").unlink(missing_ok=True)
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,  # closes when this process is gone
                stdout=output,  # the lock goes with it
                stderr=subprocess.STDOUT,
                env=environment(threads, gpus),
                start_new_session=True,  # Ctrl-C is for the sweep, which tells its jobs
            )
        return True

    def running(self) -> bool:
        """Whether the process is still at work."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask the process to stop."""
        self.stopped = True
        if self.process is not None and self.running():
            self.process.terminate()

    def clear(self) -> None:
        """Wait for the process to end, and leave none of those that it started."""
        if self.process is None or self.process.stdin is None:
            return
        self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        with suppress(ProcessLookupError):  # the usual case: none is left
            for _ in range(50):
                os.killpg(self.process.pid, 0)
                time.sleep(0.1)
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def outcome(self) -> dict[str, Any]:
        """The contents of `metrics.json`, written here if the process could not."""
        metrics = self.folder.read_metrics()
        if "status" not in metrics:
            metrics = {"status": "stopped" if self.stopped else "failed", "error": self.reason()}
            self.folder.write_metrics(metrics)
        return metrics

    def reason(self) -> str:
        """Why a process ended that did not say so itself."""
        code = self.process.returncode if self.process else 0
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        told = [line for line in self.output.read_text(errors="replace").splitlines() if line.startswith("error: ")]
        return told[-1].removeprefix("error: ") if told else f"exit code {code}; see {self.output}"


def environment(threads: int, gpus: Sequence[int]) -> dict[str, str]:
    """The environment of a job; the user's own OMP_NUM_THREADS is kept."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in STRANGE and not name.startswith(STRANGE_PREFIXES)
    }
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}
    here = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return {"OMP_NUM_THREADS": str(threads)} | kept | seen | {JOB: "1", "PYTHONPATH": here}


def numbered(number: int, cfg: DictConfig) -> str:
    """The folder's name of a job of an ordinary sweep."""
    return f"{number:03d}_{cfg.choices.head}_{cfg.choices.backbone}_s{cfg.seed}"


def given_folder(path: Path) -> str:
    """The override that tells a run its folder."""
    return 'run.dir="{}"'.format(str(path).replace('"', '\\"'))


def finished(folder: RunFolder) -> bool:
    """Whether a run has done all it had to do."""
    return folder.read_metrics().get("status") == "finished"


def follow_parent() -> None:
    """In the process of a job, and those that it starts: stop, as after SIGTERM, when the sweep is gone."""
    if JOB in os.environ:
        threading.Thread(target=stop_at_the_end_of_input, daemon=True).start()


def stop_at_the_end_of_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
