"""Every head compiles and exports, forward and backward, and keeps its numbers in half precision.

`python tests/test_compile.py` prints the table of docs/compile.md.
"""

import inspect
import time

import pytest
import torch

from contextseg.contract import SegOutput
from contextseg.recipe import head_classes

HEADS = head_classes()
SIZE = (64, 64)
every_head = pytest.mark.parametrize("name", HEADS)


def head_and_inputs(name, batch=2):
    """A small head in evaluation mode (fixed batch statistics), maps as of a dilated ResNet, a mask for an oracle."""
    torch.manual_seed(0)
    kind = HEADS[name]
    known = inspect.signature(kind).parameters
    wanted = {"channels": 16, "crop_size": SIZE, "grid": 8, "dropout": 0.0}
    head = kind((16, 24), 5, **{key: value for key, value in wanted.items() if key in known}).eval()
    maps = [torch.randn(batch, channels, 8, 8) for channels in (16, 24)]
    mask = torch.randint(0, 5, (batch, *SIZE), dtype=torch.uint8)
    return head, (maps, mask) if kind.needs_mask else (maps,)


def run(head, inputs):
    """Output of a head, and the gradient of its last map."""
    (*finer, last), *mask = inputs
    last = last.clone().requires_grad_()
    output = head([*finer, last], *mask)
    sum(x.float().square().sum() for x in (output.logits, *output.extras.values())).backward()
    return output, last.grad


def close(one: SegOutput, other: SegOutput, tolerance=1e-5):
    for x, y in zip((one.logits, *one.extras.values()), (other.logits, *other.extras.values()), strict=True):
        torch.testing.assert_close(x.float(), y.float(), rtol=tolerance, atol=tolerance)


def compiled(name, backend):
    head, inputs = head_and_inputs(name)
    torch._dynamo.reset()
    expected, gradient = run(head, inputs)
    head.compile(backend=backend, fullgraph=True)
    output, other_gradient = run(head, inputs)
    close(output, expected)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-4, atol=1e-4)
    return head, inputs


@every_head
def test_compiled_in_one_graph_it_keeps_its_numbers(name):
    compiled(name, "aot_eager")


@every_head
def test_exported_it_keeps_its_numbers(name):
    head, inputs = head_and_inputs(name)
    program = torch.export.export(head, inputs)
    close(program.module()(*inputs), head(*inputs))


@every_head
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_autocast_keeps_its_numbers_nearly(name, dtype):
    head, inputs = head_and_inputs(name)
    expected = head(*inputs)
    with torch.autocast("cpu", dtype):
        output = head(*inputs)
    for x, y in zip(
        (output.logits, *output.extras.values()), (expected.logits, *expected.extras.values()), strict=True
    ):
        assert x.isfinite().all()
        assert (x.float() - y).abs().max() <= 0.05 * y.abs().max() + 0.01


@pytest.mark.slow
@every_head
def test_inductor_keeps_its_numbers(name):
    compiled(name, "inductor")


def milliseconds(call, repeats=30):
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[repeats // 2]


if __name__ == "__main__":
    print("| head | eager ms | inductor ms | ratio | compiling s |\n|---|---|---|---|---|")
    for head_name in HEADS:
        head, inputs = head_and_inputs(head_name)
        eager = milliseconds(lambda head=head, inputs=inputs: run(head, inputs))
        start = time.perf_counter()
        head, inputs = compiled(head_name, "inductor")
        took = time.perf_counter() - start
        fast = milliseconds(lambda head=head, inputs=inputs: run(head, inputs))
        print(f"| `{head_name}` | {eager:.1f} | {fast:.1f} | {eager / fast:.2f} | {took:.0f} |", flush=True)
