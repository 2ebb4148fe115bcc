"""Time of every head alone, eager and through inductor, forward and backward: the table of docs/compile.md."""

import inspect
import time

import torch

from contextseg.contract import Head
from contextseg.recipe import head_classes

SIZE = (64, 64)


def head_and_inputs(kind: type[Head]) -> tuple[Head, tuple]:
    """Build a small head in evaluation mode (fixed batch statistics), and its inputs.

    They are maps [(2, C_i, 8, 8)] as of a dilated ResNet, and for an oracle a mask uint8 (2, 64, 64).
    """
    torch.manual_seed(0)
    known = inspect.signature(kind).parameters
    wanted = {"channels": 16, "crop_size": SIZE, "grid": 8, "dropout": 0.0}
    head = kind((16, 24), 5, **{key: value for key, value in wanted.items() if key in known}).eval()
    maps = [torch.randn(2, channels, 8, 8) for channels in (16, 24)]
    mask = torch.randint(0, 5, (2, *SIZE), dtype=torch.uint8)
    return head, (maps, mask) if kind.needs_mask else (maps,)


def run(head: Head, inputs: tuple) -> None:
    """Run a forward and a backward pass."""
    (*finer, last), *mask = inputs
    output = head([*finer, last.clone().requires_grad_()], *mask)
    sum(x.float().square().sum() for x in (output.logits, *output.extras.values())).backward()


def milliseconds(head: Head, inputs: tuple, repeats: int = 30) -> float:
    """Return the median time of a pass, after one to warm up."""
    run(head, inputs)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(head, inputs)
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[repeats // 2]


if __name__ == "__main__":
    print("| head | eager ms | inductor ms | ratio | compiling s |\n|---|---|---|---|---|")
    for name, kind in head_classes().items():
        head, inputs = head_and_inputs(kind)
        eager = milliseconds(head, inputs)
        torch._dynamo.reset()
        head.compile(backend="inductor", fullgraph=True)
        start = time.perf_counter()
        run(head, inputs)
        took = time.perf_counter() - start
        fast = milliseconds(head, inputs)
        print(f"| `{name}` | {eager:.1f} | {fast:.1f} | {eager / fast:.2f} | {took:.0f} |", flush=True)
