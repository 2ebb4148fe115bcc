"""Reports on fabricated run folders: which runs count, the numbers by hand, and what is written."""

import csv
import itertools
import json
import re

import numpy as np
import pytest
import yaml

from contextseg.commands.compose import options
from contextseg.commands.report import figures, text
from contextseg.commands.report.as_csv import rows_as_csv
from contextseg.commands.report.columns import columns_of, compared
from contextseg.commands.report.command import report
from contextseg.commands.report.compare import Choice, compare
from contextseg.commands.report.counted import counted
from contextseg.commands.report.kendall import agreement, tau_b
from contextseg.commands.report.protocols import with_protocols
from contextseg.commands.report.rows import by_row
from contextseg.errors import ConfigError
from contextseg.papers import rows as paper_rows
from contextseg.runs.store import Run, places

TABLES = {table["table"]: table for table in paper_rows.tables()}
ROWS = {f"{name}/{paper_rows.key(row['row'])}": row for name, table in TABLES.items() for row in table["rows"]}
KERNELS = [3, 5, 7, 9, 11, 13, 15]
LOOPS = [f"ccnet_t2/{key}" for key in ("fcn", "ccnet_r_1", "ccnet_r_2", "ccnet_r_3")]


@pytest.fixture
def run(tmp_path):
    """run(row, miou, seed=0, ...): a run folder as `train.py` leaves it."""
    numbers = itertools.count()

    def make(row, miou=50.0, seed=0, *, steps=1500, data="context_scenes", backbone="tiny", status="finished", **extra):
        named = dict(text.split("=", 1) for text in ROWS[row]["overrides"]) if row else {"head": "fcn"}
        choices = {"data": data, "backbone": backbone, "head": named["head"], "loss": named.get("loss", "own")}
        config = {
            "row": row,
            "seed": seed,
            "name": f"run_{next(numbers)}",
            "width": 64,
            "data": {"_target_": data, "batch_size": 8},
            "loss": {"term": choices["loss"]},
            "head": {"_target_": named["head"]} | {k: v for k, v in named.items() if k.startswith("head.")},
            "neck": {"_target_": "NoNeck"},
            "backbone": {"_target_": backbone, "weights": "none"},
            "trainer": {"max_steps": steps},
            "choices": choices | {"eval": "ss"},
        }
        folder = tmp_path / f"{row or 'other'}_s{seed}" / f"2026-01-01_00-00-{next(numbers):02d}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        metrics = {"status": status, "seed": seed, "parameters": 300_000, "miou": miou, "steps": steps} | extra
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return make


@pytest.fixture
def compared_with(tmp_path):
    """compared_with("ctnet_t5", steps=...): the comparison of a table with the runs there are."""

    def make(name, **choice):
        runs = [Run.read(place) for place in places(tmp_path)]
        trainings = with_protocols([one for one in runs if one.training], [one for one in runs if not one.training])
        rows, _ = by_row(trainings, TABLES.values())
        return compare(TABLES[name], rows, Choice(**{"least_steps": 1000} | choice))

    return make


def cells(comparison):
    """Row label -> column -> cell."""
    return {row[0]: dict(zip(text.header(comparison), row, strict=True)) for row in text.body(comparison)}


def make_report(tmp_path, *overrides):
    return report(options([f"runs={tmp_path}", *overrides], "report"))


# the numbers


def test_tau_b_by_hand():
    one = np.array([1.0, 2, 3, 4])
    assert tau_b(one, one) == 1
    assert tau_b(one, -one) == -1
    assert tau_b(one, np.array([1.0, 2, 4, 3])) == pytest.approx(4 / 6)  # 5 pairs agree, 1 does not
    # 4 pairs agree, 1 does not, and 1 of the 6 is tied in one of the lists
    assert tau_b(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 2.5])) == pytest.approx((4 - 1) / np.sqrt(5 * 6))
    assert np.isnan(tau_b(one, np.ones(4)))


def test_tau_b_does_not_see_rounding():
    assert tau_b(np.array([1.0, 2, 3, 4]), np.array([0.1 + 0.2, 0.3, 1, 2])) == pytest.approx(5 / np.sqrt(6 * 5))


