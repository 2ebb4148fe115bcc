"""What `complexity.py` does: counts a paper's table, or composed networks, and shows and writes what it found."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from contextseg import build
from contextseg.classes import ClassSet
from contextseg.complexity import tables, text
from contextseg.complexity.network import Cost, anonymous, measure
from contextseg.complexity.picture import draw
from contextseg.config import compose
from contextseg.console import console
from contextseg.errors import ConfigError
from contextseg.run_folder import write_atomically

log = logging.getLogger(__name__)


def complexity(cfg: DictConfig, overrides: Sequence[str] = ()) -> dict:
    """Count `cfg.table`, or the network of `cfg`, or those of `cfg.heads` with the command line's `overrides`.

    Returns what is written to `cfg.output`, if that is given: complexity.json, .md, and for networks .png. Raises
    `ConfigError` for values that cannot be meant and parts that do not fit.
    """
    if cfg.output and Path(cfg.output).suffix in (".json", ".md", ".png"):
        raise ConfigError(f"output={cfg.output}: the result is several files; give a folder")
    folder = Path(cfg.output) if cfg.output else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    found, markdown = table(cfg.table) if cfg.table else networks(cfg, overrides, folder)
    if folder:
        write_atomically(folder / "complexity.json", json.dumps(found, indent=2) + "\n")
        write_atomically(folder / "complexity.md", markdown)
        log.info("%s", folder)
    return found


def table(name: str) -> tuple[dict, str]:
    """A paper's table, shown on the console; as plain containers and in markdown."""
    chosen = tables.named(name)
    lines, heads = tables.counted(chosen), tables.plainly(chosen)
    console.print(text.rich_table(f"{name}, counted as its paper did", text.compared(chosen, lines)))
    console.print(chosen.about)
    console.print(text.rich_table("our heads as they stand", text.heads(chosen, heads)))
    rows = [
        {"row": line.entry.row, "variant": line.entry.variant, "published": dict(line.published)}
        | {"counted": dict(line.counted), "note": line.entry.note}
        for line in lines
    ]
    return {"table": name, "about": chosen.about, "rows": rows, "heads": heads}, text.section(chosen, lines, heads)


def networks(cfg: DictConfig, overrides: Sequence[str], folder: Path | None) -> tuple[dict, str]:
    """One network or several, shown on the console, drawn into `folder`; as plain containers and in markdown."""
    size, batch_size = checked(cfg)
    found = [cost(each, size, batch_size) for each in chosen(cfg, overrides)]
    title = f"{cfg.choices.backbone}, {size[0]}x{size[1]} px: parameters in M, FLOPs in G, memory in MiB"
    title += f", of {batch_size} image{'s' if batch_size > 1 else ''} in training"
    cells = text.costs(found)
    console.print(text.rich_table(title, cells))
    if folder:
        draw(found, folder / "complexity.png")
    facts = {"backbone": cfg.choices.backbone, "size": list(size), "batch_size": batch_size}
    return facts | {"networks": [asdict(cost) for cost in found]}, f"{title}\n\n{text.markdown(cells)}"


def cost(cfg: DictConfig, size: tuple[int, int], batch_size: int) -> Cost:
    """The cost of one configuration on images of that size, a head tied to one size made for it."""
    if "crop_size" in cfg.head and cfg.head.crop_size is None:
        cfg.head.crop_size = list(size)
    return measure(cfg, classes(cfg), size, batch_size)


def chosen(cfg: DictConfig, overrides: Sequence[str]) -> list[DictConfig]:
    """The configurations to count: the given one, or one for each of `cfg.heads`."""
    if cfg.heads is None:
        return [cfg]
    if not isinstance(cfg.heads, ListConfig) or not cfg.heads:
        raise ConfigError(f"heads={cfg.heads}: give a list such as [ocr,ccnet]")
    kept = [override for override in overrides if override.partition("=")[0] not in ("head", "heads")]
    return [compose([*kept, f"head={name}"], config_name="complexity") for name in cfg.heads]


def classes(cfg: DictConfig) -> ClassSet:
    """`cfg.classes` of them without names, or those of the data set."""
    return build.datamodule(cfg).classes if cfg.classes is None else anonymous(cfg.classes)


def checked(cfg: DictConfig) -> tuple[tuple[int, int], int]:
    """Size of the images and of the batch. Raises `ConfigError` for what is no positive whole number."""
    size = list(cfg.size) if isinstance(cfg.size, ListConfig) else [cfg.size, cfg.size]
    if len(size) != 2 or not all(positive(side) for side in size):
        raise ConfigError(f"size={cfg.size}: give [height,width] in pixels")
    for option in ("batch_size", "classes"):
        if not positive(cfg[option]) and (option, cfg[option]) != ("classes", None):
            raise ConfigError(f"{option}={cfg[option]}: give a whole number that is at least 1")
    return tuple(size), cfg.batch_size


def positive(value: object) -> bool:
    """Whether a value is a whole number, 1 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def given() -> list[str]:
    """The overrides of the command line."""
    return list(HydraConfig.get().overrides.task)
