"""PASCAL-Context's numbers: 59 classes, 60 classes, and EncNet's 59/60; each under its own name."""

import io
import json

import fake_trees
import numpy as np
import pytest
import torch
from rich.console import Console

from contextseg import viz
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.commands.evaluate.command import evaluate
from contextseg.commands.train.command import train as fit
from contextseg.errors import ConfigError
from contextseg.metrics import scores

OTHER = {59: "miou_59_of_60", 60: "miou_without_background"}
SMALL = ("experiment=none", "data=pascal_context", "head=fcn", "width=16", "data.batch_size=2", "data.num_workers=0")
SMALL += ("data.transform.crop_size=[32,32]", "trainer=cpu", "trainer.precision=32", "trainer.max_steps=1")
SMALL += ("trainer.log_every_steps=1", "callbacks.pictures.count=0", "~callbacks.context")


def confusion(classes):
    return np.random.default_rng(0).integers(0, 50, (classes, classes))


def plain_ious(counts):
    return [100 * counts[k, k] / (counts[k].sum() + counts[:, k].sum() - counts[k, k]) for k in range(len(counts))]


def test_the_rescaling_of_encnet_is_the_background_as_a_class_of_zero():
    counts = confusion(59)
    result = scores(counts, class_set("pascal_context_59"))
    assert result["miou"] == pytest.approx(np.mean(plain_ious(counts)))
    assert result["miou_59_of_60"] == pytest.approx(np.mean([0, *plain_ious(counts)]))
    assert "miou_without_background" not in result


def test_encnets_own_two_numbers():
    """51.7 on 60 classes (EncNet's abstract, CTNet's Table 7) and 52.6 on 59 (AGLN's Table I)."""
    perfect = scores(torch.eye(59), class_set("pascal_context_59"))
    assert 52.6 * perfect["miou_59_of_60"] / 100 == pytest.approx(51.7, abs=0.05)


def test_with_60_classes_the_mean_without_background_stands_beside():
    counts = confusion(60)
    result = scores(counts, class_set("pascal_context_60"))
    assert result["miou"] == pytest.approx(np.mean(plain_ious(counts)))
    assert result["miou_without_background"] == pytest.approx(np.mean(plain_ious(counts)[1:]))
    assert "miou_59_of_60" not in result


def test_other_data_sets_have_one_miou():
    for name in ("ade20k", "voc2012", "camvid"):
        result = scores(confusion(len(class_set(name))), class_set(name))
        assert [key for key in result if "miou" in key] == ["miou"]


@pytest.mark.parametrize("protocol", [59, 60])
def test_a_run_says_which_protocol_its_miou_is_of(tmp_path, protocol):
    root = fake_trees.build("pascal_context", tmp_path / "data")
    given = (*SMALL, f"data.root={root}", f"paths.runs={tmp_path}/runs", f"data.protocol={protocol}")
    trained = fit(compose(given))
    checkpoint = trained.folder / "checkpoints/last.ckpt"
    (again,) = evaluate(compose([f"ckpt={checkpoint}", "eval=flip", f"paths.runs={tmp_path}/runs"], "evaluate"))
    other_name, absent = OTHER[protocol], OTHER[119 - protocol]
    for run in (trained, again):
        written = json.loads((run.folder / "metrics.json").read_text())
        assert written["class_set"] == f"pascal_context_{protocol}"
        assert len(written["iou"]) == protocol
        assert written[other_name] == pytest.approx(run.metrics[other_name], abs=1e-4)
        assert absent not in written
    console = Console(width=80, file=io.StringIO())
    console.print(viz.per_class_table(again.module.scores, again.module.segmenter.classes))
    said = console.file.getvalue()
    assert f"pascal_context_{protocol}, percent" in said
    assert f"{again.metrics[other_name]:.1f}" in next(line for line in said.splitlines() if other_name in line)
    other = [f"ckpt={checkpoint}", "data=pascal_context", f"data.root={root}", f"data.protocol={119 - protocol}"]
    with pytest.raises(ConfigError, match="was trained for"):
        evaluate(compose([*other, f"paths.runs={tmp_path}/runs"], "evaluate"))