def test_chance_is_the_share_of_all_orders():
    found = agreement([1, 2, 3, 4], [[1], [2], [3], [4]])
    assert found.chance == pytest.approx(1 / 24)
    # one exchange of neighbours: 1 + 3 of 24 orders have at least this τ
    assert agreement([1, 2, 3, 4], [[1], [2], [4], [3]]).chance == pytest.approx(4 / 24)
    assert agreement([1, 2, 3, 4], [[4], [3], [2], [1]]).chance == 1


def test_many_rows_are_sampled_close_to_the_exact_share(monkeypatch):
    seeds = [[1], [3], [2], [4], [6], [5], [7]]
    exact = agreement(range(7), seeds).chance
    monkeypatch.setattr("contextseg.commands.report.kendall.MAX_EXACT", 0)
    sampled = agreement(range(7), seeds).chance
    assert exact != sampled
    assert sampled == pytest.approx(exact, abs=0.002)


def test_seeds_move_tau():
    steady = agreement([1, 2, 3, 4], [[10, 10.1], [20, 20.1], [30, 30.1], [40, 40.1]])
    assert (steady.low, steady.high, steady.single) == (1, 1, 0)
    noisy = agreement([1, 2, 3, 4], [[10, 30], [11, 31], [12, 32], [13, 33]])
    assert noisy.tau == 1
    assert noisy.low < 0
    assert noisy.high == 1
    assert agreement([1, 2, 3, 4], [[1], [2], [3], [4]]).low is None


def test_the_spread_of_a_mean_is_not_underestimated():
    from contextseg.commands.report.kendall import redrawn

    values = [1.0, 2.0, 6.0]
    error = np.std(values, ddof=1) / np.sqrt(3)
    assert redrawn(values, np.random.default_rng(0)).std() == pytest.approx(error, rel=0.03)


def test_few_rows_tell_nothing():
    assert agreement([1, 2, 3], [[1], [2], [3]]) is None
    assert agreement([1, 2, 3, 4], [[1], [1], [1], [1]]) is None


def test_mean_sd_and_differences_by_hand(run, compared_with):
    for seed, (base, other) in enumerate([(50, 53), (52, 55), (54, 60)]):
        run("ccnet_t2/fcn", base, seed)
        run("ccnet_t2/ccnet_r_1", other, seed)
    found = cells(compared_with("ccnet_t2"))
    assert found["FCN"]["mIoU ours"] == "52.00 ± 2.00 (3)"
    assert found["FCN"]["Δ ours"] == found["FCN"]["Δ published"] == "base"
    assert found["CCNet, R=1"]["mIoU ours"] == "56.00 ± 3.61 (3)"
    assert found["CCNet, R=1"]["Δ published"] == "+2.90"  # 78.0 - 75.1
    assert found["CCNet, R=1"]["Δ ours"] == "+4.00 ± 2.38"  # √(4/3 + 13/3)
    assert found["CCNet, R=2"]["mIoU ours"] == "not run"
    assert found["CCNet, R=2"]["Δ ours"] == ""


def test_the_order_stands_in_the_caption(run, compared_with):
    for row, miou in zip(LOOPS, (50, 51, 53, 52), strict=True):
        run(row, miou)
    assert "Order of 4 rows by mIoU: Kendall's τ-b 0.67; p = 0.17" in " ".join(text.caption(compared_with("ccnet_t2")))
    few = " ".join(text.caption(compared_with("ccnet_t5")))
    assert "Order by mIoU: 2 comparable rows (4 are needed), so no statement is made." in few


# which runs count


def test_data_sets_are_never_mixed(run, compared_with):
    run("ccnet_t2/fcn", 50, 0)
    run("ccnet_t2/fcn", 90, 1, data="camvid")
    run("ccnet_t2/ccnet_r_1", 60, data="camvid", steps=3000)
    run("ccnet_t2/ccnet_r_2", 70)
    comparison = compared_with("ccnet_t2")
    found = cells(comparison)
    assert found["FCN"]["mIoU ours"] == "50.00 (1)"
    assert "camvid, tiny, 1,500 steps" in found["FCN"]["note"]
    assert found["CCNet, R=1"]["mIoU ours"] == "60.00 (1)"
    assert found["CCNet, R=1"]["Δ ours"] == ""
    assert found["CCNet, R=2"]["Δ ours"] == "+20.00"
    assert [line.label for line in comparison.comparable("mIoU", "miou")] == ["FCN", "CCNet, R=2"]
    assert "not compared across" in " ".join(text.caption(comparison))
    assert cells(compared_with("ccnet_t2", data="camvid"))["FCN"]["mIoU ours"] == "90.00 (1)"


