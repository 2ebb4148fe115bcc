"""The papers' cost tables, read from papers/costs.yaml, and our networks counted as each paper did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch._subclasses import FakeTensorMode

from contextseg import papers
from contextseg.commands.complexity.conventions import COUNTS, MEMORIES
from contextseg.commands.complexity.definitions import MAPS, NETWORKS
from contextseg.commands.complexity.flops import conv_matmul
from contextseg.commands.complexity.memory import peak_alive, saved_for_backward
from contextseg.commands.complexity.network import anonymous, parameters
from contextseg.commands.complexity.timing import modules_in_turn
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.papers import rows as paper_rows
from contextseg.plain_yaml import read_yaml

COUNTED, TIMED = ("params", "flops", "memory"), ("ms", "fps")
FIGURES = (*COUNTED, *TIMED)


@dataclass(frozen=True)
class Entry:
    """A network that stands for a row of a table; the fields are described in papers/costs.yaml."""

    row: str
    network: str | None = None
    variant: str = ""
    differs: Sequence[str] = ()
    note: str = ""
    published: Mapping[str, float] | None = None
    overrides: Sequence[str] | None = None


@dataclass(frozen=True)
class Table:
    """A cost table; the fields are described in papers/costs.yaml."""

    name: str
    about: str
    columns: Mapping[str, str]
    size: Sequence[int]
    classes: int
    count: str
    entries: tuple[Entry, ...]
    memory: str | None = None
    without: Sequence[str] = ()
    finest: Sequence[int] | None = None
    channels: Sequence[int] = MAPS
    whole: bool = False

    @property
    def beside(self) -> list[dict[str, Any]]:
        """Return the rows that conf/ablation does not have."""
        return [
            {"row": entry.row, "published": entry.published}
            | ({} if entry.overrides is None else {"overrides": entry.overrides})
            for entry in self.entries
            if entry.published is not None
        ]

    def row(self, label: str) -> dict[str, Any]:
        """Return the row with this label: `published`, and `overrides` if there is such a head."""
        return {row["row"]: row for row in (*paper_rows.table(self.name)["rows"], *self.beside)}[label]

    def inputs(self, channels: Sequence[int] = MAPS, batch: int = 1) -> Any:
        """Make maps [(B, C_i, h, w)], all of one size but perhaps the first; if `whole` an image uint8 (B, 3, H, W)."""
        if self.whole:
            return torch.empty(batch, 3, *self.size, dtype=torch.uint8)
        sizes = [self.finest or self.size, *[self.size] * (len(channels) - 1)]
        return [torch.empty(batch, width, *size) for width, size in zip(channels, sizes, strict=True)]

    def ours(self, label: str) -> nn.Module:
        """Build our head of a row, at the paper's width; if `whole`, our network."""
        cfg = composed(tuple(self.row(label)["overrides"]))
        if self.whole:
            return build.network(cfg, anonymous(self.classes))[0]
        return build.instantiate(cfg.head, "head", in_channels=MAPS, num_classes=self.classes)


@cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    """Compose the configuration of a row, without a recipe: at the paper's width."""
    return compose([*overrides, "experiment=none"])


def loaded(name: str, facts: Mapping[str, Any]) -> Table:
    """Make a table from its part of papers/costs.yaml."""
    entries = tuple(Entry(**row) for row in facts["rows"])
    return Table(name=name, entries=entries, **{key: value for key, value in facts.items() if key != "rows"})


FILE = Path(papers.__file__).with_name("costs.yaml")
TABLES = {name: loaded(name, facts) for name, facts in read_yaml(FILE.read_text()).items()}


def named(name: str) -> Table:
    """Return the cost table of this name. Raises `ConfigError` listing the known ones."""
    if name not in TABLES:
        raise ConfigError(f"table={name}: choose {', '.join(TABLES)}")
    return TABLES[name]


@dataclass(frozen=True)
class Line:
    """An entry and its published row, in the table's convention: parameters in M, FLOPs in G, memory in MiB.

    `counted` is empty if there is no such head.
    """

    entry: Entry
    published: Mapping[str, float]
    counted: Mapping[str, float]

    def error(self, figure: str) -> float | None:
        """Return counted less published, in percent of the published figure; None if either is missing."""
        if figure not in self.published or figure not in self.counted:
            return None
        return 100 * (self.counted[figure] / self.published[figure] - 1)


def counted(table: Table) -> list[Line]:
    """Count all entries of a table as its paper did."""
    with FakeTensorMode():
        return [line(table, entry) for entry in table.entries]


def timed(table: Table, lines: Sequence[Line]) -> tuple[list[Line], str]:
    """Add to the lines the milliseconds and frames per second of this device; return them, and how they were taken."""
    networks = [network_of(table, one.entry) for one in lines]
    there = [network for network in networks if network is not None]
    times = modules_in_turn(there, [table.inputs(table.channels) for _ in there])
    medians = iter(times.medians)
    found = []
    for one, network in zip(lines, networks, strict=True):
        ms = next(medians) if network is not None else None
        found.append(one if ms is None else replace(one, counted={**one.counted, "ms": ms, "fps": 1000 / ms}))
    return found, times.how


def network_of(table: Table, entry: Entry) -> nn.Module | None:
    """Build what is counted for an entry, for inference; None if there is no such head."""
    if entry.network is None and "overrides" not in table.row(entry.row):
        return None
    network = NETWORKS[entry.network](table.classes) if entry.network else table.ours(entry.row)
    return network.eval()


def line(table: Table, entry: Entry) -> Line:
    """Count one entry, within a fake tensor mode."""
    row = table.row(entry.row)
    published = {ours: row["published"][theirs] for ours, theirs in table.columns.items() if theirs in row["published"]}
    network, inputs = network_of(table, entry), table.inputs(table.channels)
    if network is None:
        return Line(entry, published, {})
    flops = COUNTS[table.count](network, inputs)
    omitted = [name for name, _ in network.named_children() if name in table.without]
    own = parameters(network) - sum(parameters(network.get_submodule(name)) for name in omitted)
    found = {"params": own / 1e6, "flops": (flops[""] - sum(flops[name] for name in omitted)) / 1e9}
    if table.memory:
        found["memory"] = MEMORIES[table.memory](network, inputs, own) / 2**20
    return Line(entry, published, found)


def plainly(table: Table) -> dict[str, dict[str, float]]:
    """Count our heads of a table's rows as they stand, in one way for all tables: label -> parameters, FLOPs, memory.

    With classifier, in M, G and MiB: 2 FLOPs per multiply-add of convolutions and matrix products; what autograd saves
    per image of a batch of two, and the peak of tensors alive in inference beside parameters and inputs; float32.
    """
    found = {}
    with FakeTensorMode():
        for label in dict.fromkeys(entry.row for entry in table.entries if "overrides" in table.row(entry.row)):
            network = table.ours(label)
            saved = sum(saved_for_backward(network.train(), table.inputs(batch=2)).values()) / 2
            network.eval()
            found[label] = {
                "params": parameters(network) / 1e6,
                "flops": conv_matmul(network, table.inputs())[""] / 1e9,
                "training": saved / 2**20,
                "inference": peak_alive(network, table.inputs()) / 2**20,
            }
    return found
