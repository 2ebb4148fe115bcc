"""Costs beside scores in `report`, on the records of real runs: of version 0.1.0, and of a frozen backbone."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness import subprocess_environment
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from contextseg.commands.complexity import timing
from contextseg.commands.compose import options
from contextseg.commands.report import costs, pareto
from contextseg.commands.report.command import report
from contextseg.commands.report.labels import place_labels
from contextseg.commands.report.scored import scored
from contextseg.errors import ConfigError
from contextseg.runs.store import find

RESULTS = Path(__file__).parents[2] / "docs/results"
OLD = {"fcn": "ablations/ccnet_t2/fcn", "ccnet": "ablations/ccnet_t2/ccnet_r_2", "ocr": "ablations/ocr_t1/ocr"}
HOW = timing.Times([], 1.0, 5, "a machine, 1 thread")


@pytest.fixture
def old(tmp_path):
    """old("fcn", seed, ...): a run folder of version 0.1.0 in tmp_path, with other settings if they are given."""

    def make(name, seed=0, **settings):
        folder = tmp_path / f"{name}_{len(list(tmp_path.iterdir()))}"
        shutil.copytree(RESULTS / f"{OLD[name]}_s{seed}", folder)
        config = yaml.safe_load((folder / "config.yaml").read_text()) | {"row": None}
        for key, value in settings.items():
            part, _, name = key.partition("__")
            config[part] = config[part] | {name: value} if name else value
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


@pytest.fixture
def untimed(monkeypatch):
    """No forward pass is run: the n-th network takes n ms. Returns the networks of the last measurement."""
    networks = []

    def in_turn(given, size):
        networks[:] = given
        return timing.Times([float(n + 1) for n in range(len(given))], 1.0, 5, "a machine, 1 thread")

    monkeypatch.setattr(costs, "in_turn", in_turn)
    return networks


def made(tmp_path, *overrides):
    """The table of costs, as rows by configuration, and the page."""
    given = [f"runs={tmp_path}", "tables=[ocr_t1]", "costs=[32,32]", "resamples=100", *overrides]
    folder = report(options(given, "report"))
    page = (folder / "statistics.md").read_text().partition("## Costs")[2]
    lines = [re.split(r" ?\| ?", line)[1:-1] for line in page.splitlines() if line.startswith("|")]
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}, page, folder


@pytest.mark.slow
def test_costs_stand_beside_scores(old, untimed, tmp_path):
    """Networks that are the same are timed once; seeds are one row; names of version 0.1.0 are read."""
    for seed in range(3):
        old("fcn", seed)
    old("fcn", optim__lr=0.5)
    old("ocr")
    found, page, folder = made(tmp_path)
    assert len(untimed) == 2
    first, other, ocr = found["fcn, lr=0.003"], found["fcn, lr=0.5"], found["ocr"]
    assert first["mIoU, context_scenes val, ss"] == "62.46 ± 0.49"
    score = "mIoU, context_scenes val, ss"
    assert {name: cell for name, cell in first.items() if name not in ("configuration", score)} == {
        name: cell for name, cell in other.items() if name not in ("configuration", score)
    }
    assert (first["parameters, M"], ocr["parameters, M"]) == ("0.22", "0.24")
    assert first["of these trained, M"] == "0.22"
    assert (first["forward, ms"], ocr["forward, ms"]) == ("1.00", "2.00")
    assert "note" not in first
    assert "images of 32x32" in page
    assert "this machine (a machine, 1 thread): the median of 5 passes" in page
    assert "a batch of 8" in page
    assert "![mIoU and cost: context_scenes val, ss](pareto_context_scenes_val_ss.png)" in page
    assert (folder / "pareto_context_scenes_val_ss.png").is_file()
    assert (folder / "report.html").read_text().count("data:image/png") == 1


@pytest.mark.parametrize("name", OLD)
def test_the_network_is_that_of_the_run(old, untimed, tmp_path, name):
    """Its parameters were counted when it was trained, and stand in metrics.json."""
    folder = old(name)
    (one,) = scored(find(tmp_path))
    options = costs.saved_options(one)
    _, cost = costs.counted(options, costs.class_count(one), (32, 32), {})
    assert sum(cost.parameters.values()) == json.loads((folder / "metrics.json").read_text())["parameters"]


def test_a_frozen_backbone_is_not_trained(old, untimed, tmp_path):
    old("fcn", backbone__freeze=True)
    found, _, _ = made(tmp_path)
    assert (found["fcn"]["parameters, M"], found["fcn"]["of these trained, M"]) == ("0.22", "0.06")


@pytest.mark.slow
def test_neither_data_nor_weights_are_needed(untimed, tmp_path):
    """Both are named by the run, and not there."""
    place = tmp_path / "run"
    place.mkdir()
    for end, name in ((".yaml", "config.yaml"), ("_s0.json", "metrics.json")):
        shutil.copy(RESULTS / f"real_images/camvid_frozen_os16_fcn{end}", place / name)
    found, page, _ = made(tmp_path, "least_steps=1", "costs=[64,64]")
    assert (found["fcn"]["parameters, M"], found["fcn"]["of these trained, M"]) == ("3.33", "0.37")
    assert "![" not in page, "one configuration is no picture"


@pytest.mark.slow
def test_rows_without_costs_say_why(old, untimed, tmp_path):
    tied = {"_target_": "CPNetHead", "crop_size": [64, 64], "channels": 16}
    mine = {"_target_": "my_package.Head"}
    old("fcn", head=tied, choices__head="cpnet")
    old("fcn", head=mine, choices__head="mine")
    old("fcn", loss=None, choices__head="lossless")
    file = old("ccnet", data__batch_size=2) / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"iou": None}))
    old("ocr")
    old("ocr", data__batch_size=4)
    found, _, _ = made(tmp_path)
    notes = {name: row["note"] for name, row in found.items()}
    assert notes["cpnet"] == "no costs: its head takes images of 64x64 only; give costs=[64,64]"
    assert "its head is my_package.Head, no part of contextseg" in notes["mine"]
    assert notes["lossless"] == "no costs: its config.yaml has no loss"
    assert notes["ccnet"].startswith("no costs: metrics.json has no IoU by class")
    assert {notes[name] for name in notes if name.startswith("ocr")} == {"batches of 8", "batches of 4"}
    assert found["cpnet"]["parameters, M"] == found["cpnet"]["forward, ms"] == ""
    assert found["cpnet"]["mIoU, context_scenes val, ss"]


def test_without_the_option_there_are_no_costs_and_no_torch(old, tmp_path):
    old("fcn")
    folder = report(options([f"runs={tmp_path}", "tables=[ocr_t1]"], "report"))
    assert {path.name for path in folder.iterdir()} == {"runs.md", "report.html"}
    code = "import sys, contextseg.commands.report.command; print({'torch', 'lightning'} & sys.modules.keys())"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("given", ["[360]", "[0,480]", "360", "[360,480,3]"])
def test_a_size_is_two_numbers(tmp_path, given):
    with pytest.raises(ConfigError, match="costs="):
        options([f"runs={tmp_path}", f"costs={given}"], "report")


# Milliseconds


class Stub:
    """A network that is never run."""

    def to(self, device):
        return self

    def eval(self):
        return self


def test_networks_are_timed_in_turn(monkeypatch):
    """Every round has each of them once, in an order of its own; the first passes, which are slow, do not count."""
    networks, calls = [Stub() for _ in range(4)], []

    def milliseconds(network, image, mask):
        assert image.shape == (1, 3, 8, 12)
        calls.append(networks.index(network))
        rounds = (len(calls) - 1) // 4
        return 1000.0 if rounds == 0 else 10 * calls[-1] + rounds

    monkeypatch.setattr(timing, "milliseconds", milliseconds)
    monkeypatch.setattr(timing, "SECONDS", float("inf"))
    found = timing.in_turn(networks, (8, 12))
    rounds = [calls[start : start + 4] for start in range(0, len(calls), 4)]
    assert len(rounds) == 1 + timing.MOST == 1 + found.rounds
    assert all(sorted(each) == [0, 1, 2, 3] for each in rounds)
    assert len(set(map(tuple, rounds[1:]))) > 5
    assert found.medians == [11, 21, 31, 41]
    assert found.spread == pytest.approx(100 * 5 / 11)
    monkeypatch.setattr(timing, "SECONDS", -1)
    assert timing.in_turn(networks, (8, 12)).rounds == timing.FEWEST


def test_a_pass_is_timed(old, tmp_path):
    """As it is: on this machine, in real time."""
    old("fcn")
    found, page, _ = made(tmp_path)
    assert float(found["fcn"]["forward, ms"]) > 0
    assert re.search(r"this machine \(.+\): the median of \d+ passes", page)


# The picture


def test_the_front_is_what_nothing_beats():
    assert pareto.front([(3, 50), (1, 40), (2, 40), (2, 45), (4, 49), (3, 52)]) == [1, 3, 5]


def test_labels_are_short_where_they_can_be():
    names = ["heads/real/fcn", "heads/real/ocr (lr=1/2)", "other/psp", "heads/psp", "fcn_wide, lr=0.1"]
    assert pareto.without_tables(names) == ["fcn", "ocr (lr=1/2)", "other/psp", "heads/psp", "fcn_wide, lr=0.1"]


@pytest.mark.slow
def test_labels_of_a_crowd_do_not_overlap():
    figure = Figure(figsize=(4, 6), dpi=130)
    axis = figure.subplots()
    points = [(1 + 0.01 * (7 * i % 20), 1 + 0.01 * (3 * i % 20)) for i in range(20)]
    axis.plot(*zip(*points, strict=True), "o")
    texts = place_labels(axis, points, [f"label number {i}" for i in range(20)], ["black"] * 20)
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in texts]
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(20) for j in range(i))
    panel = axis.get_window_extent()
    assert all(panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1 for box in boxes)
    place_labels(axis, points[:1], ["far too long for the panel " * 5], ["black"])


def test_there_is_a_picture_for_each_place(tmp_path, old):
    """Its labels tell the configurations in it apart, no others; pictures of an earlier report are gone."""
    for lr in (0.1, 0.2):
        old("fcn", optim__lr=lr)
        old("ocr", optim__lr=lr)
    old("ccnet", choices__data="camvid")
    found = scored(find(tmp_path))
    some = [costs.Costs(one.name, n, n, n, n, 8, n) for n, one in enumerate(found, 1)]
    measured = costs.Measured([*some, costs.Costs("none", fault="why")], (32, 32), HOW)
    (tmp_path / "pareto_gone_val_ss.png").touch()
    drawn = pareto.draw(found, measured, tmp_path)
    assert [path.name for path in drawn.values()] == ["pareto_context_scenes_val_ss.png"]
    assert [path.name for path in tmp_path.glob("*.png")] == ["pareto_context_scenes_val_ss.png"]
    place = ("context_scenes", "val", "ss")
    one_rate = [one for one in found if not one.name.endswith("0.2")]
    assert {point.name for point in pareto.points_at(place, found, measured)} > {"fcn, lr=0.1", "ocr, lr=0.2"}
    assert {point.name for point in pareto.points_at(place, one_rate, measured)} == {"fcn", "ocr"}