@pytest.mark.parametrize("change", [{"backbone": "resnet50"}, {"steps": 3000}, {"data": "camvid"}])
def test_what_is_no_seed_makes_another_group(run, compared_with, change):
    run("ccnet_t2/fcn", 50, 0)
    run("ccnet_t2/fcn", 60, 1, **change)
    line = compared_with("ccnet_t2").lines[0]
    assert len(line.values("miou")) == 1
    assert len(line.others) == 1


def test_the_longest_runs_are_shown_unless_others_are_chosen(run, compared_with):
    run("ccnet_t2/fcn", 50)
    run("ccnet_t2/fcn", 60, steps=3000)
    run("ccnet_t2/fcn", 1, steps=20)
    found = cells(compared_with("ccnet_t2"))["FCN"]
    assert (found["mIoU ours"], found["note"]) == ("60.00 (1)", "run too, not shown: context_scenes, tiny, 1,500 steps")
    assert cells(compared_with("ccnet_t2", steps=1500))["FCN"]["mIoU ours"] == "50.00 (1)"


def test_trials_and_failures_are_not_results(run, compared_with, tmp_path):
    run("ccnet_t2/fcn", 1, steps=20)
    run("ccnet_t2/ccnet_r_1", status="failed", seed=0)
    run("ccnet_t2/ccnet_r_1", status="failed", seed=1)
    run("ccnet_t2/ccnet_r_2", 70, seed=0)
    run("ccnet_t2/ccnet_r_2", status="failed", seed=1)
    (run("ccnet_t2/ccnet_r_3", status="failed") / "config.yaml").unlink()
    found = cells(compared_with("ccnet_t2"))
    assert found["FCN"]["mIoU ours"] == "not run"
    assert found["FCN"]["note"] == "trial runs of 20 steps do not count"
    assert found["CCNet, R=1"]["mIoU ours"] == "failed (2)"
    assert (found["CCNet, R=2"]["mIoU ours"], found["CCNet, R=2"]["note"]) == ("70.00 (1)", "failed besides: 1")
    assert found["CCNet, R=3"]["mIoU ours"] == "failed (1)"


def test_a_seed_counts_once(run, compared_with):
    run("ccnet_t2/fcn", 1, seed=0, status="failed")
    run("ccnet_t2/fcn", 50, seed=0)
    run("ccnet_t2/fcn", 60, seed=0)
    assert cells(compared_with("ccnet_t2"))["FCN"]["mIoU ours"] == "60.00 (1)"


def test_rows_of_one_configuration_share_their_runs(run, compared_with):
    run("ctnet_t5/ctnet_resnet50", 60)
    comparison = compared_with("ctnet_t5")
    found = cells(comparison)
    assert found["CTNet, resnet101"]["mIoU ss ours"] == "60.00 (1)"
    assert found["CTNet, resnet101"]["note"] == "the runs of the row CTNet, resnet50"
    assert [line.label for line in comparison.comparable("mIoU_ss", "miou_ss")] == ["CTNet, resnet50"]
    assert cells(compared_with("ctnet_t8"))["CTNet"]["mIoU ours"] == "60.00 (1)"


def test_a_row_with_the_backbone_it_names_is_no_other(run, compared_with):
    run("ctnet_t5/ctnet_resnet50", 60, backbone="resnet50")
    found = cells(compared_with("ctnet_t5"))
    assert found["CTNet, resnet50"]["mIoU ss ours"] == "60.00 (1)"
    assert found["CTNet, resnet101"]["mIoU ss ours"] == "not run"


def test_rows_with_their_own_backbones_are_compared(run, compared_with):
    run("ctnet_t5/occm_channel_module_only_resnet50", 60, backbone="resnet50")
    run("ctnet_t5/occm_channel_module_only_resnet101", 61, backbone="resnet101")
    run("ctnet_t5/ctnet_resnet101", 62, backbone="resnet101")
    comparison = compared_with("ctnet_t5")
    assert cells(comparison)["CTNet, resnet101"]["Δ mIoU ss ours"] == "+1.00"
    assert cells(comparison)["CTNet, resnet101"]["Δ mIoU ss published"] == "+0.40"
    assert cells(comparison)["OCCM (channel module only), resnet101"]["Δ mIoU ss ours"] == "base"
    assert len(comparison.comparable("mIoU_ss", "miou_ss")) == 3


