"""Training speed of every head on `tiny`, 8 images of 128 x 128, width 64: one step of the embedded recipe.

One process; the heads take turns, so that a busy machine is unfair to none; medians of the rounds.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.contract import Batch
from contextseg.engine import build
from contextseg.engine.trainer import cpu_has_bf16

VARIANTS = ("ccnet head.recurrence=1", "ccnet head.recurrence=3", "psanet head.grid=16")
VARIANTS += ("ctnet neck=none", "fcn neck=jpu")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 9


def training_step(option: str) -> tuple[Callable[[], None], int]:
    """Return a function that does one step of `head=<option>` (overrides may follow), and the number of parameters."""
    cfg = compose(f"head={option}".split())
    module = build.module(cfg, build.datamodule(cfg))
    optimizer = module.optimizer(module.segmenter)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (8, 3, 128, 128), dtype=torch.uint8, generator=generator)
    mask = torch.randint(0, 12, (8, 16, 16), dtype=torch.uint8, generator=generator)
    batch = Batch(image, mask.repeat_interleave(8, 1).repeat_interleave(8, 2), [""] * 8)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            loss = module.training_step(batch, 0)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.segmenter.parameters(), 5.0)
        optimizer.step()

    return step, sum(p.numel() for p in module.segmenter.parameters())


def main() -> None:
    options = [*sorted(path.stem for path in (CONF / "head").glob("*.yaml")), *VARIANTS]
    steps = {option: training_step(option) for option in options}
    seconds: dict[str, list[float]] = {option: [] for option in options}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for option, (step, _) in steps.items():
            start = time.perf_counter()
            step()
            seconds[option].append(time.perf_counter() - start)
    table = Table("head", "parameters", "images/s", "ms a step", title=f"training, {torch.get_num_threads()} threads")
    for option in sorted(options, key=lambda option: statistics.median(seconds[option][1:])):
        median = statistics.median(seconds[option][1:])
        table.add_row(option, f"{steps[option][1] / 1e3:.0f} k", f"{8 / median:.0f}", f"{1e3 * median:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
