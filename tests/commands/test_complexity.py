"""What networks cost: the counters on sums done by hand, the papers' tables, the command."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from harness import call
from selected import quick
from torch import nn
from torch._subclasses import FakeTensorMode

from contextseg import create_model
from contextseg.commands.complexity import page, tables, text, timing
from contextseg.commands.complexity.command import complexity
from contextseg.commands.complexity.flops import conv_matmul, leaf_modules, leaf_outputs
from contextseg.commands.complexity.memory import peak_alive, saved_for_backward
from contextseg.commands.complexity.network import parameters
from contextseg.commands.compose import compose
from contextseg.commands.report.counted import counted as counted_costs
from contextseg.errors import ConfigError
from contextseg.layers.non_local import NonLocal
from contextseg.papers import rows as paper_rows

PAGE = Path(__file__).parents[2] / "docs" / "complexity.md"
MIB = 2**20


class Toy(nn.Module):
    """Two convolutions and a product of all pairs of pixels."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2))
        self.classifier = nn.Conv2d(8, 5, 1, bias=False)

    def forward(self, x):
        """(B, 3, h, w) -> (B, hw / 4, hw / 4)."""
        x = self.classifier(self.body(x)).flatten(2)
        return x.mT @ x


IMAGE = torch.zeros(1, 3, 4, 6)


def test_convolutions_and_products_at_two_per_multiply_add():
    flops = conv_matmul(Toy(), IMAGE)
    assert flops["body"] == flops["body.0"] == 2 * 24 * 8 * 27
    assert flops["classifier"] == 2 * 6 * 5 * 8
    assert flops[""] == flops["body"] + flops["classifier"] + 2 * 6 * 6 * 5


def test_modules_at_one_per_multiply_add():
    flops = leaf_modules(Toy().eval(), IMAGE)
    assert flops["body.0"] == 24 * 8 * (27 + 1)
    assert (flops["body.1"], flops["body.2"], flops["body.3"]) == (2 * 24 * 8, 24 * 8, 24 * 8)
    assert flops["classifier"] == 6 * 5 * 8
    assert flops[""] == flops["body"] + flops["classifier"]
    assert leaf_outputs(Toy().eval(), IMAGE) == 4 * (3 * 24 * 8 + 6 * 8 + 6 * 5)


def test_a_linear_layer_and_a_group_count_once():
    assert leaf_modules(nn.Linear(4, 3), torch.zeros(2, 4))[""] == 2 * 3 * (4 + 1)
    assert leaf_modules(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), torch.zeros(1, 4, 2, 2))[""] == 16 * 9


def test_bytes_saved_for_backward():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sigmoid(), nn.Conv2d(8, 2, 1), nn.ReLU())
    saved = saved_for_backward(network, IMAGE, parts=("1", "3"))
    assert saved == {"": 0, "1": 4 * 24 * 8, "3": 4 * 24 * 2}  # a convolution saves its input, which is there already


def test_bytes_alive_at_the_peak():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1), nn.ReLU(inplace=True), nn.Conv2d(16, 1, 1))
    assert peak_alive(network, IMAGE) == 4 * 24 * (8 + 16)


def test_attention_maps_count_as_stored():
    with FakeTensorMode():
        large = NonLocal(8).eval()
        assert peak_alive(large, torch.zeros(1, 8, 64, 64)) > 2 * 4 * 4096**2
    assert not large.non_local.stored


def test_fake_tensors_count_as_real_ones():
    def counts():
        network = create_model("ocr", num_classes=5, backbone="tiny", channels=16)
        image = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        saved = saved_for_backward(network.train(), image, parts=("backbone", "head"))
        network.eval()
        return saved, peak_alive(network, image), conv_matmul(network, image), leaf_modules(network, image)

    with FakeTensorMode():
        fake = counts()
    assert fake == counts()
    assert fake[0]["head"] > 0


# The papers' tables


NAMES = quick(tables.TABLES, ["ocr_t4", "ccnet_t2"])


@cache
def counted(name):
    return tables.counted(tables.TABLES[name])


@pytest.mark.parametrize("name", NAMES)
def test_one_percent_of_the_published_figure_but_where_the_note_explains(name):
    for line in counted(name):
        errors = {figure: line.error(figure) for figure in tables.FIGURES}
        off = {figure for figure, error in errors.items() if error is not None and abs(error) > 1}
        assert off == set(line.entry.differs), (line.entry.row, line.entry.variant, errors)
        assert line.entry.note or not off


def test_parameters_of_the_definitions_to_the_last_digit():
    found = {(line.entry.row, line.entry.variant): round(line.counted["params"] * 1e6) for line in counted("ocr_t4")}
    assert found["PPM", ""] == 23_073_792
    assert found["ASPP", ""] == 15_535_104
    assert found["CCNet", "released head"] == 23_924_353
    assert found["self-attention", ""] == 10_491_136
    assert found["OCR", ""] == 10_492_672