def test_published_values_of_two_backbones_are_not_mixed(run, compared_with):
    """HV was published with resnet50 alone: in its order the others count with their resnet50 values."""
    for row, miou in (("fcn_resnet101", 60), ("ccnet_r_2_resnet101", 90), ("ccnet_hv_resnet50", 80)):
        run(f"ccnet_t4/{row}", miou)
    lines = compared_with("ccnet_t4").comparable("mIoU", "miou")
    assert [line.label for line in lines] == ["FCN, resnet50", "CCNet, HV, resnet50", "CCNet, R=2, resnet50"]


def test_what_a_row_lost_is_said(run, compared_with):
    run("ocr_t6/fcn_coarse_stage_3", 60)
    comparison = compared_with("ocr_t6")
    assert cells(comparison)["FCN, coarse (stage 3)"]["note"] == "run without backbone.stages=3"
    assert comparison.comparable("mIoU", "miou") == []


# several protocols


@pytest.fixture
def scored(run):
    """scored(training, miou, protocol, ...): a record of `evaluate` of its last weights."""

    def make(training, miou, protocol="ms_flip", *, steps=1500, split="val", size=None, scales=(0.5, 1.0)):
        ckpt = f"elsewhere/{'/'.join(training.parts[-2:])}/checkpoints/last.ckpt"
        folder = run(None, miou, ckpt=ckpt, trained_steps=steps, split=split, pix_acc=miou + 1)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"] = yaml.safe_load((training / "config.yaml").read_text())["data"] | (
            {"size": size} if size else {}
        )
        config["eval"] = {"predictor": {"_target_": "MultiScale", "scales": list(scales), "flip": True}}
        config["choices"]["eval"] = protocol
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


def test_multi_scale_columns_are_of_the_same_trainings(run, scored, compared_with):
    for seed, miou in enumerate((60, 62)):
        scored(run("ctnet_t5/ctnet_resnet50", miou, seed, backbone="resnet50"), miou + 3)
    scored(run("ctnet_t5/occm_channel_module_only_resnet50", 50, backbone="resnet50"), 51)
    comparison = compared_with("ctnet_t5")
    found = cells(comparison)["CTNet, resnet50"]
    assert found["mIoU ss ours"] == "61.00 ± 1.41 (2)"
    assert (found["mIoU_ms published"], found["mIoU ms ours"]) == ("53.3", "64.00 ± 1.41 (2)")
    assert (found["Δ mIoU ms published"], found["Δ mIoU ms ours"]) == ("+0.70", "+13.00")
    assert cells(comparison)["OSCM (spatial module only), resnet50"]["mIoU ms ours"] == "not run"
    assert "ss: eval=ss, ms: eval=ms_flip." in " ".join(text.caption(comparison))


def test_a_multi_scale_row_shares_the_training_of_another(run, scored, compared_with):
    training = run("agln_t7/agln_dense", 60)
    assert cells(compared_with("agln_t7"))["AGLN, dense, multi-scale"]["mIoU ours"] == "not scored"
    scored(training, 63)
    found = cells(compared_with("agln_t7"))
    assert found["AGLN, dense"]["mIoU ours"] == "60.00 (1)"
    assert found["AGLN, dense, multi-scale"]["mIoU ours"] == "63.00 (1)"
    assert found["AGLN, dense, multi-scale"]["note"] == "the runs of the row AGLN, dense; by eval=ms_flip"
    assert len(compared_with("agln_t7").comparable("mIoU", "miou")) == 2
    scored(training, 64, "agln_ms")
    assert cells(compared_with("agln_t7"))["AGLN, dense, multi-scale"]["mIoU ours"] == "64.00 (1)", "the paper's"
    run("cpnet_t1/cpnet_k_11_intra_and_inter_prior_affinity_loss", 70)
    assert cells(compared_with("cpnet_t1"))["FCN, auxiliary loss"]["mIoU ours"] == "not run"


