"""Kill trainings and compare what `resume=auto` makes of them with trainings that were never killed, bit for bit.

    python tests/soak.py [kills=30] [events=1] [seed=0] [variants=fp32,bf16,tensorboard,wandb,ranks] [out=runs/soak]

Each variant is killed (SIGKILL) before file events, one in `events` of them, and `kills` times at a random moment. A
line per kill goes to <out>/kills.jsonl; the same command continues where it was stopped. Every process is a fork of one
that has imported everything (tests/warm_python.py). Exit code 1 if a run differs.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from harness import SMALL, checkpoint_differences, curve, same, subprocess_environment
from warm_python import WarmPopen, keep_copy

SCRIPT = Path(__file__).with_name("soak_train.py")
SHORT = ("trainer.val_every_steps=3", "trainer.save_every_steps=2", "data.train_size=16", "data.test_size=4")
VARIANTS: dict[str, tuple[str, ...]] = {
    "fp32": (),
    "bf16": ("trainer.precision=bf16", "head=ocr", "head.dropout=0.5"),
    "tensorboard": ("logger=tensorboard",),
    "wandb": ("logger=wandb",),
    "ranks": ("trainer=ddp_cpu", "trainer.precision=32", "trainer.devices=2"),
}
OF_TIME = {"seconds", "images_per_second", "versions", "git_commit", "choices"}  # in metrics.json
COMPARED = ("predictions/*.png", "context/*.png", "*.png", "per_image/*.npz")
LIMIT = 300  # seconds that a training may take


class Soak:
    """Train, kill and compare one variant below `out`."""

    def __init__(self, variant: str, out: Path):
        self.variant, self.out = variant, out
        self.whole = out / variant / "whole"
        self.count = out / variant / "events"

    def start(self, runs: Path, *more: str, event: int = 0, count: str = os.devnull) -> subprocess.Popen:
        """Start a training whose runs lie in `runs`, to be killed before a file event if `event` is one.

        `count`: the file for the number of its events.
        """
        words = [*SMALL, *SHORT, *VARIANTS[self.variant], f"paths.runs={runs}", *more]
        env = subprocess_environment() | {
            "SOAK_RUNS": str(runs),
            "SOAK_KILL": str(event),
            "SOAK_COUNT": count,
        }
        env |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        runs.parent.mkdir(parents=True, exist_ok=True)
        with (runs.parent / f"{runs.name}.log").open("a") as log:
            return WarmPopen(
                [sys.executable, str(SCRIPT), *words], env=env, stdout=log, stderr=log, start_new_session=True
            )

    def reference(self) -> tuple[int, float]:
        """Train without a kill, once; return the number of its file events, and its seconds."""
        began = time.monotonic()
        if not self.count.is_file() or not finished(self.whole):
            shutil.rmtree(self.whole, ignore_errors=True)
            ended(self.start(self.whole, count=str(self.count)))
            (self.out / self.variant / "seconds").write_text(str(time.monotonic() - began))
        return int(self.count.read_text()), float((self.out / self.variant / "seconds").read_text())

    def killed(self, name: str, *, event: int = 0, after: float | None = None) -> dict[str, Any]:
        """Kill a training, go on with it, and tell in what it differs from the reference."""
        runs = self.out / self.variant / name
        shutil.rmtree(runs, ignore_errors=True)
        process = self.start(runs, event=event)
        if after is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            clear(process)
        hit = wait(process) == -signal.SIGKILL
        clear(process)
        code = wait(again := self.start(runs, "resume=auto"))
        clear(again)
        differs = [f"exit code {code} of the run that goes on"] if code else list(differences(self.whole, runs))
        if not differs:
            shutil.rmtree(runs)
            runs.with_suffix(".log").unlink(missing_ok=True)
        return {"killed": hit, "differs": differs}


def wait(process: subprocess.Popen) -> int:
    """Return the exit code of a process; one that hangs is killed, and its code is that of SIGKILL."""
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        clear(process)
        return process.wait()


def ended(process: subprocess.Popen) -> None:
    """Wait for a process that must succeed. Raises `RuntimeError` if it does not."""
    if code := wait(process):
        raise RuntimeError(f"the training without a kill ends with exit code {code}")


def clear(process: subprocess.Popen) -> None:
    """Kill what is left of a process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def finished(runs: Path) -> list[Path]:
    """Return the finished run folders in a folder of runs."""
    files = sorted(runs.glob("*/*/metrics.json"))
    return [file.parent for file in files if json.loads(file.read_text()).get("status") == "finished"]


