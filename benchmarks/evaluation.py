"""Evaluation at 512x683 with 150 classes: our confusion counts and arg-max against the obvious ones.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/evaluation.py

Alternatives run interleaved in one process; printed are medians, their ratio to ours, and the peak of memory that a
call allocates, its result included. Trust the ratios, not the milliseconds.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile
from torchmetrics.classification import MulticlassConfusionMatrix

from contextseg.classes import ClassSet
from contextseg.contract import IGNORE_INDEX
from contextseg.layers.resize import argmax_resized, resize
from contextseg.metrics import SegMetrics

SIZE, K, ROUNDS = (512, 683), 150, 11


def peak_mib(call: Callable) -> float:
    """Running maximum of what the CPU allocator hands out during one call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        result = call()  # noqa: F841 - kept, so that it counts
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20


def compare(title: str, **calls: Callable) -> None:
    """Prints one line for each call; the first is ours."""
    times = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in times.items()}
    print(title)
    for name, call in calls.items():
        print(f"  {name:24}{median[name]:9.2f} ms {median[name] / median['ours']:7.1f}x {peak_mib(call):9.1f} MiB")


def main() -> None:
    torch.manual_seed(0)
    logits = resize(3 * torch.randn(1, K, 16, 22), (64, 86))  # smooth, as the logits of a network are
    channels_last = logits.contiguous(memory_format=torch.channels_last)
    prediction = argmax_resized(logits, SIZE)
    mask = torch.where(torch.rand(1, *SIZE) < 0.7, prediction, torch.randint(K, (1, *SIZE), dtype=torch.uint8))
    mask[:, :20] = IGNORE_INDEX

    ours = SegMetrics(ClassSet("150", tuple(map(str, range(K))), ((0, 0, 0),) * K))
    checked = MulticlassConfusionMatrix(K, ignore_index=IGNORE_INDEX)
    unchecked = MulticlassConfusionMatrix(K, ignore_index=IGNORE_INDEX, validate_args=False)
    ours.update(prediction, mask)
    checked.update(prediction, mask)
    assert torch.equal(ours.confusion, checked.confmat)
    assert torch.equal(resize(logits, SIZE).argmax(1), prediction.long())

    compare(
        "confusion update",
        ours=lambda: ours.update(prediction, mask),
        torchmetrics=lambda: checked.update(prediction, mask),
        torchmetrics_unchecked=lambda: unchecked.update(prediction, mask),
    )
    compare(
        "arg-max at image size, from 64x86",
        ours=lambda: argmax_resized(logits, SIZE),
        ours_channels_last=lambda: argmax_resized(channels_last, SIZE),
        plain=lambda: resize(logits, SIZE).argmax(1),
        plain_channels_last=lambda: resize(channels_last, SIZE).argmax(1),
    )


if __name__ == "__main__":
    main()