@pytest.mark.parametrize("other", [{"steps": 500}, {"split": "test"}, {"size": 80}, {"scales": (1.0,)}])
def test_other_evaluations_do_not_count(run, scored, compared_with, other):
    scored(run("ctnet_t5/ctnet_resnet50", 60), 63, **other)
    assert cells(compared_with("ctnet_t5"))["CTNet, resnet50"]["mIoU ms ours"] == "not scored"


def test_a_figure_has_a_place_for_every_curve(compared_with):
    columns = [column for column, _ in compared_with("ctnet_fig7").pairs]
    assert columns == ["mIoU_ss", "mIoU_ms", "PixAcc_ss", "PixAcc_ms"]


# the tables


def test_every_table_has_its_base_row_and_something_to_compare(compared_with):
    for table in TABLES:
        comparison = compared_with(table)
        assert comparison.base in comparison.lines
        assert comparison.pairs[0][1] in ("miou", "miou_ss", "pix_acc") if comparison.pairs else comparison.beside
    assert compared_with("ocr_t7").base.label == "double attention, 64 regions"


def test_an_unknown_base_row_is_refused():
    table = TABLES["ccnet_t2"] | {"base": "FNC"}
    with pytest.raises(ConfigError, match=r"ccnet_t2\.yaml: base: FNC"):
        compare(table, {}, Choice())


@pytest.mark.parametrize(
    ("table", "data", "pairs"),
    [
        ("ctnet_t5", "context_scenes", [("mIoU_ss", "miou_ss"), ("mIoU_ms", "miou_ms")]),
        ("ctnet_t2", "context_scenes", [("mIoU", "miou"), ("PixAcc", "pix_acc")]),
        ("agln_t8", "context_scenes", [("mIoU_pcontext", "miou")]),
        ("agln_t8", "voc2012", [("mIoU_voc", "miou")]),
        ("ocr_t2", "lip", [("lip_val", "miou")]),
        ("ccnet_t7", "lip", [("mIoU", "miou"), ("pixel_acc", "pix_acc"), ("mean_acc", "mean_acc")]),
        ("ocr_t4", "context_scenes", [("mIoU", "miou")]),  # costs: nothing published to compare
    ],
)
def test_which_columns_compare(table, data, pairs):
    assert compared(TABLES[table], {data}) == pairs


# OCR, Section 4.4, and the pictures of CTNet, which have no numbers in the text
UNPUBLISHED = {"ocr_sec4", "ctnet_fig7", "ctnet_fig11"}


@pytest.mark.parametrize("name", TABLES)
def test_each_published_column_has_a_place_beside_ours(compared_with, name):
    table, comparison = TABLES[name], compared_with(name)
    names, found = text.header(comparison), cells(comparison)
    assert len(set(names)) == len(names)
    assert columns_of(table) or name in UNPUBLISHED
    for column in columns_of(table):
        place = names.index(f"{column} published")
        assert names[place + 1].endswith(" ours")
        for row in table["rows"]:
            value = row["published"].get(column, "")
            assert found[row["row"]][f"{column} published"] == str(value), (row["row"], column)
    written = list(csv.DictReader(rows_as_csv(comparison).splitlines()))
    published = {(row["row"], row["published_as"]): row["published"] for row in written if row["published"]}
    quoted = [{"row": f"{row['row']}", "published": row["published"]} for row in paper_rows.quoted().get(name, [])]
    assert published == {
        (row["row"], column): str(value)
        for row in [*table["rows"], *quoted]
        for column, value in row["published"].items()
    }
    columns = re.search(r"begin\{tabular\}\{(\w+)\}", text.latex(comparison))[1]
    assert len(columns) == len(names)


def test_columns_beside_are_filled_on_the_data_of_the_table(run, compared_with):
    classes = {"background": 93.0, "aeroplane": 81.0, "tvmonitor": 60.0}
    run("agln_t3/agln", 70, data="voc2012", iou=classes)
    run("agln_t3/agln", 71, 1, data="voc2012", iou=classes | {"aeroplane": 83.0})
    row = cells(compared_with("agln_t3"))["AGLN"]
    assert (row["aero published"], row["aero ours"], row["tv ours"]) == ("94.6", "82.00 ± 1.41 (2)", "60.00 ± 0.00 (2)")
    assert (row["bike published"], row["bike ours"]) == ("77.0", "")
    run("ctnet_t9/ctnet", 70, data="camvid", iou={"sheep": 50.0})
    assert cells(compared_with("ctnet_t9"))["CTNet"]["sheep ours"] == ""  # another data set


