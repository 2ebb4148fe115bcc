"""Reads all of a data set and reports: what is wrong, how frequent the classes are, what samples look like."""

import base64
import html
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.commands.check_data.faults import Fault, Seen, across, examine
from contextseg.commands.check_data.options import CheckDataOptions
from contextseg.console import console
from contextseg.data.source import Source
from contextseg.datamodules.datamodule import SPLITS, SegDataModule
from contextseg.engine import build
from contextseg.engine.callbacks.progress import progress
from contextseg.errors import ConfigError
from contextseg.runs import folder as run_folder

SHOWN = 5  # faults of one kind in the text; report.json has all
SIDE = 320  # pixels, the longer side of a pictured sample


@dataclass
class Counts:
    """One split in numbers."""

    images: int
    sizes: dict[str, int]  # "width x height" -> images
    pixels: list[int]  # by class, void last
    shown_in: list[int]  # images that show the class, void last


@dataclass
class Report:
    """What a check found, and the folder that holds it."""

    data: str
    classes: ClassSet
    splits: dict[str, Counts]
    faults: list[Fault]
    folder: Path

    @property
    def errors(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.level == "error"]

    @property
    def trainable(self) -> bool:
        """Whether there are no errors."""
        return not self.errors


def main(options: CheckDataOptions) -> int:
    """Check the data set; returns exit code 1 if there are errors."""
    return int(not check_data(options).trainable)


def check_data(cfg: CheckDataOptions) -> Report:
    """Read every pair of the data set; report on the terminal and as report.txt, .json and .html with two pictures."""
    data = build.datamodule(cfg)
    wanted = tuple(cfg.splits or data.splits())
    workers = min(os.cpu_count() or 1, 8) if cfg.workers is None else cfg.workers
    if cfg.output:
        folder = cfg.output
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = run_folder.new_folder(cfg.paths.runs / "check_data" / data.name)

    sources, seen, faults = {}, [], []
    for split in wanted:
        try:
            sources[split] = data.source(split)
        except ConfigError as error:
            faults.append(Fault("error", "split", f"{split}: {error}", []))
    for split, source in sources.items():
        for missing, level in (("mask", "error"), ("image", "warning")):
            files = source.unpaired.get(missing, ())
            faults += [
                Fault(level, f"no {missing}", f"{file} of {split} has no {missing}", [str(file)]) for file in files
            ]
    with progress() as bar:
        for split, source in sources.items():
            task = bar.add_task(split, total=len(source), note="")
            for pair in examined(source, split, workers):
                seen.append(pair)
                bar.update(task, advance=1, note=f"{sum(bool(s.faults) for s in seen)} with faults")
    faults += [fault for pair in seen for fault in pair.faults] + across(seen)
    splits = {split: counts([pair for pair in seen if pair.split == split], data.classes) for split in sources}
    faults += never_seen(splits, data.classes)
    report = Report(data.name, data.classes, splits, sorted(faults, key=lambda fault: fault.level), folder)
    write(report, data, cfg.count)
    return report


def examined(source: Source, split: str, workers: int) -> Iterator[Seen]:
    """Every pair of a source, in order, read by that many processes."""
    if not workers:
        yield from map(partial(examine, source, split), range(len(source)))
        return
    with ProcessPoolExecutor(workers, initializer=_remember, initargs=(source, split)) as pool:
        yield from pool.map(_examine, range(len(source)), chunksize=8)


def _remember(source: Source, split: str) -> None:
    """Start of a worker: what it works on, sent once."""
    global _work
    _work = partial(examine, source, split)


def _examine(index: int) -> Seen:
    return _work(index)


def counts(pairs: Sequence[Seen], classes: ClassSet) -> Counts:
    """The numbers of one split, of the pairs that could be read."""
    pixels = np.array([pair.pixels for pair in pairs if pair.pixels is not None]).reshape(-1, len(classes) + 1)
    sizes = Counter(f"{pair.size[0]}x{pair.size[1]}" for pair in pairs if pair.size)
    return Counts(len(pairs), dict(sizes.most_common()), pixels.sum(0).tolist(), (pixels > 0).sum(0).tolist())


def never_seen(splits: Mapping[str, Counts], classes: ClassSet) -> list[Fault]:
    """A warning for the classes without a pixel in the training split."""
    if "train" not in splits:
        return []
    absent = [name for name, pixels in zip(classes.names, splits["train"].pixels, strict=False) if not pixels]
    text = f"no pixel of {', '.join(absent)} in train; nothing can learn it"
    return [Fault("warning", "class", text, [])] if absent else []


# what is written


def write(report: Report, data: SegDataModule, count: int) -> None:
    """Fill the report's folder and tell the terminal."""
    frequency_picture(report, report.folder / "frequencies.png")
    pictures = ["frequencies.png"]
    if tiles := sample_tiles(report, data, count):
        parts = [viz.sheet(tiles, columns=2), viz.legend(data.classes)]
        height = max(len(part) for part in parts)
        parts = [np.pad(part, ((0, height - len(part)), (0, 8), (0, 0)), constant_values=255) for part in parts]
        viz.save(np.concatenate(parts, axis=1), report.folder / "samples.png")
        pictures.append("samples.png")
    with (report.folder / "report.txt").open("w") as file:
        tell(report, Console(file=file, width=120))
    (report.folder / "report.json").write_text(json.dumps(facts(report), indent=2) + "\n")
    (report.folder / "report.html").write_text(page(report, pictures))
    tell(report, console)
    console.print(f"report: {report.folder / 'report.html'}", soft_wrap=True, highlight=False)


