"""A job of a sweep: a training in a process of its own, whose end is always recorded."""

import json
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from contextseg.commands.sweep.warm import PYTHON, Fork, WarmParent
from contextseg.runs.folder import ENVIRONMENT, RANK, RunFolder
from contextseg.runs.lock import HANDED, RunLock

log = logging.getLogger(__name__)

JOB = "CONTEXTSEG_JOB"  # tells a process that it is the job of a sweep
SOURCE = Path(__file__).resolve().parents[3]  # holds the package, which need not be installed
MAX_WAIT = 60  # seconds that a job gets to end by itself

# Variables that a job must not inherit: its place among the processes of a launcher, or of another run.
FOREIGN = {"LOCAL_RANK", "RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
FOREIGN |= {"MASTER_ADDR", "MASTER_PORT", RANK, ENVIRONMENT, HANDED, "CONTEXTSEG_SWEEP_FOLDER"}
FOREIGN_PREFIXES = ("SLURM_", "TORCHELASTIC_", "PL_")


class Job:
    """Run a training in a process of its own: `start`, wait while `running`, `outcome`.

    Its output goes to `output.log` in its run folder. The folder is locked before the process starts, and the lock
    handed to it, so that no second one works there. It stops when its parent is gone, for whatever reason.
    """

    def __init__(self, cfg: DictConfig, overrides: Sequence[str], number: int, sweep: Path, places: Sequence[str] = ()):
        """Take the configuration of a job; `number` names its folder in that of the sweep, if no plan did.

        `places`: overrides by which Hydra finds the user's own configuration files (`config_places`).
        """
        path = Path(cfg.run.dir or sweep / numbered(number, cfg))
        again = re.search(r"-\d\d(_\d+)$", path.name)  # the number that the plan gave to a second run of the row
        self.name = f"{cfg.row}_s{cfg.seed}{again[1] if again else ''}" if cfg.row else path.name
        self.devices, self.folder = cfg.trainer.devices, RunFolder(path)
        self.parts = [*targets(OmegaConf.to_container(cfg))]
        place = [] if cfg.run.dir else [given_folder(path)]
        self.command = [*PYTHON, "train", *overrides, *place, *places]
        self.process: subprocess.Popen | Fork | None = None
        self.stopped = self.waited = False

    @property
    def output(self) -> Path:
        return self.folder.path / "output.log"

    def start(self, threads: int, gpus: Sequence[int] = (), warm: WarmParent | None = None) -> bool:
        """Start the process, unless the run is finished; return False if another process works in the folder.

        `warm`: forks it, if it can.
        """
        self.folder.path.mkdir(parents=True, exist_ok=True)
        own = RunLock(self.folder.path)
        if not own.take():
            if not self.waited:
                log.info("%s waits: another process is at work in %s", self.name, self.folder.path)
            self.waited = True
            return False
        if finished(self.folder):
            own.release()
            return True
        (self.folder.path / "metrics.json").unlink(missing_ok=True)
        env = environment(threads, gpus)
        with self.output.open("a") as output:
            if warm is not None:
                self.process = warm.fork(self.command[len(PYTHON) :], env, output.fileno(), own.file)
            if self.process is None:
                self.process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,  # closes when this process is gone
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env | {HANDED: str(own.file)},
                    pass_fds=[own.file],
                    start_new_session=True,  # Ctrl-C is for the sweep, which stops its jobs
                )
        own.hand_over()
        return True

    def running(self) -> bool:
        """Tell whether the process is still at work."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask the process to stop."""
        self.stopped = True
        if self.process is not None and self.running():
            self.process.terminate()

    def clear(self) -> None:
        """Wait for the process to end, and end those that it started."""
        if self.process is None or self.process.stdin is None:
            return
        self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(MAX_WAIT)
        with suppress(ProcessLookupError):  # the usual case: none is left
            for _ in range(50):
                os.killpg(self.process.pid, 0)
                time.sleep(0.1)
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def outcome(self) -> dict[str, Any]:
        """Return the contents of `metrics.json`; write it if the process could not."""
        metrics = self.folder.read_metrics()
        if "status" not in metrics:
            metrics = {"status": "stopped" if self.stopped else "failed", "error": self.reason()}
            self.folder.write_metrics(metrics)
        return metrics

    def reason(self) -> str:
        """Return the reason of the end of a process that did not record it."""
        code = (self.process.returncode if self.process else None) or 0
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        errors = [line for line in self.output.read_text(errors="replace").splitlines() if line.startswith("error: ")]
        return errors[-1].removeprefix("error: ") if errors else f"exit code {code}; see {self.output}"


def config_places(sources: Iterable[DictConfig]) -> list[str]:
    """Return overrides by which a job finds what `--config-dir` and `hydra.searchpath` add to `conf/`.

    `sources`: Hydra's `runtime.config_sources`, each with path, schema and provider.
    """
    ours = ("command-line", "hydra.searchpath")
    found = [source for source in sources if source.provider.startswith(ours)]
    urls = [f"{source.schema}://{absolute(source)}" for source in found]
    return [f"hydra.searchpath=[{','.join(map(json.dumps, dict.fromkeys(urls)))}]"] if urls else []


def absolute(source: DictConfig) -> str:
    """Return the path of a source, which of a folder must not depend on where a job runs."""
    return str(Path(source.path).resolve()) if source.schema == "file" else source.path


def environment(threads: int, gpus: Sequence[int]) -> dict[str, str]:
    """Return the environment of a job; the user's own OMP_NUM_THREADS is kept."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN and not name.startswith(FOREIGN_PREFIXES)
    }
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}
    here = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    return {"OMP_NUM_THREADS": str(threads)} | kept | seen | {JOB: "1", "PYTHONPATH": here}


def targets(node: Any) -> Iterator[str]:
    """Yield the names of the parts in a node, at any depth."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = [*node.values()]
    for child in node if isinstance(node, list) else ():
        yield from targets(child)


def numbered(number: int, cfg: DictConfig) -> str:
    """Return the name of the folder of a job of an ordinary sweep."""
    return f"{number:03d}_{cfg.choices.head}_{cfg.choices.backbone}_s{cfg.seed}"


def given_folder(path: Path) -> str:
    """Return the override that gives a run its folder."""
    return 'run.dir="{}"'.format(str(path).replace('"', '\\"'))


def finished(folder: RunFolder) -> bool:
    """Tell whether a run did all its steps."""
    return folder.read_metrics().get("status") == "finished"


def follow_parent() -> None:
    """Stop this process, as SIGTERM does, when the sweep is gone; only in a job and the processes that it starts."""
    if JOB in os.environ:
        threading.Thread(target=stop_at_the_end_of_input, daemon=True).start()


def stop_at_the_end_of_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
