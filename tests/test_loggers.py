"""W&B and TensorBoard mirror the run folder; neither ever stops a run."""

import json
import struct
from pathlib import Path

import pytest
from harness import SMALL, PowerCut, call, curve, disturb, folders, train

SHORT = ("trainer.max_steps=4", "trainer.val_every_steps=2")


class Closing:
    """The least that Lightning and `run.loggers` need of a logger; `closed` tells how each one ended."""

    closed: list[int]

    name, version, save_dir, log_dir, root_dir = "closing", "", None, None, None

    def __init__(self):
        self.experiment = self

    def finish(self, exit_code):
        self.closed.append(exit_code)

    def log_hyperparams(self, *args, **kwargs): ...

    log_metrics = log_graph = save = finalize = after_save_checkpoint = log_hyperparams


@pytest.fixture
def closed(monkeypatch):
    monkeypatch.setattr(Closing, "closed", [], raising=False)
    return Closing.closed


CLOSING = "+logger.closing={_target_:test_loggers.Closing}"


@pytest.fixture
def no_key(tmp_path, monkeypatch):
    """A machine without a W&B account."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home/none"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def wandb_records(file: Path) -> list:
    """The records of an offline run, of W&B's own type; the file frames them as a LevelDB log."""
    from wandb.proto import wandb_internal_pb2

    header, frame, block = 7, 7, 32768
    contents, position, parts, records = file.read_bytes(), header, b"", []
    while position + frame <= len(contents):
        if block - position % block < frame:  # the rest of a block that no frame fits in
            position += block - position % block
            continue
        size, kind = struct.unpack("<HB", contents[position + 4 : position + frame])
        position += frame + size
        parts += contents[position - size : position]
        if kind in (1, 4):  # a whole record, or its last part
            records.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return records


def items(record) -> dict:
    """The keys and values of a record of the history or the configuration."""
    pairs = record.history.item if record.WhichOneof("record_type") == "history" else record.config.update
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in pairs}


def test_an_offline_wandb_run_can_be_opened_again(tmp_path, no_key):
    run = train(tmp_path, *SHORT, "logger=wandb", "callbacks.pictures.count=2", "head.channels=8")
    (file,) = run.folder.glob("wandb/offline-run-*/run-*.wandb")
    records = wandb_records(file)
    of_type = {
        kind: [r for r in records if r.WhichOneof("record_type") == kind] for kind in ("run", "config", "history")
    }

    assert of_type["run"][0].run.run_id == "-".join(run.folder.parts[-2:])
    assert of_type["run"][0].run.project == "contextseg"
    assert {key: value for record in of_type["config"] for key, value in items(record).items()}["head"]["channels"] == 8

    rows = [items(record) for record in of_type["history"]]
    stored = {row["step"]: float(row["train/loss"]) for row in curve(run.folder)}
    sent = {str(row["trainer/global_step"]): row["train/loss"] for row in rows if "train/loss" in row}
    assert sent == stored
    scored = {row["trainer/global_step"]: row["val/miou"] for row in rows if "val/miou" in row}
    assert scored.keys() == {2, 4}
    assert scored[4] == pytest.approx(run.metrics["miou"], abs=1e-3)
    assert any("val/iou/foliage" in row for row in rows)

    tables = [row["val/per_class/path"] for row in rows if row.get("val/per_class/_type") == "table-file"]
    table = json.loads((file.parent / "files" / tables[-1]).read_text())
    assert table["columns"] == ["class", "iou", "acc"]
    assert [row[0] for row in table["data"]] == list(run.metrics["iou"])
    pictures = [name for row in rows for name in row.get("val/predictions/filenames", [])]
    assert len(pictures) == 4
    assert all((file.parent / "files" / name).is_file() for name in pictures)
    assert records[-1].WhichOneof("record_type") == "exit"
    assert records[-1].exit.exit_code == 0


def test_a_wandb_that_cannot_start_is_left_out(tmp_path, no_key, monkeypatch, caplog):
    import wandb

    def offline(*args, **kwargs):
        raise wandb.errors.CommError("no connection")

    monkeypatch.setattr(wandb, "init", offline)
    run = train(tmp_path, *SHORT, "logger=wandb")
    assert run.metrics["status"] == "finished"
    assert len(curve(run.folder)) == 4
    assert "logger.wandb does not start (CommError: no connection); going on without it" in caplog.text


def test_tensorboard_holds_scalars_and_pictures(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(tmp_path, *SHORT, "logger=tensorboard", "callbacks.pictures.count=2")
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard")).Reload()
    loss = {str(event.step): event.value for event in events.Scalars("train/loss")}
    assert loss == pytest.approx({row["step"]: float(row["train/loss"]) for row in curve(run.folder)})
    assert [event.step for event in events.Scalars("val/miou")] == [2, 4]
    assert len([tag for tag in events.Tags()["images"] if tag.startswith("val/predictions/")]) == 2


def test_loggers_are_closed_however_a_run_ends(tmp_path, closed):
    train(tmp_path, *SHORT, CLOSING)
    assert closed == [0]
    with pytest.raises(PowerCut):
        train(tmp_path, *SHORT, CLOSING, disturb(1))
    assert closed == [0, 1]


def test_the_jobs_of_a_sweep_do_not_share_a_logger(tmp_path, closed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = call("train", "-m", "seed=0,1", *SMALL, "trainer.max_steps=1", CLOSING)
    assert code == 0, said
    assert len(folders(tmp_path)) == 2
    assert closed == [0, 0]
