"""Converting a released file: find its graph, refuse what does not fit, write our checkpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from torch import Tensor

from contextseg import parts
from contextseg.classes import ClassSet, class_set
from contextseg.commands.compose import compose
from contextseg.commands.convert.graph import COUNTER, Graph, Match, graphs, match
from contextseg.commands.convert.options import ConvertOptions
from contextseg.commands.convert.released import read_tensors
from contextseg.conf import CONF
from contextseg.console import console
from contextseg.data.class_file import made_up
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.files import side_file, write_atomically
from contextseg.plain_yaml import read_yaml
from contextseg.segmenter import Segmenter

MAX_SHOWN = 5  # names on the terminal; the file beside the checkpoint has all

log = logging.getLogger(__name__)


def main(options: ConvertOptions) -> None:
    """Write the checkpoint."""
    convert(options)


def convert(cfg: ConvertOptions) -> Path:
    """Convert the released weights `input=` of the source `from=` into the checkpoint `output=`.

    Every name and its outcome is written to <output>.keys.txt, also when the file is refused. Raises `ConfigError` for
    an unknown source or graph, a file that cannot be read, fits no graph or several, a class set of another size, and
    an output that exists.
    """
    candidates = candidate_graphs(cfg.source, cfg.graph)
    output = cfg.output
    tensors, others = read_tensors(cfg.input)
    if others:
        log.info("%s: omitted, as they are no tensors: %s", cfg.input, ", ".join(others[:MAX_SHOWN]))
    found = best(candidates, tensors, str(cfg.input))
    report = output.with_name(f"{output.name}.keys.txt")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(report, listing(found))
    console.print(summary(found))
    if not found.complete or found.classes is None:
        raise ConfigError(
            f"input={cfg.input}: not the weights of {found.graph.name}, the nearest graph of from={cfg.source}: "
            f"{len(found.missing)} tensors missing, {len(found.unused)} unknown, {len(found.misfits)} of another "
            f"shape{example(found)}; {report} lists them all"
        )
    data, classes = choose_classes(found.classes, cfg)
    composed = configuration(found.graph, data)
    if cfg.data is not None:
        composed.data = cfg.data
    if cfg.inplace_abn:
        as_inplace_abn(found.used)
    elif names := [name for name in norm_weights(found.used) if (found.used[name] < 0).any()]:
        log.warning(
            "%d norms have weights below zero, first %s; if the file was trained with InPlaceABN, whose kernels take "
            "|weight| + 1e-5, give inplace_abn=true",
            len(names),
            names[0],
        )
    save(checkpoint(found, composed, classes), output)
    log.info("%s, %d classes (%s): %s", found.graph.name, len(classes), classes.name, output)
    return output


def candidate_graphs(source: str, name: str | None) -> list[Graph]:
    """Return the graphs of a source, or the one asked for. Raises `ConfigError` listing the choices."""
    sources = sorted({graph.source for graph in graphs().values()})
    if source not in sources:
        raise ConfigError(f"from={source}: choose one of {', '.join(sources)}")
    known = {graph.name: graph for graph in graphs().values() if graph.source == source}
    if name not in (None, *known):
        raise ConfigError(f"graph={name}: from={source} has {', '.join(known)}")
    return list(known.values()) if name is None else [known[name]]


def best(candidates: list[Graph], tensors: Mapping[str, Tensor], path: str) -> Match:
    """Match the tensors with the graph that they fit best. Raises `ConfigError` if they fit several in full."""
    matches = sorted((match(graph, tensors) for graph in candidates), key=lambda found: found.distance)
    if complete := [found.graph.name for found in matches if found.complete][1:]:
        names = ", ".join([matches[0].graph.name, *complete])
        raise ConfigError(f"input={path}: fits {names} alike; choose one with graph=NAME")
    return matches[0]


# the report


def rows(found: Match) -> dict[str, list[str]]:
    """Return the names by outcome."""
    graph = found.graph
    used = [f"{name} -> {graph.ours(name)}" for name in found.used]
    return {
        "used": used,
        "omitted on purpose": found.ignored,
        "missing": found.missing,
        "unknown": found.unused,
        "of another shape": found.misfits,
    }


def summary(found: Match) -> Table:
    """Draw the counts, with the first names of what does not fit."""
    table = Table("tensors", "count", "first", title=found.graph.name, title_justify="left")
    for outcome, names in rows(found).items():
        first = names[:MAX_SHOWN] if outcome != "used" else []
        table.add_row(outcome, str(len(names)), "\n".join(first))
    return table


def listing(found: Match) -> str:
    """Write every name, by outcome."""
    blocks = (
        f"{outcome}: {len(names)}\n" + "".join(f"  {n}\n" for n in names) for outcome, names in rows(found).items()
    )
    return f"graph {found.graph.name}, classes {found.classes}\n" + "".join(blocks)


def example(found: Match) -> str:
    """Return the first name that does not fit, in brackets."""
    names = [*found.misfits, *found.missing, *found.unused]
    return f" (first {names[0]})" if names else ""


# the checkpoint


def choose_classes(count: int, cfg: ConvertOptions) -> tuple[str | None, ClassSet]:
    """Return the data set of ours, or None, and the classes of a network with `count` of them.

    `cfg.data` gives a data set, `cfg.classes` a class set or the names themselves. Without both it is the one data set
    of ours with as many classes, or names are made up. Raises `ConfigError` if the number of classes differs.
    """
    data = cfg.choices.get("data")
    if isinstance(cfg.classes, list):
        chosen = named("classes", cfg.classes)
    elif cfg.classes is not None:
        chosen = class_set(cfg.classes)
    elif cfg.data is not None:
        chosen = build.instantiate(cfg.data, "data", SegDataModule).classes
    else:
        fitting = [(name, known) for name, known in data_sets().items() if len(known) == count]
        if len(fitting) == 1:
            return fitting[0]
        chosen = named("classes", [f"class_{index}" for index in range(count)])
    if len(chosen) != count:
        option = "classes" if data is None else f"data={data}"
        raise ConfigError(f"{option}: has {len(chosen)} classes, but the weights are for {count}")
    return data, chosen


def data_sets() -> dict[str, ClassSet]:
    """Return the data sets of `conf/data` whose classes are known without their files, each once."""
    found: dict[str, ClassSet] = {}
    for path in sorted((CONF / "data").glob("*.yaml")):
        kind = parts.find(read_yaml(path.read_text())["_target_"], "data")
        classes = getattr(kind, "classes", None)
        if isinstance(classes, ClassSet) and classes not in found.values():  # clips of CamVid are CamVid
            found[path.stem] = classes
    return found


def named(name: str, names: list[str]) -> ClassSet:
    """Return a class set with made-up colours."""
    return ClassSet(name, tuple(names), tuple(made_up(len(names))))


def checkpoint(found: Match, cfg: DictConfig, classes: ClassSet) -> dict:
    """Build the checkpoint that a training of `cfg` would have written with these weights; its images are unknown."""
    network, recipe = build.network(cfg, classes, pretrained=False)
    return {
        "state_dict": {f"segmenter.{name}": value for name, value in weights(found, network).items()},
        "recipe": recipe,
        "config": OmegaConf.to_container(cfg),  # unresolved: where data and runs lie is known when it is used
        "train_images": None,
        "global_step": 0,
        "converted": {"source": found.graph.source, "graph": found.graph.name},
    }


def configuration(graph: Graph, data: str | None = None) -> DictConfig:
    """Compose the configuration of our network of a graph, with the papers' widths."""
    return compose(["experiment=none", *graph.overrides, *([] if data is None else [f"data={data}"])])