def tell(report: Report, out: Console) -> None:
    """The report as text."""
    out.print(class_table(report))
    for split, number in report.splits.items():
        sizes = [f"{size} ({images})" for size, images in list(number.sizes.items())[:3]]
        more = f" and {len(number.sizes) - 3} sizes more" if len(number.sizes) > 3 else ""
        out.print(f"{split}: {number.images} images, {', '.join(sizes)}{more}", highlight=False)
    for (level, kind), faults in grouped(report.faults).items():
        style = "bold red" if level == "error" else "yellow"
        out.print(f"[{style}]{level}[/], {kind}: {len(faults)}", highlight=False)
        for fault in faults[:SHOWN]:
            out.print(f"  {escape(fault.text)}", soft_wrap=True, highlight=False)
        if len(faults) > SHOWN:
            out.print(f"  and {len(faults) - SHOWN} more in report.json", highlight=False)
    out.print(verdict(report), highlight=False)


def verdict(report: Report) -> str:
    errors = len(report.errors)
    warnings = len(report.faults) - errors
    return (
        f"{report.data}: {'may' if report.trainable else 'may not'} be trained on; {errors} errors, {warnings} warnings"
    )


def grouped(faults: Sequence[Fault]) -> dict[tuple[str, str], list[Fault]]:
    """Faults by (level, kind), errors first."""
    groups: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((fault.level, fault.kind), []).append(fault)
    return groups


def class_rows(report: Report) -> Iterator[tuple[str, list[tuple[float, int]]]]:
    """Class, and for each split its share of the pixels in percent and the number of images that show it."""
    for i, name in enumerate([*report.classes.names, "void"]):
        yield name, [(100 * s.pixels[i] / max(sum(s.pixels), 1), s.shown_in[i]) for s in report.splits.values()]


def class_table(report: Report) -> Table:
    """Pixels and images of each class by split; shares count void."""
    table = Table("class", title=f"{report.data}: share of the pixels in percent, images that show the class")
    for split in report.splits:
        table.add_column(f"{split} %", justify="right")
        table.add_column("images", justify="right")
    for name, cells in class_rows(report):
        table.add_row(name, *(text for share, images in cells for text in (f"{share:.2f}", str(images))))
    return table


def facts(report: Report) -> dict:
    """The report as JSON holds it."""
    names = [*report.classes.names, "void"]
    splits = {
        split: {
            "images": number.images,
            "sizes": number.sizes,
            "pixels": dict(zip(names, number.pixels, strict=True)),
            "shown_in": dict(zip(names, number.shown_in, strict=True)),
        }
        for split, number in report.splits.items()
    }
    faults = [asdict(fault) for fault in report.faults]
    return {"data": report.data, "trainable": report.trainable, "splits": splits, "faults": faults}


def page(report: Report, pictures: Sequence[str]) -> str:
    """One HTML file that needs no other."""
    head = "".join(f"<th>{split} %<th>images" for split in report.splits)
    rows = "".join(
        f"<tr><td>{html.escape(name)}" + "".join(f"<td>{share:.2f}<td>{images}" for share, images in cells)
        for name, cells in class_rows(report)
    )
    faults = "".join(
        f"<h3 class={level}>{level}, {html.escape(kind)}: {len(some)}</h3>"
        f"<ul>{''.join(f'<li>{html.escape(fault.text)}' for fault in some)}</ul>"
        for (level, kind), some in grouped(report.faults).items()
    )
    images = "".join(f'<img alt="{name}" src="{embedded(report.folder / name)}">' for name in pictures)
    return PAGE.format(title=html.escape(verdict(report)), faults=faults, head=head, rows=rows, images=images)


def embedded(picture: Path) -> str:
    """A PNG file as the address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px sans-serif; margin: 2em; max-width: 70em }}
td, th {{ padding: 0 .8em; text-align: right }} td:first-child {{ text-align: left }}
img {{ display: block; max-width: 100%; margin: 2em 0 }} .error {{ color: #b00 }} .warning {{ color: #850 }}
</style>
<h1>{title}</h1>
{faults}
<table><tr><th>class{head}{rows}</table>
{images}
</html>
"""


# pictures


def sample_tiles(report: Report, data: SegDataModule, count: int) -> list[viz.Picture]:
    """`count` evenly spaced pairs of each split that can be read: image beside class colours over it."""
    tiles = []
    for split in report.splits:
        source = data.source(split)
        for index in np.linspace(0, len(source) - 1, min(count, len(source))).astype(int).tolist():
            try:
                image, mask, name = source.read(index)
            except ConfigError:
                continue
            pair = [
                viz.enlarge(smaller(picture), 160) for picture in (image, viz.overlay(image, mask, data.classes, 0.7))
            ]
            tiles.append(viz.caption(np.concatenate(pair, axis=1), f"{split}: {name}"))
    return tiles


def smaller(picture: viz.Picture) -> viz.Picture:
    """The picture, at most `SIDE` pixels long."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    return np.asarray(image)


def frequency_picture(report: Report, path: Path) -> None:
    """Bars for every class and split: share of the pixels (logarithmic) and of the images."""
    names = [*report.classes.names, "void"]
    figure = Figure(figsize=(11, 1.5 + 0.3 * len(names)), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    height = 0.8 / max(len(report.splits), 1)
    for i, (split, number) in enumerate(report.splits.items()):
        place = np.arange(len(names)) + (i - (len(report.splits) - 1) / 2) * height
        left.barh(place, 100 * np.array(number.pixels) / max(sum(number.pixels), 1), height, label=split)
        right.barh(place, 100 * np.array(number.shown_in) / max(number.images, 1), height, label=split)
    left.set(xlabel="% of the pixels", xscale="log", xlim=(1e-3, 100))
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    right.set(xlabel="% of the images", xlim=(0, 100))
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(SPLITS))
    figure.savefig(path)