def test_each_data_set_of_a_table_has_its_own_runs(run, compared_with):
    run("ocr_t2/ocr", 60, data="lip", steps=2000)
    run("ocr_t2/ocr", 70, data="cityscapes", steps=1500)
    row = cells(compared_with("ocr_t2"))["OCR"]
    assert (row["mIoU ours"], row["lip_val published"]) == ("60.00 (1)", "55.6")  # lip has most steps
    assert (row["cityscapes_test published"], row["cityscapes_test ours"]) == ("81.8", "70.00 (1)")
    assert (row["cityscapes_test_coarse published"], row["cityscapes_test_coarse ours"]) == ("82.4", "")
    assert (row["ade20k_val published"], row["ade20k_val ours"]) == ("45.28", "")


def test_a_printed_difference_is_to_the_row_that_the_paper_means(run, compared_with):
    run("cpnet_t2/cpnet_k_5_no_prior", 50)
    run("cpnet_t2/cpnet_k_11_no_prior", 60)
    run("cpnet_t2/cpnet_k_5_intra_and_inter_prior_affinity_loss", 53)
    row = cells(compared_with("cpnet_t2"))["CPNet, k=5, intra and inter prior, affinity loss"]
    assert (row["delta published"], row["delta ours"], row["Δ ours"]) == ("0.95", "+3.00", "-7.00")
    assert "delta to CPNet, k=5, no prior" in row["note"]


def test_printed_differences_are_those_of_the_printed_scores():
    for name, table in TABLES.items():
        scores = {row["row"]: row["published"].get("mIoU") for row in table["rows"]}
        base = table.get("base", table["rows"][0]["row"])
        for row in table["rows"]:
            if "delta" in row["published"]:
                found = scores[row["row"]] - scores[row.get("over", base)]
                assert found == pytest.approx(row["published"]["delta"], abs=0.001), (name, row["row"])


def test_average_precision_comes_from_the_runs_of_instances(run, tmp_path):
    run(LOOPS[0])
    for folder, scores in (("a", {"box_ap": 41.23, "mask_ap": 38.0}), ("b", {"box_ap": 1.0, "mask_ap": None})):
        context = {"a": "rcca", "b": "none"}[folder]
        facts = {"source": "instance_scenes", "context": context, "backbone": "resnet50"} | scores
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.json").write_text(json.dumps(facts))
    lines = (make_report(tmp_path, "tables=ccnet_t8") / "ccnet_t8.md").read_text().splitlines()
    assert lines[2].startswith("| row | AP_unlabelled published | AP_unlabelled ours |")
    assert next(line for line in lines if "mask_rcnn, resnet50 |" in line).endswith(
        "| 38.2 | box 1.0, mask - (instance_scenes) |"
    )
    assert any("rcca" in line and "| 39.3 | box 41.2, mask 38.0 (instance_scenes) |" in line for line in lines)
    assert any("mask_rcnn, resnet101 | 40.1 |  |" in line for line in lines)


def test_costs_have_columns_of_their_own(run, tmp_path):
    """Filled by what `complexity` wrote, with the device of the times."""
    rows = [{"row": "CCNet, R=1", "variant": variant, "counted": {"flops": 8.31, "ms": 12.34}} for variant in ("", "x")]
    content = {"table": "ccnet_t2", "about": "The attention alone.", "columns": {"flops": "GFLOPs_delta"}, "rows": rows}
    (tmp_path / "costs").mkdir()
    (tmp_path / "costs/complexity.json").write_text(json.dumps(content | {"timed": "some CPU, 1 thread"}))
    costs_of = counted(tmp_path)
    found = compare(TABLES["ccnet_t2"], {}, Choice(), costs_of["ccnet_t2"])
    row = cells(found)["CCNet, R=1"]
    assert (row["GFLOPs_delta published"], row["GFLOPs_delta ours"]) == ("8.3", "8.31 / 8.31 (x)")
    assert (row["memory_delta published"], row["memory_delta ours"]) == ("53", "")
    assert "The attention alone. Times are of this device: some CPU, 1 thread." in " ".join(text.caption(found))
    none = compare(TABLES["ccnet_t2"], {}, Choice())
    assert "`contextseg complexity table=ccnet_t2" in " ".join(text.caption(none))


