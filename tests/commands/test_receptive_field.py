"""`receptive_field`: from the command line to the files."""

import csv
import json

import pytest
from harness import call
from PIL import Image
from selected import slow

GOLDEN = "tests/golden"
FILES = f"ckpt=[{GOLDEN}/format2_ocr.ckpt,{GOLDEN}/format1_ccnet_official.ckpt]"


@pytest.mark.slow
@pytest.mark.parametrize("settings", [["radii=[8,200]"], slow(["noise=true", "point=[40,60]"])])
def test_numbers_of_all_files_agree(tmp_path, settings):
    code, said = call(
        "receptive_field", FILES, f"output={tmp_path}", "images=2", "device=cpu", "resamples=100", *settings
    )
    assert code == 0, said
    numbers = json.loads((tmp_path / "receptive_field.json").read_text())
    assert len(numbers["images"]) == 2
    assert list(numbers["networks"]) == ["format2_ocr", "format1_ccnet_official"]
    with (tmp_path / "receptive_field.csv").open() as file:
        rows = list(csv.DictReader(file))
    radii = numbers["settings"]["radii"]
    for name, one in numbers["networks"].items():
        value = {row["number"]: float(row["value"]) for row in rows if row["network"] == name}
        shares = [f"within_{radius}" for radius in radii]
        assert list(value) == ["radius_50", "radius_90", *shares, "box_width", "box_height"]
        for number in ("radius_50", "radius_90", *shares):
            assert value[number] == pytest.approx(one[number][0], rel=1e-3)
            low, high = one[number][1:]
            assert low <= one[number][0] <= high
        assert 0 < value["radius_50"] < value["radius_90"]
        assert value[shares[0]] < value[shares[-1]] == pytest.approx(100)  # the images are 96 x 96
        assert 8 <= value["box_width"] <= 96
    assert f"| format2_ocr | {numbers['networks']['format2_ocr']['radius_50'][0]:.0f} |" in said
    assert Image.open(tmp_path / "receptive_field.png").size[0] > 500


@pytest.mark.slow
def test_images_without_a_field_are_left_out(tmp_path, monkeypatch):
    from contextseg.commands.receptive_field import command

    found, seen = command.receptive_field, []
    monkeypatch.setattr(
        command, "receptive_field", lambda *it: seen.append(it) or (found(*it) if len(seen) > 1 else None)
    )
    settings = [f"ckpt={GOLDEN}/format2_ocr.ckpt", f"output={tmp_path}/one", "device=cpu", "resamples=100"]
    code, said = call("receptive_field", *settings, "images=2")
    assert code == 0, said
    assert "in 1 of 2 images the score depends on no pixel" in " ".join(said.split())
    numbers = json.loads((tmp_path / "one/receptive_field.json").read_text())["networks"]["format2_ocr"]
    assert 0 < numbers["radius_50"][0] < 96
    monkeypatch.setattr(command, "receptive_field", lambda *it: None)
    code, said = call("receptive_field", *settings, "images=1")
    assert code == 2
    assert "depends on none of the image" in said


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["point=[96,3]"], "point=[96, 3] lies outside the image"),
        (["point=[-1,3]"], "point"),
        (["radii=[]"], "radii"),
        (["output=x.png"], "give a folder"),
    ],
)
def test_mistakes_take_one_line(tmp_path, settings, reason):
    code, said = call("receptive_field", FILES, f"output={tmp_path}/x", "images=1", *settings)
    assert code == 2, said
    assert reason in said.replace("\n", " ")
    assert not (tmp_path / "x").exists()
