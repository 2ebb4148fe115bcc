"""A whole training step of every head, and the share of each part, as a markdown table.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/train_step.py efficientnet_lite0|resnet50 [HEAD ...]

Heads of their paper's width at stride 8 (AGLN and FPN 32), two images of 256 x 256, in the precision of
`trainer.precision=auto`; CPU time, medians of three steps after one. "head" is with the neck.
"""

import statistics
import sys
import time

import torch

from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.contract import Batch
from contextseg.engine import build
from contextseg.engine.trainer import cpu_has_bf16

SIDE, IMAGES, ROUNDS = 256, 2, 3
PARTS = ("backbone", "head", "losses", "backward", "optimizer")


def parts_of_a_step(backbone: str, head: str) -> dict[str, float]:
    """Return the median milliseconds of each part of a step."""
    torch.manual_seed(0)
    stride = 32 if head.startswith(("agln", "fpn")) else 8
    settings = [f"backbone={backbone}", "backbone.weights=none", f"backbone.output_stride={stride}", "width=null"]
    cfg = compose([f"head={head}", *settings, f"data.size={SIDE}"])
    module = build.module(cfg, build.datamodule(cfg))
    network, optimizer = module.segmenter, module.optimizer(module.segmenter)
    shape = (IMAGES, *(network.head.frames,) * (network.head.frames > 1), 3, SIDE, SIDE)
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    mask = torch.randint(0, 12, (IMAGES, 16, 16), dtype=torch.uint8)
    batch = Batch(image, mask.repeat_interleave(16, 1).repeat_interleave(16, 2), [""] * IMAGES)
    marks: dict[str, float] = {}

    def mark(name: str) -> None:
        marks[name] = time.process_time()

    network.backbone.register_forward_hook(lambda *_: mark("backbone"))
    network.register_forward_hook(lambda *_: mark("head"))
    found: list[dict[str, float]] = []
    for _ in range(ROUNDS + 1):
        optimizer.zero_grad()
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            loss = module.training_step(batch, 0)["loss"]
        mark("losses")
        loss.backward()
        mark("backward")
        optimizer.step()
        mark("optimizer")
        ends = [start, *(marks[part] for part in PARTS)]
        found.append({part: 1000 * (ends[i + 1] - ends[i]) for i, part in enumerate(PARTS)})
    return {part: statistics.median(each[part] for each in found[1:]) for part in PARTS}


def main() -> None:
    backbone, *heads = sys.argv[1:]
    options = sorted(path.stem for path in (CONF / "head").glob("*.yaml"))
    precision = "bf16" if cpu_has_bf16() else "float32"
    print(f"| head, {backbone}, {precision} | ms a step |", " | ".join(f"{part}, %" for part in PARTS), "|")
    print("|---" * (2 + len(PARTS)) + "|", flush=True)
    for head in heads or [name for name in options if "official" not in name]:
        found = parts_of_a_step(backbone, head)
        total = sum(found.values())
        shares = " | ".join(f"{100 * found[part] / total:.0f}" for part in PARTS)
        print(f"| `{head}` | {total:.0f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
