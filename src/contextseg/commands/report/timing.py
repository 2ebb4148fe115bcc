"""Milliseconds of forward passes on this machine, in turn over several networks, so that a drift hits all alike."""

import platform
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

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


def in_turn(networks: Sequence[Segmenter], size: tuple[int, int]) -> Times:
    """Time one image of `size` (height, width) in every network, then again, and so on; on the GPU if there is one.

    Every round has another order, because a network may be slower after a large one. The first pass of each does not
    count. Shows its progress.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image = torch.randint(256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.zeros(1, *size, dtype=torch.uint8, device=device)  # which only an oracle reads
    taken: list[list[float]] = [[] for _ in networks]
    order = random.Random(0)
    with torch.inference_mode(), progress() as bar:
        task = bar.add_task("timing", total=MOST * len(networks), note=f"at most, or {SECONDS} s")
        for network in networks:
            network.to(device).eval()
            milliseconds(network, image, mask)
        begin, rounds = time.perf_counter(), 0
        while networks and (rounds < FEWEST or (rounds < MOST and time.perf_counter() - begin < SECONDS)):
            for i in order.sample(range(len(networks)), len(networks)):
                taken[i].append(milliseconds(networks[i], image, mask))
                bar.advance(task)
            rounds += 1
    spread = max((half_width(times) for times in taken), default=0.0)
    return Times([statistics.median(times) for times in taken], spread, rounds, machine(device))


def half_width(times: Sequence[float]) -> float:
    """Return half the distance of the quartiles, in percent of the median."""
    low, median, high = statistics.quantiles(times, method="inclusive")
    return 100 * (high - low) / 2 / median


def milliseconds(network: Segmenter, image: torch.Tensor, mask: torch.Tensor) -> float:
    """Time one forward pass without the auxiliary head, which inference does not have."""
    if image.is_cuda:
        torch.cuda.synchronize()
    begin = time.perf_counter()
    network.logits(image, mask)
    if image.is_cuda:
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
