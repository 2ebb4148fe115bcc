"""`faithfulness`: two networks of two heads on the same pixels, from the command line to the files."""

import csv
import json

import numpy as np
import pytest
from harness import call
from PIL import Image

GOLDEN = "tests/golden"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faithful")
    files = f"ckpt=[{GOLDEN}/format2_ocr.ckpt,{GOLDEN}/format1_ccnet_official.ckpt]"
    settings = ["split=test", "images=3", "pixels=2", "steps=3", "device=cpu", "resamples=100"]
    code, said = call("faithfulness", files, f"output={folder}", *settings)
    assert code == 0, said
    return folder, said


def test_numbers_of_all_files_agree(written):
    folder, said = written
    numbers = json.loads((folder / "faithfulness.json").read_text())
    assert len(numbers["images"]) == 3
    assert list(numbers["networks"]) == ["format2_ocr", "format1_ccnet_official"]
    with (folder / "faithfulness.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, orders in numbers["networks"].items():
        assert list(orders) == ["attention", "gradient", "nearest", "random"]
        for order, curves in orders.items():
            for curve, one in curves.items():
                score = np.array(one["score"])[:, 0]
                assert one["area"][0] == pytest.approx(np.trapezoid(score, numbers["shares"]), abs=2e-3)
                assert one["area"][0] == pytest.approx(np.mean(one["area_by_image"]), abs=2e-3)
                (row,) = [
                    row
                    for row in rows
                    if (row["network"], row["curve"], row["order"]) == (name, curve, order) and not row["less"]
                ]
                assert float(row["area"]) == one["area"][0]
        less = [row for row in rows if row["network"] == name and row["order"] == "attention" and row["less"]]
        assert len(less) == 2 * 3
        for row in less:
            apart = orders["attention"][row["curve"]]["area"][0] - orders[row["less"]][row["curve"]]["area"][0]
            assert float(row["area"]) == pytest.approx(apart, abs=3e-3)
    assert "3 images, 2 pixels of each, up to 18 passes a pixel" in said
    assert Image.open(folder / "faithfulness.png").size[0] > 500


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["output=x.png"], "output=x.png: several files are written; give a folder"),
        (["steps=1"], "steps=1: give a whole number, 2 or more"),
        (["masking=black"], "masking=black: give one of mean, blur"),
        (["spare=99"], "spare=99 with patch=16: nothing of the image is left to be masked"),
        (["data=camvid", "data.root=nowhere"], "data=camvid has classes sky,"),
    ],
)
def test_mistakes_are_refused_in_words(tmp_path, words, message):
    given = {word.partition("=")[0] for word in words}
    words = [*words, *([] if "output" in given else [f"output={tmp_path / 'found'}"])]
    code, said = call("faithfulness", f"ckpt={GOLDEN}/format2_ocr.ckpt", "images=1", *words)
    assert code == 2
    assert message in said.replace("\n", "")
    assert not (tmp_path / "found").exists()
