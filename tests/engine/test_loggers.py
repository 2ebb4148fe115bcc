"""W&B and TensorBoard mirror the run folder; neither ever stops a run."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from harness import PowerCut, curve, disturb, folders, last_checkpoint, train
from PIL import Image

from contextseg.engine.loggers import sweep_of, tags
from contextseg.engine.tensorboard import TensorBoard

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


class Breaking(Closing):
    """Loses its connection at the second step; `told` are the steps that it was told of."""

    told: list[int]

    name = "breaking"

    def log_metrics(self, row, step):
        self.told.append(step)
        if step == 2:
            raise ConnectionError("no route to host")


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


def last_table(files: Path, rows: list[dict], key: str) -> dict:
    """The table that was sent last under a key."""
    paths = [row[f"{key}/path"] for row in rows if f"{key}/path" in row]
    return json.loads((files / paths[-1]).read_text())


@pytest.mark.slow
def test_an_offline_wandb_run_can_be_opened_again(tmp_path, no_key):
    run = train(tmp_path, *SHORT, "logger=wandb", "callbacks.pictures.count=2", "head.channels=8")
    (file,) = run.folder.glob("wandb/offline-run-*/run-*.wandb")
    records = wandb_records(file)
    of_type = {
        kind: [r for r in records if r.WhichOneof("record_type") == kind] for kind in ("run", "config", "history")
    }

    assert of_type["run"][0].run.run_id.startswith("-".join(run.folder.parts[-3:]))
    assert of_type["run"][0].run.project == "contextseg"
    assert of_type["run"][0].run.tags == ["fcn", "context_scenes"]
    assert not of_type["run"][0].run.run_group
    assert {key: value for record in of_type["config"] for key, value in items(record).items()}["head"]["channels"] == 8

    rows = [items(record) for record in of_type["history"]]
    curves = {row["step"]: float(row["train/loss"]) for row in curve(run.folder)}
    sent = {str(row["trainer/global_step"]): row["train/loss"] for row in rows if "train/loss" in row}
    assert sent == curves
    every = {name for row in rows for name in row}
    assert every >= {"train/loss_ce", "train/lr_head", "train/images_per_second", "train/peak_ram_gib"}
    scored = {row["trainer/global_step"]: row["val/miou"] for row in rows if "val/miou" in row}
    assert scored.keys() == {2, 4}
    assert scored[4] == pytest.approx(run.metrics["miou"], abs=1e-3)
    assert "val/iou/foliage" in every

    stored = file.parent / "files"
    names = list(run.metrics["iou"])
    per_class, confusion = (last_table(stored, rows, key) for key in ("val/per_class", "val/confusion"))
    assert per_class["columns"] == ["class", "iou", "acc"]
    assert [row[0] for row in per_class["data"]] == names
    assert confusion["columns"] == ["Actual", "Predicted", "nPredictions"], "those of W&B's chart"
    assert {name for row in confusion["data"] for name in row[:2]} <= set(names)
    assert sum(row[2] for row in confusion["data"]) == np.load(run.folder / "confusion.npz")["confusion"].sum()
    for key, count in {"predictions": 2, "masks": 2, "context": 1, "confusion_picture": 1}.items():
        pictures = [row[f"val/{key}/filenames"] for row in rows if f"val/{key}/filenames" in row]
        assert [len(of_step) for of_step in pictures] == [count, count], key
        assert all((stored / name).is_file() for of_step in pictures for name in of_step)
    masks = [image for row in rows for image in row.get("val/masks/all_masks", [])]
    assert [image.keys() for image in masks] == [{"truth", "prediction"}] * 4
    truth = np.asarray(Image.open(stored / masks[-1]["truth"]["path"]))
    assert set(np.unique(truth)) <= {*range(len(names)), 255}
    labels = str([items(record) for record in of_type["config"]])
    assert "'val/masks_wandb_delimeter_truth'" in labels
    assert "'255': 'void'" in labels
    assert records[-1].WhichOneof("record_type") == "exit"
    assert records[-1].exit.exit_code == 0


@pytest.mark.slow
def test_a_resumed_run_continues_the_curves_of_its_offline_run(tmp_path, no_key):
    with pytest.raises(PowerCut):
        train(tmp_path, "logger=wandb", disturb(7))
    (folder,) = folders(tmp_path)
    moved = folder.rename(folder.with_name("moved"))
    train(tmp_path, "logger=wandb", f"resume={moved}")
    files = sorted(moved.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    parts = [wandb_records(file) for file in files]
    starts = [next(r.run for r in records if r.WhichOneof("record_type") == "run") for records in parts]
    assert starts[0].run_id == starts[1].run_id
    assert starts[1].resume, "so that `wandb sync` appends"
    steps = [
        [row["trainer/global_step"] for row in rows if "train/loss" in row]
        for rows in ([items(r) for r in records if r.WhichOneof("record_type") == "history"] for records in parts)
    ]
    assert steps == [[1, 2, 3, 4, 5, 6, 7], [6, 7, 8, 9, 10]]


def test_a_run_keeps_the_id_in_its_checkpoint(tmp_path):
    with pytest.raises(PowerCut):
        train(tmp_path, disturb(7))
    (folder,) = folders(tmp_path)
    given = last_checkpoint(folder)["config"]["run"]["id"]
    assert given.startswith("-".join(folder.parts[-3:]))
    resumed = train(tmp_path, f"resume={folder.rename(folder.with_name('moved'))}")
    assert last_checkpoint(resumed.folder)["config"]["run"]["id"] == given


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
    pictures = [tag.split("/")[1] for tag in events.Tags()["images"]]
    assert sorted(pictures) == ["confusion_picture", "context", "predictions", "predictions"]
    (text,) = [event for event in events.Tensors("val/per_class/text_summary") if event.step == 4]
    lines = text.tensor_proto.string_val[0].decode().splitlines()
    assert lines[0] == "| class | iou | acc |"
    assert [line.split()[1] for line in lines[2:]] == list(run.metrics["iou"])


def test_loggers_are_closed_however_a_run_ends(tmp_path, closed):
    train(tmp_path, *SHORT, CLOSING)
    assert closed == [0]
    with pytest.raises(PowerCut):
        train(tmp_path, *SHORT, CLOSING, disturb(1))
    assert closed == [0, 1]


def test_a_logger_that_breaks_is_left_out_of_the_rest(tmp_path, closed, monkeypatch, caplog):
    monkeypatch.setattr(Breaking, "told", [], raising=False)
    run = train(tmp_path, *SHORT, "+logger.breaking={_target_:test_loggers.Breaking}")
    assert run.metrics["status"] == "finished"
    assert len(curve(run.folder)) == 4
    assert Breaking.told == [1, 2]
    assert closed == [0]
    assert caplog.text.count("breaking fails (ConnectionError: no route to host); going on without it") == 1


def test_runs_are_grouped_by_their_sweep_and_tagged():
    assert sweep_of("runs/sweeps/heads/2026-10-01_12-00-00/003_ocr_tiny_s0", None) == "2026-10-01_12-00-00"
    assert sweep_of("runs/ablations/ccnet_t1/r1_s0/2026-10-01_12-00-00", "ccnet_t1/r1") == "ccnet_t1"
    assert sweep_of("runs/ocr_tiny/2026-10-01_12-00-00", None) is None
    assert tags("ocr", "camvid", None) == ["ocr", "camvid"]
    assert tags("t/" + 100 * "x") == ["t/" + 62 * "x"]


def test_tensorboard_hides_steps_that_are_done_again(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for value, steps in ((1.0, (1, 2, 3, 4)), (2.0, (3, 4, 5))):  # the second run goes on after step 2
        logger = TensorBoard(str(tmp_path))
        if value == 2:
            logger.resume(2)
        for step in steps:
            logger.log_metrics({"loss": value}, step)
        logger.experiment.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]


def test_an_evaluation_that_is_done_again_adds_no_second_point(tmp_path):
    """Of the last step, after which a run was killed: what the kill lost is added, what is there is not."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for tag in ("known", "lost"):
        logger = TensorBoard(str(tmp_path))
        if tag == "lost":
            logger.resume(4)
        for name in {"known", tag}:
            logger.log_metrics({name: 1.0}, 4)
            logger.experiment.add_image(f"{name}_picture", np.zeros((2, 2, 3), np.uint8), 4, dataformats="HWC")
            logger.experiment.add_text(f"{name}_words", "words", 4)
        logger.log_metrics({"known": 2.0}, 5)
        logger.experiment.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("known")] == [4, 5]
    assert [event.step for event in events.Scalars("lost")] == [4]
    for name in ("known", "lost"):
        assert len(events.Images(f"{name}_picture")) == 1
        assert len(events.Tensors(f"{name}_words/text_summary")) == 1
