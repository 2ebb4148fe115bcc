"""`attention_statistics`: from the command line to the files, for one network with two kinds of attention or more."""

import csv
import json

import numpy as np
import pytest
from harness import call
from PIL import Image

from contextseg.checkpoint import load_checkpoint

GOLDEN = "tests/golden"


@pytest.mark.slow
@pytest.mark.parametrize("classes", ["prediction", "truth"])
def test_numbers_of_all_files_agree(tmp_path, classes):
    files = f"ckpt=[{GOLDEN}/format2_ocr.ckpt,{GOLDEN}/format1_ccnet_official.ckpt]"
    settings = ["split=test", "images=3", f"classes={classes}", "device=cpu", "resamples=100"]
    code, said = call("attention_statistics", files, f"output={tmp_path}", *settings)
    assert code == 0, said
    numbers = json.loads((tmp_path / "attention_statistics.json").read_text())
    assert len(numbers["images"]) == 3
    assert list(numbers["attention"]) == ["format2_ocr", "format1_ccnet_official"]
    with (tmp_path / "attention_statistics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, one in numbers["attention"].items():
        value = {row["number"]: float(row["value"]) for row in rows if row["attention"] == name and not row["from"]}
        for number in ("distance", "uniform", "relative", "entropy"):
            assert value[number] == pytest.approx(one[number][0], rel=1e-3)
            low, high = one[number][1:]
            assert low <= one[number][0] <= high
        assert 0 < one["entropy"][0] <= 100
        assert one["relative"][0] == pytest.approx(100 * one["distance"][0] / one["uniform"][0], rel=0.01)
        assert sum(one["available"]) == pytest.approx(100, abs=0.1)
        taken = np.array(one["taken"], dtype=float)
        known = ~np.isnan(taken[:, 0])
        assert known.any()
        sums = taken[known].sum(1)  # true labels have some void, which is of no class
        assert (sums < 100.1).all()
        assert (sums > (99.9 if classes == "prediction" else 90)).all()
    assert f"| format2_ocr | {numbers['attention']['format2_ocr']['distance'][0]:.0f} |" in said
    assert Image.open(tmp_path / "attention_statistics.png").size[0] > 500


def test_networks_without_attention_are_refused(tmp_path, monkeypatch):
    def without(recipe, path):
        network = load_checkpoint(path)
        monkeypatch.setattr(type(network.head), "attends", lambda *_: {})
        return network

    monkeypatch.setattr("contextseg.commands.inspection.subjects.restore", without)
    code, said = call("attention_statistics", f"ckpt={GOLDEN}/format2_ocr.ckpt", "images=1", f"output={tmp_path}/x")
    assert code == 2
    assert "no head with attention between places" in said
    assert not (tmp_path / "x").exists()


def test_heads_of_clips_are_refused(tmp_path, monkeypatch):
    def of_clips(recipe, path):
        network = load_checkpoint(path)
        network.head.frames = 5
        return network

    monkeypatch.setattr("contextseg.commands.inspection.subjects.restore", of_clips)
    for command in ("attention_statistics", "faithfulness"):
        code, said = call(command, f"ckpt={GOLDEN}/format2_ocr.ckpt", "images=1", f"output={tmp_path}/x")
        assert code == 2
        assert "takes clips; give a network of images" in said.replace("\n", " ")
        assert not (tmp_path / "x").exists()
