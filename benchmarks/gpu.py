"""Time and memory on a CUDA device, as markdown tables: python benchmarks/gpu.py [FILE]

Heads alone at the inputs of OCR's Table 4 (1 x 2048 x 128 x 128) and CCNet's Table 5 (1 x 512 x 97 x 97), then training
steps of whole networks on ResNet-101 with the switches of this project and without. Medians of CUDA events after a
warm-up; memory is the peak above what is held before the call. Without a device it runs tiny inputs on the CPU, to be
rehearsed; those numbers mean nothing.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch

from contextseg.commands.complexity import tables
from contextseg.commands.complexity.definitions import NETWORKS
from contextseg.commands.compose import compose
from contextseg.commands.train.options import checked
from contextseg.contract import Batch
from contextseg.engine import build

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
SECONDS = 0.3 if CUDA else 0.01  # spent on one number
TRAINED = ("fcn", "ocr", "ccnet", "ctnet", "cpnet", "agln", "danet")
SIZES = (512,) if CUDA else (80,)
IMAGES = 8 if CUDA else 2


def median_ms(call: Callable[[], None]) -> float:
    """Return the median time of a call in milliseconds."""
    for _ in range(3 if CUDA else 1):
        call()
    found: list[float] = []
    start = time.perf_counter()
    while not found or time.perf_counter() - start < SECONDS:
        if CUDA:
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            call()
            last.record()
            last.synchronize()
            found.append(first.elapsed_time(last))
        else:
            begin = time.perf_counter()
            call()
            found.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(found)


def peak_mib(call: Callable[[], None]) -> float:
    """Return the most memory that a call holds beyond what is held before it, in MiB; nan on the CPU."""
    if not CUDA:
        return float("nan")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let matrix products and convolutions in float32 use TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    yield


def autocast(on: bool) -> torch.autocast | nullcontext:
    return torch.autocast(DEVICE.type, torch.bfloat16) if on else nullcontext()


def heads(name: str) -> Iterator[tuple[str, ...]]:
    """Measure the rows of a cost table: row, published figures, then ours."""
    table = tables.named(name)
    for entry in table.entries:
        row = table.row(entry.row)
        if entry.network is None and "overrides" not in row:
            continue
        torch.manual_seed(0)
        network = NETWORKS[entry.network](table.classes) if entry.network else table.ours(entry.row)
        network = network.to(DEVICE).eval()
        inputs: list[torch.Tensor] = [
            torch.randn_like(one[..., :16, :16] if not CUDA else one, device=DEVICE)
            for one in table.inputs(table.channels)
        ]

        def infer(network=network, inputs=inputs, bf16=False) -> None:
            with torch.no_grad(), autocast(bf16):
                network(inputs)

        def learn(network=network, inputs=inputs) -> None:
            out = network(inputs)
            (out if isinstance(out, torch.Tensor) else out.logits).sum().backward()
            network.zero_grad()

        try:
            with tf32(False):
                exact, memory = median_ms(infer), peak_mib(infer)
            with tf32(True):
                fast = median_ms(infer)
            half = median_ms(lambda: infer(bf16=True))
            with tf32(True):
                train, train_memory = median_ms(learn), peak_mib(learn)
        except torch.OutOfMemoryError:
            exact = memory = fast = half = train = train_memory = float("nan")
        label = entry.row + (f" ({entry.variant})" if entry.variant else "")
        published = ", ".join(
            f"{key} {value}" for key, value in row["published"].items() if key in ("time", "memory", "memory_delta")
        )
        numbers = (exact, fast, half, memory, train, train_memory)
        yield (label, published, *(f"{number:.2f}" if number < 100 else f"{number:.0f}" for number in numbers))


def training() -> Iterator[tuple[str, ...]]:
    """Measure training steps of whole networks: images per second and peak memory, with our switches and without."""
    for size in SIZES:
        for head in TRAINED:
            words = [
                f"head={head}",
                f"data.size={size}",
                "backbone=resnet101",
                "backbone.weights=none",
                "experiment=none",
            ]
            found = []
            for switches in (True, False):
                torch.manual_seed(0)
                options, _ = checked(compose([*words, f"trainer.channels_last={switches}".lower()]))
                data = build.datamodule(options)
                module = build.module(options, data).to(DEVICE)
                optimizer = module.optimizer(module.segmenter)
                image = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8, device=DEVICE)
                mask = torch.randint(0, len(data.classes), (IMAGES, size, size), dtype=torch.uint8, device=DEVICE)
                batch = Batch(image, mask, [""] * IMAGES)

                def step(module=module, optimizer=optimizer, batch=batch, switches=switches) -> None:
                    optimizer.zero_grad()
                    with autocast(switches):
                        loss = module.training_step(batch, 0)["loss"]
                    loss.backward()
                    optimizer.step()

                try:
                    with tf32(switches):
                        memory = peak_mib(step)
                        found += [f"{1e3 * IMAGES / median_ms(step):.1f}", f"{memory / 1024:.1f}"]
                except torch.OutOfMemoryError:
                    found += ["out of memory", ""]
                del module, optimizer, step
                if CUDA:
                    torch.cuda.empty_cache()
            yield (f"{head}, {size}²", *found)


def markdown(title: str, columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a table as markdown; each row is printed as soon as it is there."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    print(f"\n{title}\n", *lines, sep="\n", flush=True)
    for row in rows:
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    return "\n".join([title, "", *lines, ""])


def main() -> None:
    device = torch.cuda.get_device_name() if CUDA else "CPU, tiny inputs: a rehearsal"
    parts = [f"{device}; torch {torch.__version__}; batch {IMAGES} in training.\n"]
    columns = (
        "row",
        "published: P40 ms, MiB",
        "fp32 ms",
        "TF32 ms",
        "bf16 ms",
        "fp32 peak MiB",
        "forward + backward, TF32 ms",
        "peak MiB",
    )
    for name in ("ocr_t4", "ccnet_t5"):
        parts.append(markdown(f"{name}: inference, batch 1", columns, heads(name)))
    columns = ("network", "images/s", "peak GiB", "images/s, float32, no switches", "peak GiB")
    parts.append(markdown("Training, ResNet-101, bf16 and channels last, against float32", columns, training()))
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w") as file:
            file.write("\n".join(parts))


if __name__ == "__main__":
    main()
