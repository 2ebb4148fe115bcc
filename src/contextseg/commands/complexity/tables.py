"""The papers' complexity tables: what each row is built of, how its paper counted, and what does not come out.

Published figures are those of `conf/ablation/<table>.yaml`, for rows that it does not have those of `published.yaml`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from torch import nn
from torch._subclasses import FakeTensorMode

from contextseg.commands.complexity import definitions as written
from contextseg.commands.complexity.flops import conv_matmul, leaf_modules, leaf_outputs
from contextseg.commands.complexity.memory import peak_alive, saved_for_backward
from contextseg.commands.complexity.network import anonymous, parameters
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.heads.ccnet import CCNetHead
from contextseg.heads.danet import DANetHead
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.non_local import NonLocal
from contextseg.papers import rows as paper_rows

FIGURES = ("params", "flops", "memory")
MAPS = (256, 512, 1024, 2048)  # channels of a ResNet's maps
NOT_COUNTED = ("classifier", "coarse")  # by OCR's Table 4


@cache
def beside(table: str) -> list[dict]:
    """The rows of a table that conf/ablation does not have."""
    return yaml.safe_load((Path(__file__).parent / "published.yaml").read_text()).get(table, [])


@cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    """The configuration of a row, without a recipe: at the paper's width."""
    return compose([*overrides, "experiment=none"])


@dataclass(frozen=True)
class Entry:
    """A network that stands for a row of a table; a row may have several.

    row      its label in conf/ablation, or in published.yaml
    network  what to count; None: the head of the row's overrides
    variant  which of the networks of the row
    off      figures more than 1 % from the published ones, for a reason that `note` tells
    """

    row: str
    network: Callable[[], nn.Module] | None = None
    variant: str = ""
    off: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A complexity table.

    name     in conf/ablation
    columns  figure -> its name among the published ones
    size     height, width of what is counted: of the maps, or if `whole` of the image
    count    FLOPs by module name; those of `without` are left out, of FLOPs and parameters alike
    memory   bytes of a network and its inputs, or None
    about    what its FLOPs, parameters and memory are, in words
    """

    name: str
    columns: Mapping[str, str]
    size: tuple[int, int]
    classes: int
    count: Callable[..., dict[str, int]]
    memory: Callable[..., int] | None
    about: str
    entries: tuple[Entry, ...]
    without: tuple[str, ...] = ()
    channels: tuple[int, ...] = MAPS  # of the maps that `entries` take
    whole: bool = False

    def row(self, label: str) -> dict:
        """The row with this label: `published`, and `overrides` if there is such a head."""
        return {row["row"]: row for row in (*paper_rows.table(self.name)["rows"], *beside(self.name))}[label]

    def inputs(self, channels: Sequence[int] = MAPS, batch: int = 1) -> Any:
        """Maps [(B, C_i, h, w)], all of one size; if `whole` an image uint8 (B, 3, H, W)."""
        if self.whole:
            return torch.empty(batch, 3, *self.size, dtype=torch.uint8)
        return [torch.empty(batch, width, *self.size) for width in channels]

    def ours(self, label: str) -> nn.Module:
        """Our head of a row, at the paper's width; if `whole`, our network."""
        cfg = composed(tuple(self.row(label)["overrides"]))
        if self.whole:
            return build.network(cfg, anonymous(self.classes))[0]
        return build.instantiate(cfg.head, "head", in_channels=MAPS, num_classes=self.classes)


@dataclass(frozen=True)
class Line:
    """An entry beside the published row, in the table's own convention: parameters in M, FLOPs in G, memory in MiB.

    `counted` is empty if there is no such head.
    """

    entry: Entry
    published: Mapping[str, float]
    counted: Mapping[str, float]

    def error(self, figure: str) -> float | None:
        """Counted less published, in percent of the published figure; None if either is missing."""
        if figure not in self.published or figure not in self.counted:
            return None
        return 100 * (self.counted[figure] / self.published[figure] - 1)


def counted(table: Table) -> list[Line]:
    """All entries of a table, counted as its paper did."""
    with FakeTensorMode():
        return [line(table, entry) for entry in table.entries]


