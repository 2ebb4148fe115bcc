"""The recipes in conf/experiment: each is run on a tiny tree of its data set, and composed with its true backbone."""

import math
import re
from functools import cache
from pathlib import Path

import fake_trees
import pytest
import torch
from omegaconf import OmegaConf
from torch._subclasses import FakeTensorMode

from contextseg import parts
from contextseg.commands.complexity.recipes import MARK, Memory, cells, memory
from contextseg.commands.compose import compose
from contextseg.commands.train.command import train as fit
from contextseg.conf import CONF
from contextseg.engine import build
from contextseg.errors import ConfigError

FILES = sorted((CONF / "experiment").glob("*/*.yaml"))
RECIPES = [str(path.relative_to(CONF / "experiment").with_suffix("")) for path in FILES]
QUICK = {"cpnet/cityscapes_r101"}
CE2P = {"ccnet/lip_r101": "rcca", "official/ocr_lip_r101": "ocr"}  # recipes of other papers with its head
PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"

# What makes a run of a recipe short: a small backbone and head, two steps of four images.
SHORT = ("backbone=tiny", "backbone.weights=none", "width=16", "data.batch_size=4", "data.num_workers=0", "trainer=cpu")
SHORT += ("trainer.precision=32", "trainer.sync_batchnorm=false", "trainer.max_steps=2", "trainer.val_every_steps=null")
SHORT += ("trainer.save_every_steps=2", "trainer.log_every_steps=1", "callbacks.pictures.count=0", "~callbacks.context")
# What makes its images small, where it sets the option.
SMALL = {
    "data.transform.crop_size": "[48,64]",
    "data.transform.resize": "[48,48]",
    "data.transform.short_side": "48",
    "data.transform.long_side": "[32,128]",
    "eval.predictor.base_size": "64",
    "eval.predictor.inner.crop": "[48,64]",
}


def recipes(quick):
    """Parametrises a test over all recipes; those that are not among `quick` are slow."""
    marked = [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in RECIPES]
    return pytest.mark.parametrize("name", marked)


@cache
def recipe(name: str):
    """The configuration of a recipe, not to be changed."""
    return compose([f"experiment={name}"])


def shrunk(name: str) -> list[str]:
    """The overrides with which a recipe can be run in a test."""
    small = [f"{key}={value}" for key, value in SMALL.items() if OmegaConf.select(recipe(name), key) is not None]
    return [f"experiment={name}", *SHORT, *small]


@pytest.fixture
def run(tmp_path):
    """run(name, ...) -> the `Result` of two steps of a recipe on a tiny tree of its data set."""

    def start(name, *more):
        root = tmp_path / recipe(name).choices.data
        if not root.exists():
            fake_trees.build(root.name, root)
        return fit(compose([*shrunk(name), f"data.root={root}", f"paths.runs={tmp_path}/runs", *more]))

    return start


def starts(name: str) -> bool:
    """Whether a recipe goes on from another run."""
    return recipe(name).init_from == "RUN"


@recipes(QUICK)
def test_a_recipe_runs(name, run):
    more = [f"init_from={run(name, 'init_from=null').folder}"] if starts(name) else []
    result = run(name, *more)
    assert result.metrics["status"] == "finished"
    assert (result.metrics["steps"], result.metrics["protocol"]) == (2, recipe(name).choices.eval)
    assert 0 <= result.metrics["miou"] <= 100


@recipes(QUICK)
def test_a_recipe_composes_with_its_true_backbone(name):
    cfg = OmegaConf.merge(recipe(name), {"backbone": {"weights": "none"}})
    data = build.datamodule(cfg)
    {term: node.reads for term, node in build.loss(cfg).term.items()}
    with FakeTensorMode():
        network = build.network(cfg, data.classes)[0]
        crop = torch.empty(2, 3, *cfg.data.transform.crop_size, dtype=torch.uint8)
        output = network(crop)
    assert output.logits.shape[:2] == (2, len(data.classes))
    assert all(term.reads in {"logits", *output.extras} for term in build.loss(cfg).term.values())
    optimizer = build.instantiate(cfg.optim, "optim", model=network)
    assert {group["lr"] for group in optimizer.param_groups} == {cfg.optim.lr, cfg.optim.lr * cfg.optim.head_lr_mult}
    predictor = build.predictor(cfg.eval, network)
    windows = getattr(getattr(predictor, "inner", predictor), "crop", None)
    assert windows is None or list(windows) == list(cfg.data.transform.crop_size), "windows are of the training crop"