def differences(one: Path, other: Path) -> Iterator[str]:
    """Name what differs between the one finished run in each of two folders."""
    runs = finished(one), finished(other)
    if [len(found) for found in runs] != [1, 1]:
        yield f"{len(runs[1])} finished runs"
        return
    (one,), (other,) = runs
    for part in other.rglob(".part_*"):
        yield f"{part.name} is left"
    yield from checkpoint_differences(one, other)
    if names(one, "checkpoints/*") != names(other, "checkpoints/*"):
        yield f"checkpoints {names(other, 'checkpoints/*')}"
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (one, other)]
    yield from (
        f"metrics.json {key}"
        for key in metrics[0].keys() | metrics[1].keys()
        if key not in OF_TIME
        if not same(metrics[0].get(key), metrics[1].get(key))
    )
    if curve(one) != curve(other):
        yield "metrics.csv"
    for pattern in COMPARED:
        if names(one, pattern) != names(other, pattern):
            yield f"files {pattern}"
            continue
        yield from (f"{name}" for name in names(one, pattern) if not same_file(one / name, other / name))
    yield from doubled(other)


def doubled(run: Path) -> Iterator[str]:
    """Name the curves of TensorBoard that have two points of one step."""
    if not (run / "tensorboard").is_dir():
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        if len(steps) != len(set(steps)):
            yield f"tensorboard {tag} {steps}"


def same_file(one: Path, other: Path) -> bool:
    """Compare files by their bytes, archives by their arrays."""
    if one.suffix != ".npz":
        return one.read_bytes() == other.read_bytes()
    with np.load(one) as first, np.load(other) as second:
        return first.files == second.files and all(np.array_equal(first[name], second[name]) for name in first.files)


def names(run: Path, pattern: str) -> list[str]:
    """List the files of a run by their names in it."""
    return sorted(str(path.relative_to(run)) for path in run.glob(pattern))


def plan(soak: Soak, kills: int, every: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kills of a variant: their names, and when they come."""
    events, seconds = soak.reference()
    for event in range(1, events + 1, every) if every else ():
        yield f"event_{event:03d}", {"event": event}
    moments = random.Random(f"{soak.variant} {seed}")
    for number in range(kills):
        yield f"moment_{seed}_{number:03d}", {"after": moments.uniform(0, seconds)}


def main(
    kills: int = 30, events: int = 1, seed: int = 0, variants: str = ",".join(VARIANTS), out: str = "runs/soak"
) -> int:
    """Run what is left of the plan; return the number of runs that differ."""
    keep_copy()
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "kills.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    done = {(line["variant"], line["name"]) for line in lines}
    for variant in variants.split(","):
        soak = Soak(variant, folder)
        for name, when in plan(soak, kills, events, seed):
            if (variant, name) in done:
                continue
            began = time.monotonic()
            line = {"variant": variant, "name": name} | soak.killed(name, **when)
            line["seconds"] = round(time.monotonic() - began, 1)
            lines.append(line)
            with record.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(variant, name, "equal" if not line["differs"] else line["differs"], flush=True)
    return summary(lines)


def summary(lines: list[dict[str, Any]]) -> int:
    """Print a table of the kills by variant and kind; return the number of runs that differ."""
    kinds = dict.fromkeys((line["variant"], line["name"].partition("_")[0]) for line in lines)
    print("| variant | killed at | kills | before its end | equal | seconds |\n|---|---|---|---|---|---|")
    for variant, kind in kinds:
        some = [line for line in lines if line["variant"] == variant and line["name"].startswith(kind)]
        hit, equal = sum(line["killed"] for line in some), sum(not line["differs"] for line in some)
        seconds = sum(line["seconds"] for line in some)
        where = "file events" if kind == "event" else "random moments"
        print(f"| {variant} | {where} | {len(some)} | {hit} | {equal} | {seconds:.0f} |")
    return sum(bool(line["differs"]) for line in lines)


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    numbers = {name: int(text) for name, text in given.items() if name in ("kills", "events", "seed")}
    sys.exit(bool(main(**given | numbers)))
