"""Spread over seeds, intervals over images and differences in `report`, on fabricated run folders."""

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from contextseg.commands.compose import options
from contextseg.commands.report.command import report
from contextseg.commands.report.names import configuration_names
from contextseg.commands.report.scored import training_in
from contextseg.errors import ConfigError
from contextseg.statistics import ImageCounts, Resampling, difference, interval
from contextseg.statistics.image_counts import file_of

IMAGES = 40


@pytest.fixture
def run(tmp_path):
    """run("fcn", seed, ...): a finished run with the counts of its images, better ones for a larger `right`."""
    numbers = itertools.count()

    def make(
        head, seed=0, *, right=600, ckpt=None, split="val", block=None, counts=True, name="a", names=None, **settings
    ):
        choices = {"data": "camvid", "backbone": "tiny", "head": head, "eval": "ss"}
        config = {"row": None, "seed": seed, "head": {"_target_": head}, "neck": {"_target_": "NoNeck"}}
        config |= {"backbone": {"_target_": "tiny"}, "trainer": {"max_steps": 1500}, "choices": choices, **settings}
        folder = tmp_path / (head if ckpt is None else "scored") / f"2026-01-01_00-00-{next(numbers):02d}"
        folder.mkdir(parents=True)
        rng = np.random.default_rng([len(head), seed])
        cells = []
        for i in range(IMAGES):
            good = right + int(rng.normal(0, 60))
            cells += [(i, i % 2, i % 2, good), (i, i % 2, 1 - i % 2, 1000 - good)]
        found = ImageCounts(tuple(names or (f"{name}_{i}" for i in range(IMAGES))), 2, np.array(cells), block)
        metrics = {"status": "finished", "split": split, "protocol": "ss", "steps": 1500, "miou": right / 10}
        if ckpt is not None:
            config.pop("seed")
            metrics |= {"ckpt": f"somewhere/{'/'.join(ckpt.parts[-2:])}/checkpoints/last.ckpt", "trained_steps": 1500}
        if counts:
            found.save(file_of(folder, split, "ss"))
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return make


