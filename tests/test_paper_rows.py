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

from contextseg import build, paper_rows
from contextseg.config import compose

TABLES = {table["table"]: [row for row in table["rows"] if "overrides" in row] for table in paper_rows.tables()}
WHOLE = {"output_stride": 32, "stages": 4}
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
    """Logits and loss of a configuration on a small backbone and fixed images, with weights that depend on their names
    alone."""
    cfg = compose([*overrides, "width=16", "data.size=80"])
    cfg.backbone = small_backbone(cfg.backbone.output_stride)
    criterion = build.loss(cfg)
    recipe = build.recipe(cfg, build.datamodule(cfg).classes)
    network = build.segmenter(recipe, {name: term.reads for name, term in criterion.term.items()})
    for name, parameter in network.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        torch.nn.init.normal_(parameter, std=math.prod(parameter.shape[1:]) ** -0.5, generator=generator)
    for module in network.modules():
        if isinstance(module, _NormBase):
            torch.nn.init.ones_(module.weight)
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 3, 80, 80), dtype=torch.uint8, generator=generator)
    mask = torch.randint(0, 12, (2, 10, 10), dtype=torch.uint8, generator=generator)
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


def test_the_page_is_up_to_date():
    page = Path(__file__).parents[1] / "docs" / "paper_rows.md"
    assert page.read_text() == paper_rows.page(), "run: python -m contextseg.paper_rows > docs/paper_rows.md"
