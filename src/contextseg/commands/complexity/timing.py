"""Milliseconds of forward passes on this machine, in turn over several networks, so that a drift hits all alike.

The networks have random weights: no time depends on them.
"""

import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from contextseg.console import progress
from contextseg.segmenter import Segmenter

FEWEST, MOST = 5, 21  # rounds
SECONDS = 60  # after which a round is the last, if there were enough


@dataclass(frozen=True)
class Times:
    """Median milliseconds of each network, and how and where they were measured.

    spread   in percent of the median, within which half of the passes lie, of the network for which it is largest
    machine  the processor, in words
    """

    medians: list[float]
    spread: float
    rounds: int
    machine: str

    @property
    def how(self) -> str:
        """Say on which device and how the times were taken."""
        return (
            f"{self.machine}, float32, median of {self.rounds} passes of one image in turn over all rows; half of the "
            f"passes of a row are within {self.spread:.0f} % of it"
        )


def in_turn(networks: Sequence[Segmenter], size: tuple[int, int]) -> Times:
    """Time one image of `size` (height, width) in every network, then again, and so on; on the GPU if there is one."""
    device = here()
    image = torch.randint(256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.zeros(1, *size, dtype=torch.uint8, device=device)  # which only an oracle reads
    for network in networks:
        network.to(device).eval()
    return taken([partial(milliseconds, network, image, mask) for network in networks], device)


def modules_in_turn(modules: Sequence[nn.Module], inputs: Sequence[Any]) -> Times:
    """Time modules as `in_turn` does, each on inputs of its own: a tensor, or a list of tensors."""
    device = here()
    passes = []
    for module, given in zip(modules, inputs, strict=True):
        there = given.to(device) if isinstance(given, Tensor) else [one.to(device) for one in given]
        passes.append(partial(pass_of, module.to(device).eval(), there))
    return taken(passes, device)


def here() -> torch.device:
    """Return the device that is timed: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def taken(passes: Sequence[Callable[[], float]], device: torch.device) -> Times:
    """Take the times of passes, each of which returns its milliseconds, in turn.

    Every round has another order, because a network may be slower after a large one. The first pass of each does not
    count. Shows its progress.
    """
    times: list[list[float]] = [[] for _ in passes]
    order = random.Random(0)
    with torch.inference_mode(), progress() as bar:
        task = bar.add_task("timing", total=MOST * len(passes), note=f"at most, or {SECONDS} s")
        for once in passes:
            once()
        begin, rounds = time.perf_counter(), 0
        while passes and (rounds < FEWEST or (rounds < MOST and time.perf_counter() - begin < SECONDS)):
            for i in order.sample(range(len(passes)), len(passes)):
                times[i].append(passes[i]())
                bar.advance(task)
            rounds += 1
    spread = max((half_width(one) for one in times), default=0.0)
    return Times([statistics.median(one) for one in times], spread, rounds, machine(device))


def half_width(times: Sequence[float]) -> float:
    """Return half the distance of the quartiles, in percent of the median."""
    low, median, high = statistics.quantiles(times, method="inclusive")
    return 100 * (high - low) / 2 / median


def milliseconds(network: Segmenter, image: torch.Tensor, mask: torch.Tensor) -> float:
    """Time one forward pass without the auxiliary head, which inference does not have."""
    return timed(lambda: network.logits(image, mask))


def pass_of(module: nn.Module, inputs: Any) -> float:
    """Time one forward pass of a module."""
    return timed(lambda: module(inputs))


def timed(call: Callable[[], Any]) -> float:
    """Return the milliseconds of a call, and of what it started on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)


def machine(device: torch.device) -> str:
    """Name the processor that was timed, and of a CPU the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{cpu()}, {threads} thread{'s' if threads > 1 else ''}"


def cpu() -> str:
    """Return the name of the CPU, or where it is not to be had, its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
