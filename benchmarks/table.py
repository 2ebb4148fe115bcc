"""The table of docs/performance.md: every comparison with the usual formulation. make bench

    python benchmarks/table.py docs/performance.md

Each benchmark runs in a process of its own, on one thread; its rows (`comparison.py`) are written as they come.
"""

import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch
from comparison import HEADER

COMPARED = ("criss_cross", "region_attention", "context_prior", "cross_entropy", "evaluation")
START, END = "<!-- written by make bench -->\n", "<!-- end of what make bench wrote -->"
HERE = Path(__file__).parent


def machine() -> str:
    """Name the processor and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    model = f"{known.get('model name', platform.processor())} (model {known.get('model', '?')})"
    return f"{model}, one thread, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, {date.today()}"


def rows(name: str) -> list[str]:
    """Run a benchmark and return its rows; they are shown meanwhile."""
    found = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(HERE / f"{name}.py")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith("|"):
                print(line, end="", flush=True)
                found.append(line.rstrip())
    if run.returncode:
        raise SystemExit(f"benchmarks/{name}.py failed with exit code {run.returncode}")
    return found


def main() -> None:
    page = Path(sys.argv[1])
    print(HEADER, flush=True)
    found = [row for name in COMPARED for row in rows(name)]
    before, _, rest = page.read_text().partition(START)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before + START + HEADER, *found, "", f"{machine()}.", "", END + after]))


if __name__ == "__main__":
    main()