@pytest.mark.slow
def test_heads_that_do_not_exist_here_are_named():
    without = {line.entry.row for line in counted("ctnet_t3") if not line.counted}
    assert without == {"CFNet"}
    cells = text.compared(tables.TABLES["ctnet_t3"], counted("ctnet_t3"))
    assert [row[0] for row in cells if text.NO_HEAD in row[-1]] == ["CFNet"]


def test_the_memory_of_the_non_local_row_is_four_maps_of_all_pairs():
    pixels = 97 * 97
    assert 4 * (4 * pixels**2 + 2 * 64 * pixels + 3 * 512 * pixels) / MIB == pytest.approx(1411, rel=0.001)


def test_no_published_figure_has_two_homes():
    for name, table in tables.TABLES.items():
        here = {row["row"] for row in paper_rows.table(name)["rows"]}
        rows = {entry.row for entry in table.entries}
        beside = {row for row in rows if row not in here}
        assert all(table.row(row)["published"] for row in rows)
        assert here - rows <= {"FCN"}  # a baseline whose difference to itself is 0
        assert beside == {row["row"] for row in table.beside}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_what_is_counted(name):
    shown = text.markdown(text.compared(tables.TABLES[name], counted(name)))
    assert shown in PAGE.read_text(), "run: python -m contextseg.commands.complexity.page docs/complexity.md"


@pytest.mark.slow
def test_the_page_is_up_to_date():
    _, _, below = PAGE.read_text().partition(page.MARK)
    assert below.strip() == page.generated().strip(), (
        "run: python -m contextseg.commands.complexity.page docs/complexity.md"
    )


# Baselines

TRUNKS = {
    "resnet50": 23_508_032,
    "resnet50c": 23_527_264,
    "resnet50d": 23_527_264,
    "resnet50s": 23_631_808,
    "resnet101": 42_500_160,
    "resnet101c": 42_519_392,
    "resnet101s": 42_623_936,
    "hrnet_w48": 65_325_120,
}


@pytest.mark.parametrize("backbone", quick(TRUNKS, ["resnet50s", "resnet101"]))
def test_parameters_of_a_trunk(backbone):
    with torch.device("meta"):
        assert parameters(create_model("fcn", num_classes=2, backbone=backbone).backbone) == TRUNKS[backbone]


@pytest.mark.parametrize(
    ("classes", "count"), [(19, 52_071_891), (59, 52_092_411), (60, 52_092_924), (150, 52_139_094)]
)
def test_parameters_of_fcn_with_the_deep_stem(classes, count):
    with torch.device("meta"):
        assert parameters(create_model("fcn", num_classes=classes, backbone="resnet101s")) == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "count"), [(19, 65_859_379), (59, 65_888_219), (60, 65_888_940), (150, 65_953_830)]
)
def test_parameters_of_hrnet_alone(classes, count):
    settings = {"channels": 0, "kernel_size": 1, "bias": True, "dropout": 0.0}
    with torch.device("meta"):
        network = create_model("fcn", num_classes=classes, backbone="hrnet_w48", neck="concat", **settings)
    assert parameters(network) == count


# The command


def run(*overrides):
    given = ["backbone=tiny", "width=16", "size=[64,96]", *overrides]
    return complexity(compose(given, config_name="complexity"), given)


@pytest.mark.slow
def test_heads_side_by_side_are_written(tmp_path):
    found = run("heads=[ocr,fcn]", "classes=7", "loss=aux", f"output={tmp_path}")
    assert json.loads((tmp_path / "complexity.json").read_text()) == found
    ocr, fcn = found["networks"]
    assert (ocr["name"], fcn["name"]) == ("ocr", "fcn")
    assert set(ocr["parameters"]) == {"trunk", "head"}  # its coarse maps are what `aux` reads
    assert set(fcn["parameters"]) == {"trunk", "head", "aux"}
    for kind in ("parameters", "flops", "module_flops"):
        assert ocr[kind]["trunk"] == fcn[kind]["trunk"] > 0
    for network in (ocr, fcn):
        assert network["training"]["float32"]["trunk"] > network["training"]["bf16"]["trunk"] > 0
        assert set(network["training"]["bf16"]) == set(network["parameters"])
        assert network["inference"]["float32"] > 0
    assert (tmp_path / "complexity.png").stat().st_size > 0
    assert (tmp_path / "complexity.md").read_text().count("| all |") == 2


