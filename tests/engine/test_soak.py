"""The harness that kills trainings sees a difference, and a few kills are made; `make soak` makes many."""

import json
import shutil

import pytest
import soak
import torch


@pytest.fixture
def two(tmp_path, trained):
    """Two folders that hold the same run."""
    for name in ("whole", "other"):
        shutil.copytree(trained.folder, tmp_path / name / trained.folder.parent.name / trained.folder.name)
    (folder,) = soak.finished(tmp_path / "other")
    return tmp_path, folder


def differ(folder):
    return list(soak.differences(folder / "whole", folder / "other"))


def test_the_same_run_is_equal(two):
    assert differ(two[0]) == []


def test_a_bit_of_a_weight_is_seen(two):
    folder, run = two
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    weights = checkpoint["state_dict"][name].view(-1)
    weights[0] = torch.nextafter(weights[0], weights.new_tensor(torch.inf))
    torch.save(checkpoint, run / "checkpoints/last.ckpt")
    assert differ(folder) == [f"state_dict/{name}"]


@pytest.mark.parametrize("what", ["metrics.json", "metrics.csv", "pictures", "counts", "parts", "best", "unfinished"])
def test_whatever_else_differs_is_seen(two, what):
    folder, run = two
    metrics = json.loads((run / "metrics.json").read_text())
    if what == "metrics.json":
        (run / what).write_text(json.dumps(metrics | {"miou": metrics["miou"] + 1e-4}))
    elif what == "metrics.csv":
        (run / what).write_text((run / what).read_text().rsplit("\n", 2)[0] + "\n")
    elif what == "pictures":
        next(run.glob("context/*.png")).unlink()
    elif what == "counts":
        next(run.glob("per_image/*.npz")).unlink()
    elif what == "parts":
        (run / ".part_1_metrics.json").touch()
    elif what == "best":
        (run / "checkpoints/best-000001-1.00.ckpt").touch()
    else:
        (run / "metrics.json").write_text(json.dumps(metrics | {"status": "failed"}))
    assert len(differ(folder)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("variant", soak.VARIANTS)
def test_a_few_kills(tmp_path, capfd, variant):
    assert soak.main(kills=2, events=40, variants=variant, out=str(tmp_path)) == 0
    done = (tmp_path / "kills.jsonl").read_text()
    assert 2 < done.count("event_") + 2 == len(done.splitlines())
    assert soak.main(kills=2, events=40, variants=variant, out=str(tmp_path)) == 0
    assert (tmp_path / "kills.jsonl").read_text() == done, "nothing was left to do"
