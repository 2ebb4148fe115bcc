"""Checking a data set: read all of it, report faults and class frequencies, draw samples."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from contextseg.commands.check_data import levels, text
from contextseg.commands.check_data.faults import Fault, Seen, across, examine
from contextseg.commands.check_data.options import CheckDataOptions
from contextseg.commands.check_data.page import page
from contextseg.commands.check_data.pictures import draw_frequencies, draw_samples
from contextseg.commands.check_data.report import Report, counted, never_seen
from contextseg.console import console, progress
from contextseg.data.pixels import AS_STORED
from contextseg.data.source import Source
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.files import write_atomically
from contextseg.runs.folder import new_folder


def main(options: CheckDataOptions) -> int:
    """Check the data set; return exit code 1 if there are errors."""
    return int(not check_data(options).trainable)


def check_data(options: CheckDataOptions) -> Report:
    """Read every pair of the data set; report on the terminal, and in report.txt, .json and .html with two pictures."""
    data = build.datamodule(options)
    workers = min(os.cpu_count() or 1, 8) if options.workers is None else options.workers
    folder = options.output or new_folder(options.paths.runs / "check_data" / data.name)
    folder.mkdir(parents=True, exist_ok=True)
    sources, seen, faults = {}, [], []
    for split in options.splits or data.splits():
        try:
            sources[split] = data.source(split)
        except ConfigError as error:
            faults.append(Fault("error", "split", f"{split}: {error}", []))
    for split, source in sources.items():
        faults += unpaired(source, split)
    with progress() as bar:
        for split, source in sources.items():
            task = bar.add_task(split, total=len(source), note="")
            for pair in examined(source, split, workers):
                seen.append(pair)
                bar.update(task, advance=1, note=f"{sum(bool(s.faults) for s in seen)} with faults")
    faults += levels.found(seen, getattr(sources.get("train"), "reading", AS_STORED))
    faults += [fault for pair in seen for fault in pair.faults] + across(seen)
    splits = {split: counted([pair for pair in seen if pair.split == split], data.classes) for split in sources}
    faults += never_seen(splits, data.classes, data.undeclared_void)
    report = Report(data.name, data.classes, splits, sorted(faults, key=lambda fault: fault.level), folder)
    write(report, data, options.count)
    return report


def unpaired(source: Source, split: str) -> list[Fault]:
    """Return an error for each image without a mask, and a warning for each mask without an image."""
    return [
        Fault(level, f"no {missing}", f"{file} of {split} has no {missing}", [str(file)])
        for missing, level in (("mask", "error"), ("image", "warning"))
        for file in source.unpaired.get(missing, ())
    ]


def examined(source: Source, split: str, workers: int) -> Iterator[Seen]:
    """Yield every pair of a source, in order, read by `workers` processes."""
    if not workers:
        yield from map(partial(examine, source, split), range(len(source)))
        return
    with ProcessPoolExecutor(workers, initializer=_remember, initargs=(source, split)) as pool:
        yield from pool.map(_examine, range(len(source)), chunksize=8)


_work: Callable[[int], Seen]  # of a worker process: index -> pair


def _remember(source: Source, split: str) -> None:
    """Keep the work of a worker process, which gets it once, when it starts."""
    global _work
    _work = partial(examine, source, split)


def _examine(index: int) -> Seen:
    return _work(index)


def write(report: Report, data: SegDataModule, count: int) -> None:
    """Fill the report's folder and print the report."""
    pictures = {"frequency of the classes": report.folder / "frequencies.png"}
    draw_frequencies(report, report.folder / "frequencies.png")
    if draw_samples(report, data, count, report.folder / "samples.png"):
        pictures["samples of the splits"] = report.folder / "samples.png"
    write_atomically(report.folder / "report.txt", text.plain(report))
    write_atomically(report.folder / "report.json", json.dumps(report.to_dict(), indent=2) + "\n")
    write_atomically(report.folder / "report.html", page(report, pictures))
    text.show(report, console)
    console.print(f"report: {report.folder / 'report.html'}", soft_wrap=True, highlight=False)