def line(table: Table, entry: Entry) -> Line:
    """One entry, within a fake tensor mode."""
    row = table.row(entry.row)
    published = {ours: row["published"][theirs] for ours, theirs in table.columns.items() if theirs in row["published"]}
    make = entry.network or ((lambda: table.ours(entry.row)) if "overrides" in row else None)
    if make is None:
        return Line(entry, published, {})
    network, inputs = make().eval(), table.inputs(table.channels)
    flops = table.count(network, inputs)
    left_out = [name for name, _ in network.named_children() if name in table.without]
    found = {
        "params": (parameters(network) - sum(parameters(network.get_submodule(name)) for name in left_out)) / 1e6,
        "flops": (flops[""] - sum(flops[name] for name in left_out)) / 1e9,
    }
    if table.memory:
        found["memory"] = table.memory(network, inputs) / 2**20
    return Line(entry, published, found)


def plainly(table: Table) -> dict[str, dict[str, float]]:
    """Our heads of a table's rows as they stand, all tables alike: label -> parameters, FLOPs, memory in training and
    inference.

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


def inference_memory(network: nn.Module, inputs: Any) -> int:
    """OCR's Table 4: bytes alive at the peak of inference and bytes of the parameters; batch norm in place."""
    own = sum(parameters(child) for name, child in network.named_children() if name not in NOT_COUNTED)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity().eval())
    return peak_alive(network, inputs) + 4 * own


def training_memory(network: nn.Module, inputs: Any) -> int:
    """What autograd saves, float32."""
    return sum(saved_for_backward(network, inputs).values())


def released_ccnet(recurrence: int, classes: int) -> CCNetHead:
    """The head of CCNet's released code."""
    return CCNetHead(MAPS, classes, recurrence=recurrence, gate=True, refine=True, embedding_channels=0)


def criss_cross(loops: int) -> Callable[[], nn.Module]:
    """Criss-cross attention alone."""
    return lambda: written.Loops(CrissCrossAttention(512), loops)


def non_local(loops: int) -> Callable[[], nn.Module]:
    """Non-local attention alone."""
    return lambda: written.Loops(NonLocal(512), loops)


OCR_T4 = Table(
    name="ocr_t4",
    columns={"params": "params", "flops": "FLOPs", "memory": "memory"},
    size=(128, 128),
    classes=19,
    count=conv_matmul,
    memory=inference_memory,
    without=NOT_COUNTED,
    about=(
        "Input 1 x 2048 x 128 x 128. FLOPs: 2 per multiply-add of convolutions and matrix products, the 3x3 "
        "convolution to 512 channels included, classifiers not. Parameters: the same, with batch norm. Memory: bytes "
        "of the tensors alive at the peak of inference and of the parameters, float32, batch norm and ReLU in place, "
        "without the input."
    ),
    entries=(
        Entry(
            "PPM",
            off=("memory",),
            note="memory: with the pooled maps kept to the end, input and last output 664; the rest is not explained",
        ),
        Entry(
            "ASPP",
            off=("memory",),
            note="256 channels; memory: 284 is that of 512 after the fusion, with the last image's output still there",
        ),
        Entry(
            "DANet",
            lambda: DANetHead(MAPS, 19),
            "as published",
            off=("params", "memory"),
            note="the printed parameters are of another network; memory: 2339 in the order of the released code",
        ),
        Entry(
            "DANet",
            lambda: DANetHead(MAPS, 19, slim=True),
            "slim",
            off=("flops", "memory"),
            note="the network of the printed parameters; FLOPs and memory are of the full one",
        ),
        Entry(
            "CCNet",
            lambda: released_ccnet(2, 19),
            "released head",
            off=("params", "memory"),
            note="the printed parameters are of another network; memory: 427 if q, k, v and map of each loop are kept",
        ),
        Entry(
            "CCNet",
            lambda: written.SlimCrissCross(MAPS[-1]),
            "slim",
            off=("flops", "memory"),
            note="a network with the printed parameters, one of several; FLOPs and memory are of the released one",
        ),
        Entry(
            "self-attention",
            lambda: written.SelfAttention(MAPS[-1]),
            note="one 1x1 convolution each for query and key; the released code has two (10.62 M, 622.8 G)",
        ),
        Entry(
            "double attention",
            lambda: written.DoubleAttention(MAPS[-1]),
            off=("memory",),
            note="memory depends on which temporaries still live at the last convolution",
        ),
        Entry(
            "OCR",
            lambda: written.ObjectContext(MAPS, 19),
            off=("flops",),
            note="340 charges delta, which acts on 19 regions, at every pixel: 4.29 G too much",
        ),
    ),
)

