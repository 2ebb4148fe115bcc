"""Counting the cost of composed networks, or a paper's cost table."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from contextseg.classes import ClassSet
from contextseg.commands.complexity import tables, text
from contextseg.commands.complexity.network import Cost, anonymous, measure
from contextseg.commands.complexity.options import ComplexityOptions, parsed
from contextseg.commands.complexity.picture import draw
from contextseg.commands.complexity.timing import in_turn
from contextseg.commands.compose import compose
from contextseg.console import console
from contextseg.engine import build
from contextseg.files import write_atomically
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Count the costs, show them, and write them to files if asked to."""
    complexity(cfg, list(HydraConfig.get().overrides.task))


def complexity(cfg: DictConfig, overrides: Sequence[str] = ()) -> dict:
    """Count `table=`, or the composed network, or those of `heads=` with the command line's `overrides`.

    Returns the contents of complexity.json. With `output=` it is written there, with complexity.md and for networks
    .png. Raises `ConfigError` for contradictory options and parts that do not fit.
    """
    options = parsed(cfg)
    folder = options.output
    found, markdown = table(options.table, options.time) if options.table else networks(options, overrides)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "complexity.json", json.dumps(found, indent=2) + "\n")
        write_atomically(folder / "complexity.md", markdown)
        log.info("%s", folder)
    return found


def table(name: str, time: bool = False) -> tuple[dict, str]:
    """Count a paper's table and show it, with `time` its times too; return it as plain containers and in markdown."""
    chosen = tables.named(name)
    lines, heads = tables.counted(chosen), tables.plainly(chosen)
    how = None
    if time:
        lines, how = tables.timed(chosen, lines)
    console.print(text.rich_table(f"{name}, counted as its paper did", text.compared(chosen, lines)))
    console.print(chosen.about)
    console.print(text.rich_table("our heads as they stand", text.heads(chosen, heads)))
    rows = [
        {"row": line.entry.row, "variant": line.entry.variant, "published": dict(line.published)}
        | {"counted": dict(line.counted), "note": line.entry.note}
        for line in lines
    ]
    found = {"table": name, "about": chosen.about, "columns": dict(chosen.columns), "rows": rows, "heads": heads}
    section = text.section(chosen, lines, heads)
    if how:
        console.print(f"times of this device: {how}", soft_wrap=True, highlight=False)
        return found | {"timed": how}, f"{section}\nTimes of this device: {how}.\n"
    return found, section


def networks(options: ComplexityOptions, overrides: Sequence[str]) -> tuple[dict, str]:
    """Count one network or several, show and draw them; return them as plain containers and in markdown."""
    size = (options.size, options.size) if isinstance(options.size, int) else options.size
    batch_size, backbone = options.batch_size, options.choices["backbone"]
    asked = chosen(options, overrides)
    found = [cost(each, size, batch_size) for each in asked]
    title = f"{backbone}, {size[0]}x{size[1]} px: parameters in M, FLOPs in G, memory in MiB"
    title += f", of {batch_size} image{'s' if batch_size > 1 else ''} in training"
    cells = text.costs(found)
    console.print(text.rich_table(title, cells))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        draw(found, options.output / "complexity.png")
    facts = {"backbone": backbone, "size": list(size), "batch_size": batch_size}
    results = [asdict(cost) for cost in found]
    markdown = f"{title}\n\n{text.markdown(cells)}"
    if options.time:
        times = in_turn([built(each) for each in asked], size)
        for result, ms in zip(results, times.medians, strict=True):
            result |= {"ms": ms, "fps": 1000 / ms}
        speeds = text.speeds([cost.name for cost in found], times.medians)
        console.print(text.rich_table("forward pass of one image on this device", speeds))
        console.print(times.how, soft_wrap=True, highlight=False)
        facts["timed"] = times.how
        markdown += f"\nForward pass of one image on this device: {times.how}.\n\n{text.markdown(speeds)}"
    return facts | {"networks": results}, markdown


def classes_of(options: ComplexityOptions) -> ClassSet:
    """Return the classes that are asked for, or those of the data set."""
    return build.datamodule(options).classes if options.classes is None else anonymous(options.classes)


def built(options: ComplexityOptions) -> Segmenter:
    """Build the network of one configuration, at random."""
    return build.network(options, classes_of(options), pretrained=False)[0]


def cost(options: ComplexityOptions, size: tuple[int, int], batch_size: int) -> Cost:
    """Measure one configuration on images of `size`; a head that takes one size only is built for it."""
    if "crop_size" in options.head and options.head["crop_size"] is None:
        options.head["crop_size"] = list(size)
    return measure(options, classes_of(options), size, batch_size)


def chosen(options: ComplexityOptions, overrides: Sequence[str]) -> list[ComplexityOptions]:
    """Return the options to count: the given ones, or one for each of `heads=`."""
    if options.heads is None:
        return [options]
    kept = [override for override in overrides if override.partition("=")[0] not in ("head", "heads")]
    return [parsed(compose([*kept, f"head={name}"], config_name="complexity")) for name in options.heads]
