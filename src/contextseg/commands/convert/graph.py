"""A released network as a file of `graphs/`: the tensors of its state dict, and their places in ours.

source      whose code it is, the `from=` of the command
overrides   what composes our network
classes     the letter that stands for the number of classes, in shapes: K, 2*K
names       each tensor of theirs and its shape; {a..b} stands for the integers a to b; norm(C) for weight, bias,
            running_mean and running_var [C] and num_batches_tracked, norm(C, no_count) without the last;
            norm(C, paddle) for weight, bias, _mean and _variance
rename      [regular expression, replacement], each in turn before `map`: for parts that occur in many places
map         [regular expression, replacement] from their names to ours; the first that matches counts
base        another graph, which gives the keys omitted here; `without`, regular expressions of names it drops;
            `spelled`, [regular expression, replacement] from the base's names to those in this file
ignore      regular expressions, matched from the start: tensors of theirs that ours does not have
transposed  regular expressions: matrices that Paddle stores the other way round
negated     regular expressions of weights of ours that theirs has with the other sign
reversed    [regular expression, blocks]: weights of ours that follow a concatenation, which theirs makes in the reverse
            order; `blocks` of their input channels: how many of one size, or their sizes in the order of theirs
mean, std   of the input on the 0-255 scale, in the order of their channels, if they are not our backbone's
channels    bgr, if the first convolution was trained for blue first
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contextseg.block_order import Blocks, reordered
from contextseg.errors import ConfigError
from contextseg.plain_yaml import read_yaml

FOLDER = Path(__file__).parent / "graphs"
KEYS = {"source", "overrides", "classes", "names", "rename", "map", "ignore", "transposed", "mean", "std", "channels"}
KEYS |= {"base", "without", "spelled", "reversed", "negated"}
COUNTER = ".num_batches_tracked"  # of a norm: old files have none, and no network of ours uses it
PREFIXES = ("module.", "model.", "network.")

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """One released network; the fields are the keys of its file, `shapes` the names with everything expanded."""

    name: str
    source: str
    overrides: tuple[str, ...]
    shapes: dict[str, Shape]
    rename: tuple[tuple[str, str], ...]
    rules: tuple[tuple[str, str], ...]
    ignore: tuple[str, ...] = ()
    transposed: tuple[str, ...] = ()
    negated: tuple[str, ...] = ()
    reversed: tuple[tuple[str, Blocks], ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str = "rgb"
    symbol: str = "K"
    spelling: Mapping[str, str] = field(default_factory=dict)  # a name here -> that of the base

    def ours(self, name: str) -> str:
        """Return our name of a tensor of theirs. Raises `ConfigError` if no rule of `map` knows it."""
        base = respelled(self.spelling.get(name, name), self.rename)
        for pattern, replacement in self.rules:
            if re.search(pattern, base):
                return re.sub(pattern, replacement, base, count=1)
        raise ConfigError(f"graph {self.name}: {name} has no rule")

    def ignores(self, name: str) -> bool:
        """Tell whether ours lacks a tensor of theirs."""
        return any(re.match(pattern, name) for pattern in self.ignore)

    def wanted(self) -> dict[str, Shape]:
        """Return the tensors that a file must have: all but the ignored ones and the counters."""
        return {n: s for n, s in self.shapes.items() if not (self.ignores(n) or n.endswith(COUNTER))}

    def size(self, entry: int | str, classes: int) -> int:
        """Return one number of a shape for that many classes."""
        return entry if isinstance(entry, int) else classes * multiple(entry, self.symbol)

    def shape(self, name: str, classes: int) -> tuple[int, ...]:
        """Return the shape of a tensor of theirs."""
        return tuple(self.size(entry, classes) for entry in self.shapes[name])

    def mapped(self, classes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return our name -> (theirs, their shape as we store it), for all but the ignored ones.

        Raises `ConfigError` if a tensor has no rule, or the same name of ours as another.
        """
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name in self.shapes:
            if self.ignores(name):
                continue
            ours = self.ours(name)
            if ours in found:
                raise ConfigError(f"graph {self.name}: {name} doubles {ours}")
            shape = self.shape(name, classes)
            found[ours] = name, shape[::-1] if self.is_transposed(name) else shape
        return found

    def is_transposed(self, name: str) -> bool:
        return any(re.search(pattern, name) for pattern in self.transposed)

    def tensor(self, name: str, value: Tensor) -> Tensor:
        """Return a tensor of theirs as ours stores it: matrices transposed, channels in our order, with our sign."""
        if self.is_transposed(name):
            value = value.T
        if any(re.search(pattern, self.ours(name)) for pattern in self.negated):
            value = -value
        if self.channels == "bgr" and value.ndim == 4 and value.shape[1] == 3 and name == self.first_convolution():
            value = value.flip(1)
        return reordered(self.ours(name), value, self.reversed).contiguous()

    def first_convolution(self) -> str:
        """Return the name of the one tensor that takes an image: its second size is 3."""
        (name,) = (n for n, shape in self.wanted().items() if len(shape) == 4 and shape[1] == 3)
        return name

    def normalisation(self) -> dict[str, Tensor]:
        """Return mean and standard deviation of the input, RGB (1, 3, 1, 1), if they are not our backbone's."""
        given = {"backbone.mean": self.mean, "backbone.std": self.std}
        order = -1 if self.channels == "bgr" else 1
        return {k: torch.tensor(v[::order]).view(1, 3, 1, 1) for k, v in given.items() if v is not None}


@dataclass
class Match:
    """The fit of a file's tensors to a graph; `used`: name in the graph -> tensor."""

    graph: Graph
    classes: int | None = None
    used: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)  # of another shape

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unused or self.misfits)

    @property
    def distance(self) -> int:
        return len(self.missing) + len(self.unused) + len(self.misfits)


