"""The largest square crop that trains in a given memory, computed for each head, as a markdown table.

    PYTHONPATH=src python benchmarks/largest_crop.py [HEAD ...]
    PYTHONPATH=src python benchmarks/largest_crop.py check     # computed against measured, on this CPU

ResNet-101 at stride 8 (AGLN and FPN 32), heads of their paper's width, 19 classes, 8 images on a device, bf16, SGD with
momentum. Counted as in docs/recipes.md, where the count may be two thirds of the memory: it leaves out gradients of
activations, workspaces and the allocator's rounding.
"""

import resource
import subprocess
import sys
from functools import cache

import torch

from contextseg.commands.complexity.recipes import GIB, memory
from contextseg.commands.compose import compose
from contextseg.contract import Batch
from contextseg.engine import build

HEADS = ("fcn", "psp", "ocr", "ccnet", "ctnet", "cpnet", "danet", "nonlocal", "agln", "fpn")
CARDS, IMAGES, STEP, SHARE = (8, 16, 24, 80), 8, 32, 2 / 3
CHECKED = (("fcn", 256), ("ocr", 256), ("ocr", 384), ("danet", 256), ("cpnet", 256), ("agln", 256))


@cache
def need(head: str, side: int, images: int = IMAGES, backbone: str = "resnet101") -> float:
    """Count the GiB of a training step."""
    stride = 32 if head in ("agln", "fpn") else 8
    settings = [f"backbone={backbone}", "backbone.weights=none", f"backbone.output_stride={stride}", "width=null"]
    data = ["data=cityscapes", f"data.transform.crop_size=[{side},{side}]", "data.root=."]
    cfg = compose(["experiment=none", f"head={head}", *settings, *data])
    return memory(cfg).of(images) / GIB


def largest(head: str, gib: float) -> int:
    """Find the largest side, a multiple of 32, whose count fits; 0 if none does."""
    low, high = 0, 64
    while need(head, high * STEP) <= gib * SHARE:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if need(head, middle * STEP) <= gib * SHARE else (low, middle)
    return low * STEP


def measured(head: str, side: int) -> float:
    """Train one step of two images with ResNet-18 in this process: GiB above what is held before the first image."""
    stride = 32 if head in ("agln", "fpn") else 8
    settings = ["backbone=resnet18", "backbone.weights=none", f"backbone.output_stride={stride}", "width=null"]
    cfg = compose([f"head={head}", *settings, f"data.size={side}"])
    module = build.module(cfg, build.datamodule(cfg))
    optimizer = module.optimizer(module.segmenter)
    mask = torch.zeros(2, side, side, dtype=torch.uint8)
    batch = Batch(torch.zeros(2, 3, side, side, dtype=torch.uint8), mask, ["", ""])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step(batch, 0)["loss"].backward()
    optimizer.step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


def check() -> None:
    """Compare the count with the peak of a process."""
    print("| head | side | counted, GiB | measured above the start, GiB |\n|---|---|---|---|", flush=True)
    for head, side in CHECKED:
        words = [sys.executable, "-W", "ignore", __file__, "measure", head, str(side)]
        found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1]
        print(f"| `{head}` | {side} | {need(head, side, 2, 'resnet18'):.2f} | {float(found):.2f} |", flush=True)


def main() -> None:
    match sys.argv[1:]:
        case ["measure", head, side]:
            print(measured(head, int(side)))
        case ["check"]:
            check()
        case heads:
            print("| head |", " | ".join(f"{card} GB" for card in CARDS), "|\n|---|" + "---|" * len(CARDS), flush=True)
            for head in heads or HEADS:
                sides = " | ".join(str(largest(head, card) or "none") for card in CARDS)
                print(f"| `{head}` | {sides} |", flush=True)


if __name__ == "__main__":
    main()