def test_success_rate_counts_losses_that_are_not_finite(run, compared_with):
    row = "ccnet_t3/ccnet_r_2_with_category_consistent_loss_quadratic"
    for seed in range(3):
        run(row, 60, seed)
    for seed in (3, 4):
        run(row, seed=seed, status="failed", error="NonFinite: the loss is not finite at step 7")
    run(row, seed=5, status="failed", error="RuntimeError: the power was cut")
    run("ccnet_t3/ccnet_r_2_with_category_consistent_loss_piecewise", status="failed", error="NonFinite: x")
    found = cells(compared_with("ccnet_t3"))
    one = found["CCNet, R=2, with category-consistent loss, quadratic"]
    assert (one["successes published"], one["successes ours"]) == ("6", "3 of 5")
    assert found["CCNet, R=2, with category-consistent loss, piecewise"]["successes ours"] == "0 of 1"
    run(row, 61, 3)
    again = cells(compared_with("ccnet_t3"))["CCNet, R=2, with category-consistent loss, quadratic"]
    assert again["successes ours"] == "4 of 5"


def test_quoted_rows_are_never_ours(run, compared_with):
    run("ctnet_t7/ctnet_resnet50", 60)
    comparison = compared_with("ctnet_t7")
    found = cells(comparison)
    assert found["PSPNet, resnet101 (quoted)"]["mIoU published"] == "47.8"
    for label, row in found.items():
        if label.endswith("(quoted)"):
            assert not any(value for name, value in row.items() if name.endswith(" ours") or name == "note")
    assert "neither the paper nor we ran them" in " ".join(text.caption(comparison))
    rows = [row for row in csv.DictReader(rows_as_csv(comparison).splitlines()) if row["state"] == "quoted"]
    assert len(rows) == len(paper_rows.quoted()["ctnet_t7"])
    assert not any(row[key] for row in rows for key in row if key.startswith("ours"))


def test_quoted_rows_are_in_columns_of_their_tables():
    for name, rows in paper_rows.quoted().items():
        columns = {column for row in TABLES[name]["rows"] for column in row["published"]}
        assert all(row["published"].keys() <= columns for row in rows)
        own = [row["published"] for row in TABLES[name]["rows"]]
        assert not any(row["published"] in own for row in rows if row["published"]), name


def test_nothing_published_stands_in_our_columns(run, tmp_path):
    run(LOOPS[1], 61.25)
    folder = make_report(tmp_path, "tables=[ccnet_t2,ccnet_t4,ctnet_t5,ocr_t2,ccnet_t7]")
    published = {str(value) for row in ROWS.values() for value in row["published"].values()}
    for table in folder.glob("*.csv"):
        with table.open() as file:
            for row in csv.DictReader(file):
                mine = {row[key] for key in ("ours_mean", "ours_sd", "ours_difference", "ours_difference_se")} - {""}
                assert not mine & (published - {"61.25"})
                assert bool(mine) == bool(row["metric"] and row["state"] == "finished")
                assert row["ours"] not in published
    lines = (folder / "ccnet_t2.md").read_text().splitlines()
    columns = [cell.strip() for cell in lines[2].split("|")]
    row = next(line.split("|") for line in lines if line.startswith("| CCNet, R=1"))
    assert row[columns.index("mIoU published")].strip() == "78.0"
    assert row[columns.index("mIoU ours")].strip() == "61.25 (1)"


# what is written


def test_the_page_needs_no_network(run, tmp_path):
    for row, miou in zip(LOOPS, (50, 51, 53, 52), strict=True):
        run(row, miou)
    run(None, 40)
    folder = make_report(tmp_path, "tables=[ccnet_t2,ccnet_t7]")
    page = (folder / "report.html").read_text()
    assert "http" not in re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert page.count("data:image/png") == 1
    assert "not run" in page
    assert "4 of 4 rows" in page
    assert "Runs that stand for no row" in page
    names = {path.name for path in folder.iterdir()}
    tables = {f"{table}.{kind}" for table in ("ccnet_t2", "ccnet_t7") for kind in ("md", "tex", "csv")}
    assert names == tables | {"ccnet_t2.png", "report.html", "runs.md"}