def match(graph: Graph, tensors: Mapping[str, Tensor]) -> Match:
    """Find the tensors of a file that a graph uses, misses, does not know, or has in another shape."""
    found, wanted = Match(graph), graph.wanted()
    for raw, value in tensors.items():
        name = bare(raw, graph)
        if graph.ignores(name):
            found.ignored.append(raw)
        elif name in found.used:
            found.unused.append(f"{raw} (a second {name})")
        elif name in wanted or (name.endswith(COUNTER) and name.removesuffix(COUNTER) + ".running_var" in wanted):
            found.used[name] = value
        else:
            found.unused.append(raw)
    found.missing = [name for name in wanted if name not in found.used]
    found.classes = count_classes(graph, found.used)
    for name in wanted.keys() & found.used.keys():
        shape, expected = tuple(found.used[name].shape), wanted[name]
        if found.classes is not None or all(isinstance(entry, int) for entry in expected):
            expected = graph.shape(name, found.classes or 0)
        if shape != expected:
            found.misfits.append(f"{name} {list(shape)}, not {list(expected)}")
    return found


def bare(name: str, graph: Graph) -> str:
    """Return a name without the prefixes of wrappers, unless the graph has them itself."""
    while name not in graph.shapes and not graph.ignores(name) and name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def count_classes(graph: Graph, tensors: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes that most shapes imply; None if none does."""
    votes: list[int] = []
    for name, value in tensors.items():
        expected = graph.shapes.get(name, ())
        if len(expected) != value.ndim:
            continue
        for entry, size in zip(expected, value.shape, strict=True):
            if isinstance(entry, str) and size % (factor := multiple(entry, graph.symbol)) == 0:
                votes.append(size // factor)
    return max(set(votes), key=votes.count) if votes else None


def multiple(entry: str, symbol: str) -> int:
    """Return n of n*K."""
    (factor,) = {"1", *entry.replace(" ", "").split("*")} - {symbol} - ({"1"} if "*" in entry else set())
    return int(factor)


@cache
def graphs() -> dict[str, Graph]:
    """Read all graphs, by the name of their file."""
    return {path.stem: read_graph(path) for path in sorted(FOLDER.glob("*.yaml"))}


def read_graph(path: Path) -> Graph:
    """Read the graph of a file. Raises `ConfigError` for an unknown key, or a name that occurs twice."""
    facts = read_facts(path)
    shapes: dict[str, Shape] = {}
    for pattern, shape in facts["names"].items():
        tensors = dict(tensor for name in expand(pattern) for tensor in tensors_of(name, shape))
        if twice := shapes.keys() & tensors.keys():
            raise ConfigError(f"{path.name}: {min(twice)} occurs twice")
        shapes |= tensors
    without = facts.get("without") or ()
    spelling = {respelled(name, pairs(facts.get("spelled"))): name for name in shapes}
    shapes = {name: shapes[original] for name, original in spelling.items()}
    return Graph(
        name=path.stem,
        source=facts["source"],
        overrides=tuple(facts["overrides"]),
        shapes={n: shape for n, shape in shapes.items() if not any(re.match(pattern, n) for pattern in without)},
        rename=pairs(facts.get("rename")),
        rules=pairs(facts["map"]),
        ignore=tuple(facts.get("ignore") or ()),
        transposed=tuple(facts.get("transposed") or ()),
        negated=tuple(facts.get("negated") or ()),
        reversed=pairs(facts.get("reversed")),
        mean=tuple(facts["mean"]) if facts.get("mean") else None,
        std=tuple(facts["std"]) if facts.get("std") else None,
        channels=facts.get("channels", "rgb"),
        symbol=facts.get("classes", "K"),
        spelling=spelling,
    )


def respelled(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """Return a name with each of the rules applied in turn."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def read_facts(path: Path) -> dict[str, Any]:
    """Read the keys of a file, and those of its base that it omits. Raises `ConfigError` for an unknown one."""
    facts: dict[str, Any] = read_yaml(path.read_text())
    if unknown := facts.keys() - KEYS:
        raise ConfigError(f"{path.name}: no such keys: {', '.join(sorted(unknown))}; known: {', '.join(sorted(KEYS))}")
    return read_facts(path.with_stem(facts["base"])) | facts if "base" in facts else facts


def pairs(rules: list[list] | None) -> tuple[tuple[str, Any], ...]:
    return tuple((pattern, other) for pattern, other in rules or ())


def expand(pattern: str) -> Iterator[str]:
    """Yield every name that {a..b} stands for."""
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", pattern)
    texts, ranges = parts[::3], [range(int(a), int(b) + 1) for a, b in zip(parts[1::3], parts[2::3], strict=True)]
    for numbers in product(*ranges):
        yield texts[0] + "".join(f"{number}{text}" for number, text in zip(numbers, texts[1:], strict=True))


def tensors_of(name: str, shape: list | str) -> Iterator[tuple[str, Shape]]:
    """Yield the tensor of a name, or the four or five of a norm, with their shapes."""
    if not isinstance(shape, str):
        yield name, tuple(shape)
        return
    norm = re.fullmatch(r"norm\(([^,()]+)(, *(no_count|paddle))?\)", shape)
    if norm is None:
        raise ConfigError(f"{name}: {shape}: give [sizes], norm(C), norm(C, no_count) or norm(C, paddle)")
    channels, _, flag = norm.groups()
    size = int(channels) if channels.isdigit() else channels
    statistics = ("_mean", "_variance") if flag == "paddle" else ("running_mean", "running_var")
    yield from ((f"{name}.{part}", (size,)) for part in ("weight", "bias", *statistics))
    if not flag:
        yield f"{name}{COUNTER}", ()
