"""Each row of the papers' tables builds, learns, and is another computation than its neighbours."""

import inspect
import itertools
import math
import zlib
from functools import cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from selected import quick
from torch.nn.modules.batchnorm import _NormBase

from contextseg import parts
from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.engine import build
from contextseg.engine.build import plain
from contextseg.papers import rows as paper_rows

TABLES = {  # of `train`; test_instances has those of the other command
    table["table"]: table["rows"] for table in paper_rows.tables() if "command" not in table
}
WHOLE = {"output_stride": 32, "stages": 4}
STUDIES = {  # of the diagnostic data set, factor -> rows
    file.stem: paper_rows.table(f"diagnostic/{file.stem}")
    for file in sorted((CONF / "ablation/diagnostic").glob("*.yaml"))
}


def without_backbone(row):
    """The overrides of a row that concern the head and its loss."""
    return tuple(item for item in row["overrides"] if not item.startswith("backbone"))


@cache
def small_backbone(output_stride):
    """`tiny`, or where a head wants more than its stride 8 (a pyramid of maps) the smallest ResNet, whole."""
    option = "tiny" if output_stride == 8 else "test_resnet"
    node = compose([f"backbone={option}", "head=fcn"]).backbone
    return node if option == "tiny" else OmegaConf.merge(node, WHOLE)


@cache
def ran(overrides):
    """What a row of a paper's table computes on a small backbone."""
    cfg = compose([*overrides, "width=16", "+data.transform.crop_size=64"])
    cfg.backbone = small_backbone(cfg.backbone.output_stride)
    return stepped(cfg)


@cache
def studied(overrides):
    """What a row of a study computes; its backbone is small."""
    return stepped(compose(["data=context_scenes_hard", *overrides, "width=16"]))


STEPPED = {}  # by recipe and loss: rows of several tables are the same


def stepped(cfg):
    """Logits and loss on fixed images, with weights that depend on their names alone; names without a gradient."""
    classes = build.datamodule(cfg).classes
    key = str((build.recipe(cfg, classes), plain(cfg.loss), build.crop_size(cfg)))
    if key not in STEPPED:
        STEPPED[key] = step(cfg, classes)
    return STEPPED[key]


