"""How time and memory of every head grow with the image and with the number of classes: tables, fits and a picture.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/growth.py [PICTURE]

Heads of width 64 alone, on maps as of a dilated ResNet (strides 4, 8, 8, 8), one image, one thread. Time: forward
without gradient, median; a size that would take longer than 15 s is left out. Memory: what training keeps for the
backward pass, from the sizes of fake tensors. An exponent is the slope of log time or log memory over the three largest
sizes: 2 in the side is linear in the pixels, 4 is a number for each pair of pixels.
"""

import inspect
import statistics
import sys
import time
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from contextseg.commands.complexity.memory import saved_for_backward
from contextseg.contract import Head
from contextseg.recipe import head_classes

SIDES, CLASSES = (64, 128, 256, 512, 1024, 2048), (2, 10, 19, 59, 150)  # pixels; the others at 19 classes, 512 pixels
STRIDES, CHANNELS, WIDTH = (4, 8, 8, 8), (64, 64, 128, 128), 64
LONGEST, TYPICAL = 15.0, (512, 19)
LEFT_OUT = {"ocr_ground_truth", "reference", "ccnet3d"}  # an oracle, the reference of generated scenes, clips


def head_of(kind: type[Head], side: int, classes: int) -> Head:
    """Build a head for images of `side` pixels."""
    known = inspect.signature(kind).parameters
    wanted = {"channels": WIDTH, "crop_size": (side, side), "grid": side // 8, "strides": STRIDES}
    return kind(CHANNELS, classes, **{key: value for key, value in wanted.items() if key in known})


def maps(side: int) -> list[Tensor]:
    """Make the maps of an image."""
    return [torch.randn(1, c, side // s, side // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


def seconds(kind: type[Head], side: int, classes: int) -> float:
    """Return the median time of a forward pass."""
    head, given, found = head_of(kind, side, classes).eval(), maps(side), []
    with torch.no_grad():
        while len(found) < 2 or (len(found) < 12 and sum(found) < 1):
            start = time.process_time()
            head(given)
            found.append(time.process_time() - start)
            if found[-1] > LONGEST / 2:
                break
    return statistics.median(found[1:] or found)


def kept_mib(kind: type[Head], side: int, classes: int) -> float:
    """Return what a training pass keeps, in MiB."""
    with FakeTensorMode():
        head = head_of(kind, side, classes).eval()  # one image: no statistics of its pooled vectors
        return saved_for_backward(head, maps(side), stored=False)[""] / 2**20


def seconds_by_side(kind: type[Head], classes: int) -> dict[int, float]:
    """Measure larger and larger images, until the next would take too long if time went on growing as it did."""
    found: dict[int, float] = {}
    for side in SIDES:
        before, last = [0.0, 0.0, *found.values()][-2:]
        if before and last * last / before > LONGEST:
            break
        found[side] = seconds(kind, side, classes)
    return found


def exponent(of: Mapping[int, float]) -> float:
    """Fit the slope of the three largest sizes, both axes logarithmic."""
    sizes, values = (np.log(list(part)[-3:]) for part in (of.keys(), of.values()))
    return float(np.polyfit(sizes, values, 1)[0])


def main() -> None:
    torch.manual_seed(0)
    picture = sys.argv[1] if len(sys.argv) > 1 else "growth.png"
    titles = (
        "seconds by side of the image",
        "MiB kept by side of the image",
        "seconds by classes",
        "MiB kept by classes",
    )
    figure, axes = plt.subplots(2, 2, figsize=(13, 10), dpi=110, layout="constrained")
    print("| head | time ~ side^ | memory ~ side^ | largest side | seconds there | time, 150 / 19 classes | memory |")
    print("|---|---|---|---|---|---|---|", flush=True)
    side, classes = TYPICAL
    kinds = {name: kind for name, kind in head_classes().items() if name not in LEFT_OUT}
    for number, (name, kind) in enumerate(kinds.items()):
        curves = (
            seconds_by_side(kind, classes),
            {size: kept_mib(kind, size, classes) for size in SIDES},
            {k: seconds(kind, side, k) for k in CLASSES},
            {k: kept_mib(kind, side, k) for k in CLASSES},
        )
        by_side, memory_by_side, by_class, memory_by_class = curves
        style = {"color": plt.cm.tab20(number % 20), "marker": "os^v"[number % 4], "markersize": 4, "linewidth": 1}
        for ax, curve in zip(axes.flat, curves, strict=True):
            ax.plot(curve.keys(), curve.values(), label=name, **style)
        largest = max(by_side)
        of_classes = [f"{curve[max(curve)] / curve[classes]:.1f}x" for curve in (by_class, memory_by_class)]
        cells = (f"{exponent(by_side):.1f}", f"{exponent(memory_by_side):.1f}", largest, f"{by_side[largest]:.2f}")
        print("", f"`{name}`", *cells, *of_classes, "", sep=" | ", flush=True)
    for ax, title in zip(axes.flat, titles, strict=True):
        ax.set(xscale="log", yscale="log", title=title)
        ax.set_xticks(SIDES if "side" in title else CLASSES, labels=map(str, SIDES if "side" in title else CLASSES))
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.savefig(picture)


if __name__ == "__main__":
    main()
