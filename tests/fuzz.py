"""Give contextseg wrong inputs and look for a silent wrong answer, a hang, or a traceback.

    python tests/fuzz.py [inputs=10000] [commands=300] [seed=0] [kinds=options,images,...] [out=runs/fuzz]

An input of each kind (tests/fuzzing) is either answered rightly or refused in one line that names option or file.
Inputs are asked in this process, `commands` of them as whole commands. Input n of a kind and seed is always the same.
Findings go to <out>/findings.jsonl, counts to <out>/counts.json; the same command continues where it was stopped.
Exit code 1 if anything was found.
"""

import json
import logging
import random
import sys
import time
from pathlib import Path
from typing import Any

from fuzzing import archives, checkpoints, options, pictures, records, whole
from fuzzing.case import SECONDS, Case, Fault, verdict
from fuzzing.world import World

KINDS = {  # what draws a case, and its share of the inputs
    "options": (options.draw, 30),
    "images": (pictures.draw_image, 25),
    "masks": (pictures.draw_mask, 15),
    "checkpoints": (checkpoints.draw, 12),
    "classes": (records.draw_classes, 9),
    "runs": (records.draw_run, 5),
    "archives": (archives.draw, 4),
}
DRAW = {kind: draw for kind, (draw, _) in KINDS.items()} | {"commands": whole.draw}
EVERY = 25  # inputs from one record of the counts to the next


def case(kind: str, seed: int, number: int, world: World) -> Case:
    """Return an input by its number."""
    return DRAW[kind](random.Random(f"{kind} {seed} {number}"), world)


class Record:
    """Counts and findings in a folder."""

    def __init__(self, folder: Path):
        self.counts_file, self.findings_file = folder / "counts.json", folder / "findings.jsonl"
        self.counts: dict[str, dict[str, Any]] = (
            json.loads(self.counts_file.read_text()) if self.counts_file.is_file() else {}
        )

    def of(self, kind: str, seed: int) -> dict[str, Any]:
        """Return the counts of a kind and seed."""
        zeros = {"tried": 0, "right": 0, "refused": 0, "found": 0, "seconds": 0.0}
        return self.counts.setdefault(f"{kind} {seed}", zeros)

    def save(self) -> None:
        """Write the counts."""
        self.counts_file.write_text(json.dumps(self.counts, indent=1))

    def find(self, line: dict[str, Any]) -> None:
        """Write a finding."""
        with self.findings_file.open("a") as file:
            file.write(json.dumps(line) + "\n")


def fuzz(kind: str, inputs: int, seed: int, world: World, record: Record) -> None:
    """Try what is left of the inputs of a kind."""
    counts = record.of(kind, seed)
    while (number := counts["tried"]) < inputs:
        began, shown = time.monotonic(), ""
        try:
            one = case(kind, seed, number, world)
            shown = one.shown
            counts[verdict(one, SECONDS if kind != "commands" else whole.LIMIT + 30)] += 1
        except Fault as fault:
            counts["found"] += 1
            record.find({"kind": kind, "seed": seed, "number": number, "fault": str(fault), "input": shown})
            print(f"{kind} {number}: {fault}\n    {shown[:300]}", flush=True)
        counts["tried"] += 1
        counts["seconds"] += time.monotonic() - began
        if counts["tried"] % EVERY == 0 or counts["tried"] == inputs:
            record.save()
        if counts["tried"] % (40 * EVERY) == 0:
            print(kind, counts, flush=True)


def summary(counts: dict[str, dict[str, Any]]) -> int:
    """Print a table of the counts; return the number of findings."""
    print("| kind, seed | inputs | answered rightly | refused in a line | found | seconds |\n|---|---|---|---|---|---|")
    for kind, one in counts.items():
        print(
            f"| {kind} | {one['tried']} | {one['right']} | {one['refused']} | {one['found']} | {one['seconds']:.0f} |"
        )
    return sum(one["found"] for one in counts.values())


def main(
    inputs: int = 10_000, commands: int = 300, seed: int = 0, kinds: str = ",".join(DRAW), out: str = "runs/fuzz"
) -> int:
    """Try what is left of the plan; return the number of findings."""
    from conftest import pytest_collection_modifyitems as prepare
    from harness import train

    prepare()
    logging.disable(logging.CRITICAL)
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run = next(folder.glob("trained/*/*/checkpoints/last.ckpt"), None)
    world = World(folder / "world", run.parents[1] if run else train(folder / "trained", "trainer.max_steps=4").folder)
    record, chosen = Record(folder), kinds.split(",")
    shares = sum(share for _, share in KINDS.values())
    for kind in chosen:
        fuzz(kind, commands if kind == "commands" else inputs * KINDS[kind][1] // shares, seed, world, record)
    return summary(record.counts)


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    numbers = {name: int(text) for name, text in given.items() if name in ("inputs", "commands", "seed")}
    sys.exit(bool(main(**given | numbers)))