def step(cfg, classes):
    criterion, size = build.loss(cfg), build.crop_size(cfg)[0]
    network, _ = build.network(cfg, classes)
    for name, parameter in network.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        torch.nn.init.normal_(parameter, std=math.prod(parameter.shape[1:]) ** -0.5, generator=generator)
    for module in network.modules():
        if isinstance(module, _NormBase):
            torch.nn.init.ones_(module.weight)
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)
    mask = torch.randint(0, len(classes), (2, size // 8, size // 8), dtype=torch.uint8, generator=generator)
    mask = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)
    output = network(image, mask)
    loss, _ = criterion(output, mask)
    loss.backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    return output.logits.detach(), loss.detach(), without


def assert_learns(overrides, result):
    """It computes numbers, and each parameter gets a gradient."""
    logits, loss, without = result
    assert logits.isfinite().all(), overrides
    assert loss.isfinite(), overrides
    assert without == [], overrides


def same(one, other):
    """Tell whether two results are alike to the last bit."""
    return one[0].shape == other[0].shape and torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("table", quick(TABLES, ("ctnet_t1", "ocr_t1")))
def test_rows_of_a_table_learn_and_differ_in_what_runs(table):
    rows = {tuple(row["overrides"]): without_backbone(row) for row in TABLES[table]}
    for overrides in rows:
        assert_learns(overrides, ran(overrides))
    for one, other in itertools.combinations(sorted(set(rows.values())), 2):
        assert not same(ran(one), ran(other)), f"{one} and {other} compute the same"


# The studies


def method(overrides):
    """What overrides say of the head and its loss."""
    recipe = ("backbone", "data", "neck", "trainer")
    return frozenset(item for item in overrides if item.partition("=")[0].partition(".")[0] not in recipe)


@pytest.mark.parametrize("factor", STUDIES)
def test_a_study_is_of_one_factor_and_has_rows_without_context(factor):
    study = STUDIES[factor]
    assert study["data"] == "context_scenes_hard"
    assert factor in compose(["data=context_scenes_hard"]).data.factors
    for row in study["rows"]:
        assert {f"data.factor={factor}", "backbone=tiny"} <= set(row["overrides"])
    fcn, psp = study["rows"][:2]
    assert (fcn["row"], method(fcn["overrides"])) == ("FCN", {"head=fcn"})
    assert psp["row"] == "PSP, one pooled vector"
    assert method(psp["overrides"]) == {"head=psp", "head.bins=[1]", "loss=ce"}


def test_every_factor_has_a_study():
    assert set(STUDIES) == set(compose(["data=context_scenes_hard"]).data.factors)


@pytest.mark.parametrize("factor", STUDIES)
def test_a_published_row_of_a_study_is_that_of_a_paper(factor):
    papers = [other for rows in TABLES.values() for other in rows]
    for row in STUDIES[factor]["rows"]:
        same_numbers = [other for other in papers if row["published"].items() <= other["published"].items()]
        assert not row["published"] or method(row["overrides"]) in [method(o["overrides"]) for o in same_numbers], row


@pytest.mark.slow
@pytest.mark.parametrize("factor", quick(STUDIES, ["matching"]))
def test_rows_of_a_study_learn_and_differ_in_what_runs(factor):
    rows = [tuple(row["overrides"]) for row in STUDIES[factor]["rows"]]
    for overrides in rows:
        assert_learns(overrides, studied(overrides))
    for one, other in itertools.combinations(rows, 2):
        told_apart = {text for text in {*one} ^ {*other} if text.startswith(("trainer.max_steps", "data.factors"))}
        assert told_apart or not same(studied(one), studied(other)), f"{one} and {other} compute the same"


# Real images

REAL = {name: paper_rows.table(f"real_images/{name}") for name in ("controls", "heads", "pairs")}


@cache
def on_real_images(overrides):
    """What a row on frozen features computes on a small backbone of the row's output stride."""
    cfg = compose([*overrides, "width=16", "data.transform.crop_size=112"])  # maps of 7x7: more than a window
    assert cfg.features.whole
    assert cfg.backbone.freeze
    cfg.backbone = OmegaConf.merge(small_backbone(32), {"output_stride": cfg.backbone.output_stride})
    return stepped(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("table", quick(REAL, ["pairs"]))
def test_rows_on_real_images_learn_and_differ_in_what_runs(table):
    rows = [tuple(row["overrides"]) for row in REAL[table]["rows"]]
    for overrides in rows:
        assert_learns(overrides, on_real_images(overrides))
    for one, other in itertools.combinations(rows, 2):
        assert not same(on_real_images(one), on_real_images(other)), f"{one} and {other} compute the same"


def test_every_head_with_attention_is_trained_with_each_control():
    rows = [tuple(row["overrides"]) for row in REAL["controls"]["rows"]]
    for learned in [row for row in rows if not {"head=fcn", "attention=uniform", "attention=local"} & {*row}]:
        cfg = compose([*learned])
        possible = {"uniform", "local"} if parts.find(cfg.head._target_, "head").can_be_local else {"uniform"}
        assert {control for control in ("uniform", "local") if (*learned, f"attention={control}") in rows} == possible


def parameters(overrides):
    """How many parameters the head of a row has after the maps of the row's backbone."""
    cfg = compose([*overrides])
    node = build.recipe(cfg, build.datamodule(cfg).classes)["head"]
    kind = parts.find(node["_target_"], "head")
    stride = cfg.backbone.output_stride
    facts = {"in_channels": (24, 40, 112, 320), "num_classes": 11, "strides": (4, 8, min(16, stride), min(32, stride))}
    known = {name: value for name, value in facts.items() if name in inspect.signature(kind).parameters}
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in parts.make(node, "head", **known).parameters())


def test_the_matched_fcns_have_as_many_parameters_as_the_heads_they_name():
    rows = {row["row"]: row["overrides"] for row in REAL["controls"]["rows"]}
    matched = {label.removeprefix("FCN, parameters of ").lower(): label for label in rows if "parameters" in label}
    heads = {label.lower() for label in rows if "," not in label and label != "FCN"}
    assert {head for names in matched for head in names.split(", ")} == heads
    for label, overrides in rows.items():
        if label.lower() in heads:
            (fcn,) = [rows[row] for names, row in matched.items() if label.lower() in names.split(", ")]
            assert parameters(fcn) == pytest.approx(parameters(overrides), rel=0.01), label


# The page


def test_the_page_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "paper_rows.md"
    assert page.read_text() == paper_rows.page(), "run: python -m contextseg.papers.rows > docs/paper_rows.md"