CCNET = (
    "Input 1 x 512 x 97 x 97 (769 x 769 px at 1/8). FLOPs: 2 per multiply-add of the attention block alone: query, key "
    "and value convolutions and both products, once per loop. Parameters are not printed. Memory: what autograd saves "
    "in the block, float32; the published figures are other quantities (notes)."
)
CCNET_MEMORY = (
    "memory: a loop more is what a loop of the released kernel keeps (74, 81); the 53 of R=1 is not explained"
)
NON_LOCAL_MEMORY = "memory: 1411 = 4 maps of 9409 x 9409, 2 of 64 x 9409 and 3 of 512 x 9409, a peak while training"

CCNET_T2 = Table(
    name="ccnet_t2",
    columns={"flops": "GFLOPs_delta", "memory": "memory_delta"},
    size=(97, 97),
    classes=19,
    count=conv_matmul,
    memory=training_memory,
    channels=(512,),
    about=CCNET,
    entries=tuple(
        Entry(f"CCNet, R={loops}", criss_cross(loops), off=("memory",), note=CCNET_MEMORY) for loops in (1, 2, 3)
    ),
)

CCNET_T5 = replace(
    CCNET_T2,
    name="ccnet_t5",
    entries=(
        Entry("non-local, R=1", non_local(1), off=("memory",), note=NON_LOCAL_MEMORY),
        Entry(
            "non-local, R=2",
            non_local(2),
            off=("memory",),
            note="memory: twice the row above, which is no peak: the backward pass frees as it goes",
        ),
        Entry("CCNet, R=2", criss_cross(2), off=("memory",), note=CCNET_MEMORY),
    ),
)

TOO_LARGE = (
    "the 3x3 convolution to 512 channels alone has 9.44 M: the printed figures are of a head without it, which the "
    "rows of the other methods have"
)

CTNET_T3 = Table(
    name="ctnet_t3",
    columns={"params": "dParams", "flops": "dFLOPs", "memory": "dMemory"},
    size=(65, 65),
    classes=21,
    count=leaf_modules,
    memory=leaf_outputs,
    about=(
        "Input 1 x 2048 x 65 x 65 (513 x 513 px at 1/8), 21 classes (the caption says Pascal Context, only 21 fit). "
        "FLOPs: 1 per multiply-add of the modules without children, their biases, 2 per element of batch norm, 1 of "
        "ReLU and pooling; the products of attention are called as functions and do not count. Parameters: the whole "
        "head, no auxiliary one. Memory: sum of what those modules return, float32; five published figures are the "
        "same 8.62 MiB above that, which nothing explains."
    ),
    entries=(
        Entry(
            "PSPNet", off=("memory",), note="memory: the 8.62 MiB, and the pooled maps (0.39), which are functions here"
        ),
        Entry("DeepLabv3", off=("memory",), note="memory: the 8.62 MiB"),
        Entry("DeepLabv3+", note="memory is not explained"),
        Entry("OCNet", note="Pyramid-OC"),
        Entry(
            "DANet", off=("memory",), note="one classifier here, three there; memory: the 8.62 MiB and the classifiers"
        ),
        Entry("CFNet", note="13.14 M is not explained: the released head has 10.51 M"),
        Entry(
            "CCNet",
            lambda: released_ccnet(1, 21),
            off=("memory",),
            note="one loop; memory: the 8.62 MiB, but neither dropout (8.25) nor attention map (2.10)",
        ),
        Entry("OSCM (spatial module only)", off=FIGURES, note=TOO_LARGE),
        Entry("CTNet", off=FIGURES, note=TOO_LARGE),
    ),
)

AGLN_T8 = Table(
    name="agln_t8",
    columns={"params": "params", "flops": "FLOPs"},
    size=(480, 480),
    classes=59,
    count=leaf_modules,
    memory=None,
    whole=True,
    about=(
        "The whole network on 1 x 3 x 480 x 480, ResNet-101 with the deep stem, 59 classes, no auxiliary head. FLOPs: "
        "as in CTNet's Table 3."
    ),
    entries=(
        Entry("FCN-8s", note="dilated to 1/8"),
        Entry("FPN"),
        Entry("AGLN", note="two 3x3 convolutions per CFB, N = 128; the released code has one, N = 64 (58.6 M)"),
        Entry("AGLN-Lite", note="N = 256, which the printed parameters tell"),
    ),
)

TABLES = {table.name: table for table in (OCR_T4, CTNET_T3, CCNET_T2, CCNET_T5, AGLN_T8)}


def named(name: str) -> Table:
    """The complexity table of this name. Raises `ConfigError` listing the known ones."""
    if name not in TABLES:
        raise ConfigError(f"table={name}: choose {', '.join(TABLES)}")
    return TABLES[name]
