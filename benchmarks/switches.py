"""What each switch of a training is worth, per head: one step with it over one step without, as a markdown table.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/switches.py [HEAD ...]

One step of ResNet-18 at stride 8 with a head of width 128, four images of 128 x 128, float32, on one thread. The steps
take turns in one process; medians. Time: above 1 the switch is faster. Memory: what the forward pass keeps for the
backward pass, with the switch over without. Accumulation does two images at a time.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from contextseg.commands.compose import compose
from contextseg.contract import Batch
from contextseg.engine import build
from contextseg.engine.options import TrainOptions

HEADS = ("fcn", "ocr", "ccnet", "ctnet", "cpnet", "agln", "danet", "psp")
PLAIN = ("trainer.channels_last=false",)
SWITCHES = {
    "plain": (),
    "bf16": ("trainer.precision=bf16",),
    "channels last": ("trainer.channels_last=true",),
    "compile, whole": ("trainer.compile=true",),
    "compile, blocks": ("trainer.compile=true", "trainer.compile_region=blocks"),
    "fused optimizer": ("optim.fused=true",),
    "checkpointing": ("trainer.activation_checkpointing=true",),
    "accumulation": ("trainer.max_device_batch=2",),
}
ROUNDS, IMAGES, SIDE = 5, 4, 128
SETTINGS = ("backbone=resnet18", "backbone.output_stride=8", "backbone.weights=none", "width=128")


class Step:
    """One step of a training with a switch."""

    def __init__(self, head: str, switch: tuple[str, ...]):
        torch.manual_seed(0)
        cfg = compose([f"head={head}", *SETTINGS, f"data.size={SIDE}", *PLAIN, *switch])
        options: TrainOptions = cfg
        self.module = build.module(options, build.datamodule(options))
        self.optimizer = self.module.optimizer(self.module.segmenter)
        self.half = "trainer.precision=bf16" in switch
        count = 2 if "trainer.max_device_batch=2" in switch else IMAGES
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        mask = torch.randint(0, 12, (IMAGES, 16, 16), dtype=torch.uint8, generator=generator)
        mask = mask.repeat_interleave(SIDE // 16, 1).repeat_interleave(SIDE // 16, 2)
        self.batches = [Batch(x, y, [""] * count) for x, y in zip(image.split(count), mask.split(count), strict=True)]

    def __call__(self) -> None:
        """Do the step."""
        self.optimizer.zero_grad()
        for batch in self.batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                loss = self.module.training_step(batch, 0)["loss"]
            (loss / len(self.batches)).backward()
        self.optimizer.step()

    def seconds(self) -> float:
        """Return the time of a step."""
        start = time.process_time()
        self()
        return time.process_time() - start

    def kept(self) -> int:
        """Count the bytes that a forward pass keeps, parameters aside."""
        known = {p.untyped_storage().data_ptr() for p in self.module.parameters()}
        sizes: dict[int, int] = {}
        pack: Callable = lambda t: sizes.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t  # noqa: E731
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=self.half),
        ):
            self.module.training_step(self.batches[0], 0)
        return sum(size for place, size in sizes.items() if place not in known)


def main() -> None:
    heads = sys.argv[1:] or HEADS
    print("| head | plain, ms |", " | ".join([*SWITCHES][1:]), "|")
    print("|---" * (len(SWITCHES) + 1) + "|", flush=True)
    for head in heads:
        steps = {name: Step(head, switch) for name, switch in SWITCHES.items()}
        for step in steps.values():
            step()  # compiles, warms up
        times = [{name: step.seconds() for name, step in steps.items()} for _ in range(ROUNDS)]
        median = {name: statistics.median(round_[name] for round_ in times) for name in steps}
        kept = {name: step.kept() for name, step in steps.items()}
        cells = [f"{median['plain'] / median[name]:.2f}x, {kept[name] / kept['plain']:.2f}" for name in [*SWITCHES][1:]]
        print(f"| `{head}` | {1000 * median['plain']:.0f} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