@recipes(QUICK)
def test_a_header_says_what_the_file_does(name):
    cfg, header = (
        recipe(name),
        " ".join(
            line[1:] for line in (CONF / "experiment" / f"{name}.yaml").read_text().splitlines() if line.startswith("#")
        ),
    )
    assert re.search(rf"(?:python src/train\.py|contextseg train) experiment={name}(?: init_from=RUN)?\s", header)
    assert ("init_from=RUN" in header) == starts(name)
    assert cfg.backbone.weights == ("none" if starts(name) else "imagenet")
    head = parts.index()[cfg.head._target_].rpartition(".")[2]
    if name in CE2P:
        assert (head, cfg.head.context) == ("ce2p", CE2P[name]), "the paper's context within CE2P"
    else:
        assert re.match(r"[a-z]+", head)[0] == re.search(r"(agln|ccnet|cpnet|ctnet|ocr)", name)[1]
        assert cfg.choices.head.endswith("_official") == name.startswith("official/")
    assert cfg.trainer.sync_batchnorm
    for epochs, images, batch, steps in re.findall(r"(\d+) epochs x ([\d,]+) images.*? / (\d+) = ([\d,]+)", header):
        images, steps = (int(number.replace(",", "")) for number in (images, steps))
        data = build.datamodule(cfg)
        assert images in data.counts[cfg.data.get("train_set", "train")]
        assert (int(batch), steps) == (cfg.data.batch_size, cfg.trainer.max_steps)
        assert steps == math.ceil(int(epochs) * images / int(batch))


def test_every_recipe_is_on_the_page():
    assert set(re.findall(r"`experiment=(\w+/\w+)", PAGE.read_text())) == set(RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agln/pcontext_r50", pytest.param("cpnet/ade20k_r50", marks=pytest.mark.slow)])
def test_the_memory_table_stands(name):
    (row,) = (line for line in PAGE.read_text().partition(MARK)[2].splitlines() if f"`{name}`" in line)
    assert [cell.strip() for cell in row.split("|")[2:-1]] == cells(recipe(name))


def test_the_most_images_divide_the_batch_and_stay_within_the_budget():
    need = Memory(fixed=10, image=3)
    assert need.of(4) == 22
    assert need.most(8, budget=34) == 8
    assert need.most(8, budget=33) == 4
    assert need.most(12, budget=31) == 6
    assert need.most(8, budget=12) is None


@pytest.mark.slow
def test_the_memory_of_a_batch_grows_by_the_image():
    """Against a batch of four, in which nothing is worked out: only counted."""
    cfg = compose([*shrunk("ocr/pcontext_r101"), "backbone.output_stride=8"])
    four, need = memory(cfg, count=4), memory(cfg)
    assert four.fixed == need.fixed
    assert four.image == pytest.approx(need.image, rel=0.02)


# init_from


@pytest.mark.slow
def test_the_chain_of_voc(run):
    """trainaug, then train and val from its weights: the first step of the second is computed from them."""
    first = run("ctnet/voc2012_r101")
    with pytest.raises(ConfigError, match="init_from=RUN: no such run; give the folder of the run to start from"):
        run("ctnet/voc2012_r101_finetune")
    weights = {name: value.clone() for name, value in first.module.segmenter.state_dict().items()}
    still = [f"init_from={first.folder}", "optim.lr=1e-30", "frozen_batch_norm=true"]
    second = run("ctnet/voc2012_r101_finetune", *still)
    assert all(torch.equal(value, weights[name]) for name, value in second.module.segmenter.state_dict().items())
    assert second.metrics["steps"] == 2, "its schedule starts anew"
    assert len(second.datamodule.source("train")) == 6
    assert second.module.train_images.unique(dim=0).shape == (4 + 4 + 2, 8), "those of the first stage too"
    assert second.module.config["init_from"] == str(first.folder)
    assert second.folder.parent.name == "ctnet_resnet101_voc2012_finetune"


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_own_weights(run):
    first = run("ocr/lip_r101")
    more = [f"init_from={first.folder / 'checkpoints/last.ckpt'}", "name=second"]
    second = run("ocr/lip_r101", *more)
    (first.folder / "checkpoints/last.ckpt").unlink()
    again = run("ocr/lip_r101", *more, f"resume={second.folder}", "trainer.max_steps=3")
    assert again.metrics["steps"] == 3
    assert torch.equal(again.module.train_images, second.module.train_images)


def test_a_start_that_does_not_fit_is_refused(run, tmp_path):
    first = run("ocr/lip_r101").folder
    for more, message in {
        (
            "init_from=nowhere",
        ): r"init_from=nowhere: no such run; give the folder of the run to start from, or a \.ckpt",
        (f"init_from={tmp_path}",): r"init_from=.*/checkpoints/last\.ckpt: no such file",
        (f"init_from={first / 'config.yaml'}",): r"init_from=.*config\.yaml: cannot be read",
        (f"init_from={first}", "width=8"): r"init_from=.*: its network differs in \d+ weights, first head\.",
        (f"init_from={first}", "head=fcn"): r"\(8x16x1x1 there, none here\); choose head",
    }.items():
        with pytest.raises(ConfigError, match=message):
            run("ocr/lip_r101", *more)


@pytest.mark.slow
def test_a_start_on_other_classes_gives_all_but_what_depends_on_them(run, caplog):
    first = run("ocr/lip_r101")
    caplog.set_level("INFO")
    run("ocr/pcontext_r101", f"init_from={first.folder}")
    said = (
        "all weights but the 4 that depend on the classes, which are others (20 of lip there, 59 of pascal_context_59"
    )
    assert said in caplog.text
