"""Comparison of networks: the numbers by hand, regions, chosen images, and what the command writes."""

import csv
import re

import numpy as np
import pytest
import torch
from harness import call, last_checkpoint

from contextseg.classes import ClassSet
from contextseg.commands.compare import choose
from contextseg.commands.compare.command import compare, named
from contextseg.commands.compare.draw import changed, panel, with_boxes
from contextseg.commands.compare.predictions import Predictions
from contextseg.commands.compare.regions import GAINED, LOST, Region, regions
from contextseg.commands.compose import compose
from contextseg.errors import ConfigError

VOID = 255
CLASSES = ClassSet("three", ("a", "b", "c"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


@pytest.fixture
def found():
    """Three images of 4 pixels by two networks: the second gains two pixels, loses one, and changes nothing."""
    made = Predictions(["one", "two"], 3)
    made.add(5, "x", *labels([0, 0, 1, VOID], [1, 1, 1, 0], [0, 0, 2, 1]))
    made.add(7, "y", *labels([2, 2, 2, 2], [2, 2, 0, 0], [2, 0, 0, 0]))
    made.add(9, "z", *labels([1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]))
    return made


def labels(truth, *predictions):
    """A mask (2, 2), and a list of such predictions."""
    first, *others = (np.array(one, np.uint8).reshape(2, 2) for one in (truth, *predictions))
    return first, others


def test_numbers_by_hand(found):
    assert found.changed(1).tolist() == [[2, 1], [0, 1], [0, 0]]
    assert found.pixels.tolist() == [3, 4, 4]
    assert found.accuracy(0) == pytest.approx([100 / 3, 50, 100])
    assert found.accuracy(1) == pytest.approx([200 / 3, 25, 100])
    # x by two: a 2/2, b 0/1, c 0/1; y by two: a 0/3, c 1/4
    assert found.miou(1) == pytest.approx([100 / 3, 12.5, 100])
    assert found.counts[0].confusion.tolist() == [[0, 2, 0], [0, 5, 0], [2, 0, 2]]
    truth, *others = found.labels(0)
    assert [one.ravel().tolist() for one in (truth, *others)] == [[0, 0, 1, VOID], [1, 1, 1, 0], [0, 0, 2, 1]]


def test_chosen_images_by_hand(found):
    assert (choose.gains(found, 1, 5), choose.losses(found, 1, 5)) == ([0], [1]), "z changes nothing"
    assert choose.extremes(found, 1, 5) == ([1], [2])
    worst = choose.confused(found, 2)
    assert [(one.truth, one.prediction, one.pixels, one.network, one.image) for one in worst] == [
        (2, 0, [2, 3], 1, 1),
        (0, 1, [2, 0], 0, 0),
    ]


def test_regions_are_connected_of_one_class_and_thick():
    truth, first = np.zeros((40, 60), np.uint8), np.full((40, 60), 2, np.uint8)
    truth[:, 30:], truth[30:] = 1, VOID
    other = first.copy()
    other[2:8, 4:9] = 0  # gained: 30 pixels
    other[9:12, 28:33] = truth[9:12, 28:33]  # gained: two classes, 6 and 9 pixels
    other[32:38, 2:9] = 0  # void
    first[20:24, 40:50] = 1  # lost: 40 pixels
    found = regions(truth, first, other, least=0.3)
    assert found == [
        Region(LOST, (40, 20, 10, 4), 40, 1, 1, 2),
        Region(GAINED, (4, 2, 5, 6), 30, 0, 2, 0),
        Region(GAINED, (30, 9, 3, 3), 9, 1, 2, 1),
    ]
    assert len(regions(truth, first, other, least=0)) == 4
    large = [np.kron(one, np.ones((9, 9), np.uint8)) for one in (truth, first, other)]
    large[2][:270, 500] = large[0][:270, 500]  # a strip of one pixel
    assert [one.pixels for one in regions(*large, least=0)] == [81 * 40, 81 * 30, 81 * 9, 81 * 6]


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_a_panel_shows_the_prediction_of_every_network(networks):
    image, names = np.zeros((90, 120, 3), np.uint8), [f"network {n}" for n in range(networks)]
    each = [np.full((90, 120), n % 3, np.uint8) for n in range(1 + networks)]
    drawn = panel(image, each, names, 1, CLASSES, [])
    tiles = [(drawn == colour).all(-1).sum() / (480 * 360) for colour in CLASSES.palette]
    assert [round(share) for share in tiles] == [sum(n % 3 == k for n in range(1 + networks)) for k in range(3)]


def test_colours_of_a_change_and_boxes():
    truth, (first, other) = labels([0, 1, 2, VOID], [0, 0, 2, 1], [0, 1, 0, 1])
    picture = changed(truth, first, other)
    assert [picture[0, 1].tolist(), picture[1, 0].tolist(), picture[1, 1].tolist()] == [
        [20, 105, 235],
        [235, 95, 0],
        [255, 255, 255],
    ]
    for kind in (GAINED, LOST):
        tile = with_boxes(np.zeros((60, 90, 3), np.uint8), [Region(kind, (0, 0, 30, 20), 600, 0, 1, 0)], 2.0)
        assert tile.shape == (60, 90, 3)
        assert tile.any()


def test_names():
    heads = [{"config": {"choices": {"head": head}}} for head in ("fcn", "ocr", "ocr")]
    assert named(heads) == ["fcn", "ocr 1", "ocr 2"]


@pytest.fixture
def files(trained, tmp_path):
    """The checkpoint of a run, and one of other weights."""
    contents = last_checkpoint(trained.folder)
    for name in ("a", "b"):
        torch.manual_seed(ord(name))
        weights = {
            key: torch.randn_like(value) if key.endswith("head.classifier.weight") else value
            for key, value in contents["state_dict"].items()
        }
        torch.save(contents | {"state_dict": weights}, tmp_path / f"{name}.ckpt")
    return [tmp_path / "a.ckpt", tmp_path / "b.ckpt"]


def test_the_command_writes_a_page_and_tables(files, tmp_path):
    words = [f"ckpts=[{files[0]},{files[1]}]", "images=4", "count=1", f"output={tmp_path}/out", "device=cpu"]
    folder = compare(compose([*words, "names=[one,two]"], "compare"))
    page = (folder / "compare.html").read_text()
    assert "http" not in re.sub(r"data:image/\w+;base64,[\w+/=]+", "", page)
    assert "two against one" in page
    assert page.index("Where two beats one") < page.index("Where one beats two")
    assert page.count("data:image/") == len(list((folder / "pictures").iterdir())) >= 6
    sections = [part for part in page.split("<h2")[1:] if "<div class=panel>" in part]
    assert len(sections) >= 5
    for part in sections:  # the colours are explained before the first picture that has them
        assert part.index("gained: two is right, one is wrong") < part.index("<div class=panel>")
    with (folder / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        gained, lost, pixels = (int(row[key]) for key in ("gained_two", "lost_two", "pixels"))
        apart = float(row["pix_acc_two"]) - float(row["pix_acc_one"])
        assert apart == pytest.approx(100 * (gained - lost) / pixels, abs=1e-3)
    assert {path.name for path in folder.glob("*.csv")} == {
        f"{name}.csv" for name in ("images", "regions", "classes", "confusion")
    }


def test_counts_are_those_of_evaluate(trained, files, tmp_path):
    """Of the checkpoint as it is, on the images that its training scored."""
    ckpt = trained.folder / "checkpoints/last.ckpt"
    folder = compare(
        compose([f"ckpts=[{ckpt},{files[0]}]", f"output={tmp_path}/out", "names=[one,two]", "count=1"], "compare")
    )
    confusion = np.load(trained.folder / "confusion.npz")
    found = np.zeros_like(confusion["confusion"])
    names = confusion["names"].tolist()
    with (folder / "confusion.csv").open() as file:
        for row in csv.DictReader(file):
            found[names.index(row["truth"]), names.index(row["prediction"])] = int(row["pixels_one"])
    assert np.array_equal(found, confusion["confusion"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ckpts=[{a}]"], "ckpts="),
        (["ckpts=[{a},none.ckpt]"], "ckpts=none.ckpt: no such file"),
        (["ckpts=[{a},{b}]", "names=[x]"], "names=[x]: give 2 different names, one for each of ckpts"),
        (["ckpts=[{a},{b}]", "names=[x,x]"], "names=[x,x]: give 2 different names"),
        (["ckpts=[{a},{b}]", "data=camvid", "data.root=none"], "was trained for"),
    ],
)
def test_mistakes_take_one_line(files, tmp_path, words, said):
    given = [word.format(a=files[0], b=files[1]) for word in words]
    code, text = call("compare", *given, f"output={tmp_path}/out")
    assert (code, said in text.replace("\n", "")) == (2, True), text
    assert not (tmp_path / "out").exists()


def test_other_classes_are_refused(files):
    contents = torch.load(files[1], weights_only=True)
    classes = contents["recipe"]["classes"]
    contents["recipe"] |= {"classes": classes | {"names": classes["names"][::-1]}}
    torch.save(contents, files[1])
    with pytest.raises(ConfigError, match=r"was trained for"):
        compare(compose([f"ckpts=[{files[0]},{files[1]}]"], "compare"))


def test_of_some_frames_of_a_video_fewer_hang_together(files, tmp_path, monkeypatch):
    """Intervals as of independent images would be too narrow."""

    class Stop(Exception):
        pass

    def stop(*_, block):
        raise Stop(block)

    monkeypatch.setattr("contextseg.datamodules.context_scenes.ContextScenes.block", 4)
    monkeypatch.setattr("contextseg.commands.compare.command.Predictions", stop)
    words = [f"ckpts=[{files[0]},{files[1]}]", "images=4", f"output={tmp_path}/out", "device=cpu"]
    with pytest.raises(Stop) as stopped:
        compare(compose(words, "compare"))
    assert stopped.value.args == (2,)  # of eight images in the split