def test_the_costs_are_those_of_the_network():
    (found,) = run("head=fcn", "neck=jpu", "loss=ce", "classes=7")["networks"]
    network = create_model("fcn", num_classes=7, backbone="tiny", neck="concat", channels=16)
    assert set(found["parameters"]) == {"trunk", "neck", "head"}
    assert found["parameters"]["trunk"] == parameters(network.backbone)
    flops = conv_matmul(network.eval(), torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
    assert found["flops"]["trunk"] == flops["backbone"]


def test_what_is_frozen_is_not_trained_and_keeps_nothing():
    """A part that learns keeps the maps that it gets, whoever made them."""
    frozen = [run("head=fcn", "loss=aux", f"backbone.freeze={stages}")["networks"][0] for stages in ("null", 2, "true")]
    for kind in ("parameters", "flops", "inference"):
        assert frozen[0][kind] == frozen[1][kind] == frozen[2][kind]
    assert frozen[0]["trained"] == frozen[0]["parameters"]
    for precision in ("float32", "bf16"):
        whole, some, none = (network["training"][precision]["trunk"] for network in frozen)
        assert whole > some > none == 0
    whole, some, none = (network["trained"]["trunk"] for network in frozen)
    assert whole > some > none == 0
    assert frozen[0]["trained"]["head"] == frozen[2]["trained"]["head"] > 0
    assert frozen[2]["training"]["float32"]["head"] >= 4 * 2 * 8 * 12 * 96  # the last map: 96 channels at stride 8


@pytest.mark.slow
def test_a_head_of_one_image_size_is_made_for_it():
    (small,) = run("head=cpnet", "classes=7")["networks"]
    (large,) = run("head=cpnet", "classes=7", "size=[64,192]")["networks"]
    assert large["parameters"]["head"] > small["parameters"]["head"]


def test_the_classes_are_those_of_the_data_set():
    (twelve,), (seven,) = run("head=fcn")["networks"], run("head=fcn", "classes=7")["networks"]
    assert twelve["parameters"]["head"] - seven["parameters"]["head"] == 5 * 17


@pytest.mark.slow
def test_the_command_line_takes_heads():
    code, said = call("complexity", "heads=[fcn,gcn]", "backbone=tiny", "width=16", "size=[64,64]", "classes=3")
    assert code == 0, said
    assert "gcn" in said


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("size=[64]", "a list of 2"),
        ("size=[64,0]", "a list of 2, .* 1 or more"),
        ("classes=0", "classes=0"),
        ("batch_size=x", "batch_size=x"),
        ("heads=ocr", "give a list"),
        ("output=x.json", "give a folder"),
        ("table=ocr_t5", "choose ocr_t4, "),
    ],
)
def test_what_cannot_be_meant_is_refused(override, says):
    with pytest.raises(ConfigError, match=says):
        run("head=fcn", override)


def test_one_image_cannot_train_a_pooled_batch_norm():
    with pytest.raises(ConfigError, match=r"batch_size=1.*one image"):
        run("head=psp", "batch_size=1")


@pytest.mark.slow
def test_the_command_counts_a_table(tmp_path, monkeypatch):
    """Its rows are composed while the command's own configuration is in place."""
    monkeypatch.chdir(tmp_path)
    code, said = call("complexity", "table=ccnet_t2")
    assert code == 0, said
    assert "CCNet, R=2" in said


@pytest.fixture
def clock(monkeypatch):
    """The clock of the timing: every pass takes 4 ms."""
    monkeypatch.setattr(timing, "timed", lambda call: 4.0)


@pytest.mark.slow
def test_times_are_of_this_device(clock, tmp_path):
    words = ["heads=[fcn,psp]", "backbone=tiny", "classes=3", "width=16", "size=64", "time=true", f"output={tmp_path}"]
    found = complexity(compose(words, config_name="complexity"), words)
    assert [(one["name"], one["ms"], one["fps"]) for one in found["networks"]] == [("fcn", 4, 250), ("psp", 4, 250)]
    assert timing.machine(timing.here()) in found["timed"]
    assert "| fcn | 4.00 | 250 |" in (tmp_path / "complexity.md").read_text()


@pytest.mark.slow
def test_times_of_a_table_stand_beside_the_published_ones(clock, tmp_path):
    """They have no difference: the paper's are of another device."""
    found = complexity(compose(["table=ocr_t8", "time=true", f"output={tmp_path}"], config_name="complexity"))
    assert [(row["published"]["fps"], row["counted"]["fps"]) for row in found["rows"]] == [(31, 250), (28, 250)]
    assert found["columns"] == {"fps": "FPS"}
    written = (tmp_path / "complexity.md").read_text()
    assert "| row | frames per second: published | ours, this device | note |" in written
    assert "| OCR | 28 | 250 |" in written
    assert counted_costs(tmp_path)["ocr_t8"]["OCR"] == {"FPS": "250"}


def test_a_pass_of_a_module_is_timed():
    times = timing.modules_in_turn([nn.Conv2d(3, 4, 1), nn.Identity()], [IMAGE, [IMAGE]])
    assert all(one > 0 for one in times.medians)
    assert timing.FEWEST <= times.rounds <= timing.MOST


def test_a_table_is_written(tmp_path):
    found = complexity(compose(["table=ccnet_t5", f"output={tmp_path}"], config_name="complexity"))
    assert found["rows"][0]["counted"]["flops"] == pytest.approx(108.15, abs=0.01)
    assert found["rows"][0]["published"]["flops"] == 108
    assert json.loads((tmp_path / "complexity.json").read_text()) == found
    assert "| non-local, R=1 | 108 | 108.15 |" in (tmp_path / "complexity.md").read_text()