def test_the_papers_stand_in_order(run, tmp_path):
    run(LOOPS[0], 50)
    page = (make_report(tmp_path, "tables=[ccnet_t8,ocr_t1,cpnet_t5,agln_t6,ctnet_t2]") / "report.html").read_text()
    assert re.findall("<h2 id=(.*?)>", page) == ["ctnet_t2", "agln_t6", "cpnet_t5", "ocr_t1", "ccnet_t8"]
    assert [name for name in TABLES if name.endswith("_t2")] == [f"{paper}_t2" for paper in paper_rows.PAPERS]


def test_a_label_cannot_break_the_page_or_the_table(run, compared_with):
    comparison = compared_with("ccnet_t2")
    comparison.lines[1].label = "a <b> | c & d_e 50% #1 {x} ~ ^ \\"
    source = text.latex(comparison)
    assert r"a $<$b$>$ | c \& d\_e 50\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}" in source
    assert re.search(r"(?<!\\)[%#]", source) is None
    rows = [line for line in source.splitlines() if line.endswith(r"\\")]
    columns = len(text.header(comparison))
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in rows} == {columns}
    lines = [line for line in text.markdown(comparison).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {columns + 1}


def test_latex_has_no_character_that_it_cannot_set(run, compared_with):
    for row, miou in zip(LOOPS, (50, 51, 53, 52), strict=True):
        for seed in (0, 1):
            run(row, miou + seed, seed)
    source = text.latex(compared_with("ccnet_t2"))
    assert source.isascii()
    assert r"$\tau$-b" in source
    assert r"$+$1.00 $\pm$ 0.71" in source


def test_runs_without_a_row_get_the_plain_table(run, tmp_path):
    run(None, 40, 0)
    run(None, 42, 1)
    folder = make_report(tmp_path)
    assert "| fcn | 2 | 41.0 ± 1.4 |" in (folder / "runs.md").read_text()
    assert {path.name for path in folder.iterdir()} == {"runs.md", "report.html"}


def test_scored_checkpoints_are_no_runs(run, tmp_path):
    run(LOOPS[0], 99, ckpt="last.ckpt")
    with pytest.raises(ConfigError, match="no finished training run"):
        make_report(tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps=20", "steps=20: runs below least_steps=1000 are trials"),
        ("steps=3000", "steps=3000: no run of a row has it; there is 1500"),
        ("data=camvid", "data=camvid: no run of a row has it; there is context_scenes"),
        ("least_steps=few", "least_steps=few: give a whole number"),
        ("output=table.md", "give a folder"),
        ("tables=[ccnet_t20]", "tables=ccnet_t20: no such table; choose from ctnet"),
    ],
)
def test_options_that_cannot_be_meant(run, tmp_path, override, message):
    run(LOOPS[0], 50)
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_report(tmp_path, override)


# pictures


@pytest.mark.parametrize(
    ("table", "series"),
    [
        ("ccnet_t2", {"CCNet": [1, 2, 3]}),
        ("agln_t4", {"AGLN-": [1, 64, 128, 256]}),
        ("ctnet_t1", {"CTNet, MCE block": [17, 33, 65, 129]}),
        ("ctnet_fig11", {"CTNet": [0, 0.1, 0.2]}),
        ("ocr_t7", {"double attention": [8, 16, 32, 64, 128]}),
        ("cpnet_t2", dict.fromkeys(("CPNet, no prior", "CPNet, intra and inter prior, affinity loss"), KERNELS)),
        ("cpnet_t1", {}),
        ("ccnet_t5", {}),
        ("agln_t6", {}),
    ],
)
def test_what_is_drawn_as_lines(compared_with, table, series):
    found = figures.lines_of(compared_with(table).lines)
    assert {name: list(places.values()) for name, places in found.items()} == series


def test_each_kind_of_picture_is_drawn(run, compared_with, tmp_path):
    assert not figures.draw(compared_with("ccnet_t2"), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    for row in (*LOOPS, "ctnet_t5/ctnet_resnet50", "ctnet_fig7/ctnet_one_1_d_convolution_k_9"):
        for seed in (0, 1):
            run(row, 50 + seed, seed)
    for table in ("ccnet_t2", "ctnet_t5", "ctnet_fig7"):
        assert figures.draw(compared_with(table), tmp_path / f"{table}.png")
        assert (tmp_path / f"{table}.png").stat().st_size > 5000
