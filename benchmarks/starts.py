"""CPU seconds that commands take to start: `--help`, a training and a job of a sweep up to the end of the first step.

    python benchmarks/starts.py [TIMES]

Every number is a median over TIMES processes (3), one thread each, with what they import in the file cache. Importing
torch alone is the floor: no training starts before it. The job of a sweep is counted from the start of its process.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import lightning as L

SOURCE = Path(__file__).parents[1] / "src"
WRITTEN = "STARTS_FILE"  # to which a process writes what it took


class FirstStep(L.Callback):
    """Write the CPU seconds of this process, those of the processes it waited for too, after a step; end it."""

    def on_train_batch_end(self, *_):
        with open(os.environ[WRITTEN], "a") as file:
            print(seconds(RUSAGE_SELF) + seconds(RUSAGE_CHILDREN), file=file)
        os._exit(0)


def seconds(who: int) -> float:
    """Return the CPU seconds of this process, or of those that it has waited for."""
    used = getrusage(who)
    return used.ru_utime + used.ru_stime


def whole(*words: str) -> float:
    """Return the CPU seconds of a Python process with these arguments."""
    before = seconds(RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, check=True)
    return seconds(RUSAGE_CHILDREN) - before


def first_steps(*words: str) -> list[float]:
    """Return the CPU seconds up to the first step of each training that these words of `train` start."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seconds"
        path = os.pathsep.join(map(str, [SOURCE, SOURCE.parent / "benchmarks"]))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, WRITTEN: str(file)}
        command = [
            sys.executable,
            SOURCE / "train.py",
            f"paths.runs={folder}",
            "+callbacks.first._target_=starts.FirstStep",
        ]
        subprocess.run([*command, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return [float(line) for line in file.read_text().split()]


def main(times: int) -> None:
    once, train = range(times), str(SOURCE / "train.py")
    whole("-c", "import lightning, albumentations"), whole(train, "--help")  # into the file cache
    torch = statistics.median(whole("-c", "import torch") for _ in once)
    rows = {
        "`python -c 'import torch'`": torch,
        "`python src/train.py --help`": statistics.median(whole(train, "--help") for _ in once),
        "first step of `make train`": statistics.median(one for _ in once for one in first_steps()),
        "first step of a job of `-m`": statistics.median(first_steps("-m", f"seed={','.join(map(str, once))}")),
    }
    print("| CPU seconds, median | | torch's own import |\n|---|---|---|")
    for name, value in rows.items():
        share = f"{100 * torch / value:.0f} %" if torch <= value else ""
        print(f"| {name} | {value:.2f} | {share} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3)
