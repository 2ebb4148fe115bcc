"""Each row of the papers' tables builds, learns, and is another computation than its neighbours."""

import itertools
import math
import zlib
from functools import cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.modules.batchnorm import _NormBase

from contextseg import recipe as recipes
from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.engine import build
from contextseg.papers import rows as paper_rows

TABLES = {table["table"]: [row for row in table["rows"] if "overrides" in row] for table in paper_rows.tables()}
WHOLE = {"output_stride": 32, "stages": 4}
STUDIES = {  # of the diagnostic data set, factor -> rows
    file.stem: paper_rows.table(f"diagnostic/{file.stem}")
    for file in sorted((CONF / "ablation/diagnostic").glob("*.yaml"))
}
CONFIGURATIONS = sorted({tuple(row["overrides"]) for rows in TABLES.values() for row in rows})


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
    """What a configuration computes on a small backbone."""
    cfg = compose([*overrides, "width=16", "data.size=80"])
    cfg.backbone = small_backbone(cfg.backbone.output_stride)
    return stepped(cfg)


@cache
def studied(overrides):
    """What a row of a study computes; its backbone is small."""
    return stepped(compose(["data=context_scenes_hard", *overrides, "width=16"]))


def stepped(cfg):
    """Logits and loss on fixed images, with weights that depend on their names alone; names without a gradient."""
    criterion = build.loss(cfg)
    classes, size = build.datamodule(cfg).classes, cfg.data.size
    recipe = build.recipe(cfg, classes)
    network = recipes.network(recipe, {name: term.reads for name, term in criterion.term.items()})
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


@pytest.mark.parametrize("overrides", CONFIGURATIONS, ids=" ".join)
def test_a_row_builds_and_every_parameter_learns(overrides):
    logits, loss, without = ran(overrides)
    assert logits.isfinite().all()
    assert loss.isfinite()
    assert without == []


@pytest.mark.parametrize("table", TABLES)
def test_two_rows_of_a_table_differ_in_what_runs(table):
    for one, other in itertools.combinations(sorted({without_backbone(row) for row in TABLES[table]}), 2):
        (logits, loss, _), (other_logits, other_loss, _) = ran(one), ran(other)
        same = (
            logits.shape == other_logits.shape and torch.equal(logits, other_logits) and torch.equal(loss, other_loss)
        )
        assert not same, f"{one} and {other} compute the same"


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


PUBLISHED = [(factor, row) for factor, study in STUDIES.items() for row in study["rows"] if row["published"]]


@pytest.mark.parametrize(
    ("factor", "row"), PUBLISHED, ids=lambda value: value if isinstance(value, str) else value["row"]
)
def test_a_published_row_of_a_study_is_that_of_a_paper(factor, row):
    papers = [other for rows in TABLES.values() for other in rows]
    same = [other for other in papers if row["published"].items() <= other["published"].items()]
    assert method(row["overrides"]) in [method(other["overrides"]) for other in same]


ROWS = [(factor, row["row"], tuple(row["overrides"])) for factor, study in STUDIES.items() for row in study["rows"]]


@pytest.mark.parametrize(("factor", "row", "overrides"), ROWS, ids=[f"{factor}-{row}" for factor, row, _ in ROWS])
def test_a_row_of_a_study_builds_and_every_parameter_learns(factor, row, overrides):
    logits, loss, without = studied(overrides)
    assert logits.shape[1] == len(build.datamodule(compose(["data=context_scenes_hard", *overrides])).classes)
    assert logits.isfinite().all()
    assert loss.isfinite()
    assert without == []


@pytest.mark.parametrize("factor", STUDIES)
def test_two_rows_of_a_study_differ_in_what_runs(factor):
    rows = [overrides for name, _, overrides in ROWS if name == factor]
    for one, other in itertools.combinations(rows, 2):
        (logits, loss, _), (other_logits, other_loss, _) = studied(one), studied(other)
        same = torch.equal(logits, other_logits) and torch.equal(loss, other_loss)
        told_apart = {text for text in {*one} ^ {*other} if text.startswith(("trainer.max_steps", "data.factors"))}
        assert not same or told_apart, f"{one} and {other} compute the same"


# The page


def test_the_page_is_up_to_date():
    page = Path(__file__).parents[1] / "docs" / "paper_rows.md"
    assert page.read_text() == paper_rows.page(), "run: python -m contextseg.papers.rows > docs/paper_rows.md"