def tables(tmp_path, *overrides):
    """The first table as rows by (configuration, scored on), the table of block lengths, and the whole page."""
    folder = report(options([f"runs={tmp_path}", "tables=[ctnet_t5]", "resamples=500", *overrides], "report"))
    text = (folder / "statistics.md").read_text()
    found = []
    for part in text.split("## ")[1:]:
        lines = [re.split(r" ?\| ?", line)[1:-1] for line in part.splitlines() if line.startswith("|")]
        rows = [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
        found.append({(row["configuration"], row["scored on"]): row for row in rows})
    return found[0], found[1] if len(found) > 1 else {}, text


def loaded(folder, split="val"):
    return ImageCounts.load(file_of(folder, split, "ss"))


def test_each_number_is_what_it_is_called(run, tmp_path):
    base = [run("fcn", seed, right=600 + 10 * seed) for seed in range(3)]
    better = run("ocr", right=640)
    found, _, text = tables(tmp_path, "against=fcn")
    ours, its = found["ocr", "camvid val, ss, 1,500 steps"], found["fcn", "camvid val, ss, 1,500 steps"]
    assert its["mIoU, mean ± sd over seeds"] == "61.00 ± 1.00"
    assert (its["seeds"], ours["seeds"], its["images"]) == ("3", "1", "40")
    assert ours["mIoU, mean ± sd over seeds"] == "64.00"
    how = Resampling(500)
    one = interval([loaded(folder) for folder in base], how)["miou"]
    assert its["mIoU, 95 % over images"] == f"{one.low:.2f} to {one.high:.2f}"
    test = difference([loaded(better)], [loaded(folder) for folder in base], how)["miou"]
    assert ours["mIoU, Δ to fcn"] == f"{test.value:+.2f} ({test.low:+.2f} to {test.high:+.2f})"
    assert ours["mIoU, p"] == f"{test.p:.2g}"
    assert (its["mIoU, Δ to fcn"], its["mIoU, p"]) == ("base", "")
    for words in ("over seeds*: how far another initialisation", "over images*: between", "*Δ*", "one seed"):
        assert words in text
    page = (tmp_path / "report/report.html").read_text()
    assert "Seeds and images" in page
    assert "<i>95 % over images</i>" in page


def test_without_counts_the_cell_is_empty_and_says_why(run, tmp_path):
    run("fcn")
    run("ocr", counts=False)
    found, _, _ = tables(tmp_path, "against=fcn")
    row = found["ocr", "camvid val, ss, 1,500 steps"]
    assert row["mIoU, mean ± sd over seeds"] == "60.00"
    assert (row["mIoU, 95 % over images"], row["mIoU, Δ to fcn"], row["mIoU, p"]) == ("", "", "")
    assert "no interval: 1 of 1 runs have no per_image/val_ss.npz" in row["note"]


def test_reports_of_earlier_runs_are_as_they_were(run, tmp_path):
    run("fcn", counts=False)
    folder = report(options([f"runs={tmp_path}", "tables=[ctnet_t5]"], "report"))
    assert not (folder / "statistics.md").exists()


def test_evaluations_belong_to_the_run_that_they_score(run, tmp_path):
    """By the last two folders of the checkpoint, so runs may have been moved; each split is a line of its own."""
    for head in ("fcn", "ocr"):
        for seed in range(2):
            run(head, ckpt=run(head, seed), split="test", right=700 + 20 * seed)
    found, _, _ = tables(tmp_path, "against=ocr")
    row = found["fcn", "camvid test, ss, 1,500 steps"]
    assert (row["seeds"], row["mIoU, mean ± sd over seeds"]) == ("2", "71.00 ± 1.41")
    assert row["mIoU, p"]
    assert len(found) == 4


def test_an_evaluation_without_its_run_stands_for_itself(run, tmp_path):
    run("fcn")
    lost = run("ocr", ckpt=tmp_path / "gone/2025-12-31_00-00-00")
    bare = run("ocr", ckpt=tmp_path)
    metrics = json.loads((bare / "metrics.json").read_text())
    (bare / "metrics.json").write_text(json.dumps(metrics | {"ckpt": "last.ckpt"}))
    found, _, _ = tables(tmp_path)
    assert {name for name, _ in found} == {"fcn", *("/".join(folder.parts[-2:]) for folder in (lost, bare))}


def test_jobs_of_one_second_are_told_apart():
    """Two rows of two tables have folders of one name; all were moved since they were scored."""
    moved = [SimpleNamespace(folder=Path(f"/new/{table}/agln_s0/2026-01-01_00-00-00")) for table in ("heads", "tuned")]
    for run in moved:
        assert training_in(Path("/old", *run.folder.parts[2:]), moved) is run
    assert training_in(Path("/old/agln_s0/2026-01-01_00-00-00"), moved) is None
    assert training_in(Path("/old/agln_s0/2026-01-01_00-00-00"), moved[:1]) is moved[0]
    assert training_in(Path("/old/ocr_s0/2026-01-01_00-00-00"), moved) is None


def test_block_lengths_side_by_side(run, tmp_path):
    run("fcn", block=4)
    run("other", name="b")
    found, widths, text = tables(tmp_path, "blocks=[1,4,5]")
    assert found["fcn", "camvid val, ss, 1,500 steps"]["images"] == "40 in blocks of 4"
    assert found["other", "camvid val, ss, 1,500 steps"]["images"] == "40", "no frames"
    ((name, _),) = widths
    row = widths[name, "camvid val, ss, 1,500 steps"]
    assert name == "fcn"
    assert float(row["block 1"]) > 0
    assert float(row["block 4"]) > 0, "10 blocks"
    assert row["block 5"].startswith("("), "8 blocks"
    assert "fewer than 10 blocks" in text
    found, _, _ = tables(tmp_path, "block=8")
    assert "fewer than 10 blocks: the interval is too short" in found["fcn", "camvid val, ss, 1,500 steps"]["note"]
    found, _, _ = tables(tmp_path, "block=2")
    assert found["fcn", "camvid val, ss, 1,500 steps"]["images"] == "40 in blocks of 2"


def test_names_are_as_short_as_can_be(run, tmp_path):
    run("fcn", width=32)
    run("fcn", width=64)
    run("ocr", width=32)
    found, _, _ = tables(tmp_path, 'against="head=fcn,width=64"')
    names = {name for name, _ in found}
    assert names == {"fcn, width=32", "fcn, width=64", "ocr"}
    with pytest.raises(ConfigError, match="against=fcn: fits 2 configurations; give one of fcn, width=32"):
        tables(tmp_path, "against=fcn")


def test_a_name_has_what_its_configuration_needs():
    """The head, then the fewest settings; without the name of a group or of the part above, unless another has it."""

    def names(*configs):
        common = {"choices": {"head": "fcn", "backbone": "tiny"}, "optim": {"lr": 0.1}, "trainer": {"max_steps": 9}}
        return list(configuration_names(common | config for config in configs).values())

    def head(name, **settings):
        return {"choices": {"head": name, "backbone": "tiny"}, "head": {"_target_": name, **settings}}

    def backbone(name):
        return {"choices": {"head": "fcn", "backbone": name}, "backbone": {"model": name}}

    assert names(head("fcn", channels=64)) == ["fcn"]
    assert names(head("fcn"), head("ocr", channels=64, regions=3)) == ["fcn", "ocr"]
    assert names({"optim": {"lr": 0.1}}, {"optim": {"lr": 0.2}}) == ["fcn, lr=0.1", "fcn, lr=0.2"]
    two = [body | {"optim": {"lr": lr}} for body in (backbone("a"), backbone("b")) for lr in (1, 2)]
    assert names(*two, head("ocr")) == ["fcn, a, lr=1", "fcn, a, lr=2", "fcn, b, lr=1", "fcn, b, lr=2", "ocr"]
    beside = {"aux_head": {"channels": 8}}
    some = names(head("fcn", channels=1) | beside, head("fcn", channels=2) | beside, head("ocr"))
    assert some == ["fcn, head.channels=1", "fcn, head.channels=2", "ocr"]
    assert names(*({"neck": {"_target_": name}} for name in ("JPU", "NoNeck"))) == ["fcn, neck=JPU", "fcn, neck=NoNeck"]
    row = {"row": "table/key"}
    assert names(row, {"optim": {"lr": 3}}) == ["table/key", "fcn"]
    assert set(names(row, row | {"optim": {"lr": 3}})) == {"table/key (lr=0.1)", "table/key (lr=3)"}


def test_the_plain_table_has_the_same_names_and_averages_seeds_only(run, tmp_path):
    for seed in range(2):
        run("fcn", seed, right=600 + 20 * seed, optim={"lr": 0.1})
    run("fcn", 0, right=700, optim={"lr": 0.2})
    run("fcn", 0, right=800, optim={"lr": 0.2})
    found, _, _ = tables(tmp_path)
    lines = (tmp_path / "report/runs.md").read_text().splitlines()[2:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| fcn, lr=0.1", "2", "61.0 ± 1.4"],
        ["| fcn, lr=0.2", "1", "80.0"],
    ]
    assert {name for name, _ in found} == {"fcn, lr=0.1", "fcn, lr=0.2"}


@pytest.mark.parametrize(
    "asked", ["ocr", "head=ocr", "ocr,width=32", "lr=0.2", "optim.lr=0.2", "fcn, lr=0.2", "lr=0.2,fcn"]
)
def test_a_base_is_named_by_any_setting(run, tmp_path, asked):
    run("fcn", optim={"lr": 0.1})
    run("fcn", optim={"lr": 0.2})
    run("ocr", optim={"lr": 0.1}, width=32)
    found, _, _ = tables(tmp_path, f"against='{asked}'")
    base = "ocr" if "ocr" in asked else "fcn, lr=0.2"
    assert found[base, "camvid val, ss, 1,500 steps"]["mIoU, p"] == ""
    assert f"mIoU, Δ to {base}" in found[base, "camvid val, ss, 1,500 steps"]


def test_scores_by_sequence(run, tmp_path):
    """One without counts, and images that are no frames, have no row."""
    names = [f"{'0001TP_' if i < 10 else 'Seq05VD_f'}{i:05d}" for i in range(IMAGES)]
    folders = [run("fcn", seed, block=4, names=names) for seed in range(2)]
    run("ocr", block=4, names=names, counts=False)
    run("psp", block=None, names=names)
    *_, text = tables(tmp_path)
    below = text.partition("## By sequence")[2]
    header, _, *rows = [line for line in below.splitlines() if line.startswith("|")]
    assert header == "| configuration | scored on | 0001TP, 10 frames | Seq05VD, 30 frames |"
    by_hand = []
    for frames in (slice(10), slice(10, IMAGES)):
        seeds = [loaded(folder).totals[frames].sum(0) for folder in folders]
        mious = [np.mean([100 * right / (truth + told - right) for right, truth, told in total]) for total in seeds]
        by_hand.append(f"{np.mean(mious):.2f} ± {np.std(mious, ddof=1):.2f}")
    assert rows == [f"| fcn | camvid val, ss, 1,500 steps | {' | '.join(by_hand)} |"]


def test_one_sequence_and_very_many_have_no_table(run, tmp_path):
    run("fcn", block=4)
    assert "## By sequence" not in tables(tmp_path)[2]
    run("ocr", block=4, split="test", names=[f"street{i}a_1" for i in range(IMAGES)])
    assert "camvid test, ss, 1,500 steps: 40 sequences, more than the 12 that a table can show." in tables(tmp_path)[2]


def test_against_a_row(run, tmp_path):
    run("ctnet", row="ctnet_t5/ctnet_resnet50")
    run("fcn", row="ccnet_t2/fcn", right=500)
    found, _, _ = tables(tmp_path, "against=ctnet_t5/ctnet_resnet50", "tables=[ctnet_t5,ccnet_t2]")
    assert found["ccnet_t2/fcn", "camvid val, ss, 1,500 steps"]["mIoU, Δ to ctnet_t5/ctnet_resnet50"].startswith("-")


def test_against_nothing(run, tmp_path):
    run("fcn")
    with pytest.raises(ConfigError, match=r"against=psp: is no run here; give one of fcn"):
        tables(tmp_path, "against=psp")


def test_other_images_are_not_compared(run, tmp_path):
    folder = run("fcn")
    run("ocr", name="b")
    found, _, _ = tables(tmp_path, f"against={folder}")
    row = found["ocr", "camvid val, ss, 1,500 steps"]
    assert "no Δ: two runs were scored on different images (b_0 and a_0)" in row["note"]
    assert row["mIoU, p"] == ""


def test_a_base_that_was_scored_elsewhere_is_refused(run, tmp_path):
    run("fcn")
    run("ocr", split="test")
    with pytest.raises(ConfigError, match=r"against=fcn: it was scored on camvid val.* evaluate both on one split"):
        tables(tmp_path, "against=fcn")