def weights(found: Match, network: Segmenter) -> dict[str, Tensor]:
    """Return the state dict of our network with every tensor of the file in its place.

    The counters of norms, which no network uses, keep their values; so do mean and standard deviation of the input,
    unless the graph gives others. Raises `ConfigError` if another tensor is left, or a shape differs.
    """
    graph, state = found.graph, network.state_dict()
    theirs = {graph.ours(name): graph.tensor(name, value) for name, value in found.used.items()} | graph.normalisation()
    left = [name for name in state.keys() - theirs.keys() if not set_without_file(name)]
    left += theirs.keys() - state.keys()
    if left:
        raise ConfigError(f"graph {graph.name} does not fit our network: {sorted(left)[:MAX_SHOWN]}")
    for name, value in theirs.items():
        if trimmed(value.shape) != trimmed(state[name].shape):
            raise ConfigError(
                f"graph {graph.name}: {name} is {list(state[name].shape)} here and {list(value.shape)} there"
            )
        state[name] = value.reshape(state[name].shape).to(state[name].dtype).clone()
    return state


def norm_weights(tensors: Mapping[str, Tensor]) -> list[str]:
    """List the names of the weights of norms."""
    norms = {name.removesuffix(".running_var") for name in tensors if name.endswith(".running_var")}
    return sorted(f"{norm}.weight" for norm in norms if f"{norm}.weight" in tensors)


def as_inplace_abn(tensors: dict[str, Tensor]) -> None:
    """Put |weight| + 1e-5 in place of every norm's weight, which is what InPlaceABN's kernels multiply by."""
    for name in norm_weights(tensors):
        tensors[name] = tensors[name].abs() + 1e-5


def set_without_file(name: str) -> bool:
    """Tell whether a tensor of ours may have no counterpart in a released file."""
    return name.endswith(COUNTER) or name in ("backbone.mean", "backbone.std")


def trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the ones at its end: a 1x1 convolution is a matrix, a list of one number a number."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(shape)


def save(content: dict, output: Path) -> None:
    """Write a checkpoint, as a whole or not at all."""
    with side_file(output) as side:
        torch.save(content, side)
