"""Train and validate for half an hour and draw the run's memory and open files, which must not grow.

    python benchmarks/memory_of_a_run.py MINUTES [PICTURE] [option=value ...]

The training is a process of its own, stopped by SIGTERM at the end. Memory is what all its processes hold alone
(private pages, /proc/PID/smaps_rollup), so Linux only.
"""

import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

EVERY = 2.0  # seconds
RUN = ("trainer.max_steps=1000000", "trainer.val_every_steps=100", "trainer.save_every_steps=50", "data.test_size=40")


def family(pid: int) -> list[int]:
    """Return a process and those that it started, at any depth."""
    with suppress(FileNotFoundError, ProcessLookupError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return [pid, *(one for child in children for one in family(child))]
    return []


def held(pid: int) -> tuple[float, int]:
    """Return the private memory of a process in MiB, and its number of open files."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        memory = sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
        return memory, len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0.0, 0


def watch(minutes: float, options: list[str]) -> np.ndarray:
    """Train for so long and return minutes, MiB and open files, (N, 3)."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "contextseg", "train", f"paths.runs={folder}", *RUN, *options]
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        start = time.monotonic()
        while (now := time.monotonic() - start) < 60 * minutes:
            if run.poll() is not None:
                raise SystemExit(f"the training ended by itself, with exit code {run.returncode}")
            memory, files = zip(*map(held, family(run.pid)), strict=True)
            found.append((now / 60, sum(memory), sum(files)))
            print(f"\r{now / 60:5.1f} min  {sum(memory):6.0f} MiB  {sum(files):3d} files", end="", flush=True)
            time.sleep(EVERY)
        run.send_signal(signal.SIGTERM)
        run.wait()
    print()
    return np.array(found)


def draw(found: np.ndarray, picture: str) -> None:
    """Draw memory and open files against minutes."""
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(7, 4), layout="constrained")
    above.plot(found[:, 0], found[:, 1], linewidth=0.8)
    above.set(ylabel="memory, MiB", ylim=(0, None))
    below.plot(found[:, 0], found[:, 2], linewidth=0.8)
    below.set(ylabel="open files", xlabel="minutes", ylim=(0, None))
    figure.savefig(picture, dpi=150)


def main(minutes: float, picture: str, options: list[str]) -> None:
    found = watch(minutes, options)
    rest = found[found[:, 0] > minutes / 6]
    third = len(rest) // 3
    for name, column in (("MiB", 1), ("open files", 2)):
        parts = [np.median(rest[i * third : (i + 1) * third, column]) for i in range(3)]
        print(f"| {name} | {' | '.join(f'{part:.0f}' for part in parts)} | {rest[:, column].max():.0f} |")
    draw(found, picture)


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 0.2, (sys.argv[2:] or ["memory_of_a_run.png"])[0], sys.argv[3:])
