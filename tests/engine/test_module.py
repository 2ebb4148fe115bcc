"""The training step and every switch of the trainer, by its effect."""

import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from selected import quick
from torch import nn

from contextseg.commands.compose import compose
from contextseg.commands.train.options import checked
from contextseg.engine import build
from contextseg.engine.trainer import accumulation, cpu_has_bf16, precision, trainer
from contextseg.errors import ConfigError
from contextseg.recipe import head_classes
from contextseg.statistics import ImageCounts


class Watch(L.Callback):
    """Keeps what modules return in training, by name, and the gradient norm and learning rate of every step."""

    def __init__(self, *names):
        self.names, self.seen, self.norms, self.rates, self.batches = names, {}, [], [], []

    def on_train_start(self, trainer, module):
        for name in self.names:
            module.segmenter.get_submodule(name).register_forward_hook(
                lambda m, inputs, output, name=name: self.seen.setdefault(name, []).append(output)
            )
        trainer.optimizers[0].register_step_post_hook(self.after_step)

    def after_step(self, optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        self.norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch.name)


# Whole runs


def check_run_folder(result, data, head):
    """Everything of design.md, section 5."""
    folder, classes = result.folder, result.datamodule.classes
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["status"] == "finished"
    assert metrics["steps"] == 2
    assert metrics["split"] == "val"
    assert metrics["protocol"] == "ss"
    assert metrics["seed"] == 0
    assert metrics["choices"]["head"] == head
    assert metrics["choices"]["data"] == data
    assert metrics["seconds"] > 0
    assert metrics["images_per_second"] > 0
    assert {"torch", "lightning", "timm"} <= metrics["versions"].keys()
    assert "git_commit" in metrics
    assert metrics["best"]["step"] == 2
    assert metrics["best"]["miou"] == pytest.approx(metrics["miou"], abs=1e-3)

    confusion = np.load(folder / "confusion.npz")["confusion"].astype(float)
    right, union = confusion.diagonal(), confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    assert metrics["miou"] == pytest.approx(100 * np.mean(right[union > 0] / union[union > 0]), abs=1e-3)
    assert metrics["pix_acc"] == pytest.approx(100 * right.sum() / confusion.sum(), abs=1e-3)
    assert metrics["mean_acc"] is not None
    counts = ImageCounts.load(folder / "per_image" / "val_ss.npz")
    source = result.datamodule.source("val")
    assert list(counts.names) == [source.read(index)[2] for index in range(len(source))]
    assert (counts.confusion == confusion).all()
    assert list(metrics["iou"]) == list(classes.names)

    config = (folder / "config.yaml").read_text()
    assert "${" not in config
    assert yaml.safe_load(config)["choices"]["head"] == head
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    assert {"step", "train/loss", "train/loss_ce", "val/miou"} <= set(header.split(","))
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    lines = (folder / "per_class.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["class", *classes.names]
    assert (folder / "train.log").stat().st_size > 0
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert len(names) == 2
    assert names[0].startswith("best-000002-")
    assert names[1] == "last.ckpt"


@pytest.mark.parametrize("head", quick(head_classes(), ["cpnet", "ctnet"]))
def test_every_head_trains_and_leaves_a_whole_folder(head, tmp_run):
    """By the option that has the name of its file."""
    result = tmp_run(f"head={head}")
    check_run_folder(result, "context_scenes", head)
    assert {"far_acc", "near_acc", "iou_scene", "iou_furniture", "iou_pole"} <= result.metrics.keys()


def test_a_head_tied_to_its_crop_trains_on_photographs(tmp_run):
    result = tmp_run("head=cpnet", "data=camvid")
    check_run_folder(result, "camvid", "cpnet")
    assert result.module.metrics["seg"].confusion.sum() > 0
    assert ImageCounts.load(result.folder / "per_image/val_ss.npz").block == 15


def test_a_run_draws_its_pictures(tmp_run):
    result = tmp_run("head=fcn", "callbacks.pictures.count=3")
    assert len(list((result.folder / "predictions").glob("*.png"))) == 3


def test_a_run_refused_in_a_given_folder_says_so_there(tmp_run, tmp_path):
    (tmp_path / "given").mkdir()
    with pytest.raises(ConfigError, match=r"head\.regions=7"):
        tmp_run("head.regions=7", f"run.dir={tmp_path}/given")
    metrics = json.loads((tmp_path / "given/metrics.json").read_text())
    assert metrics["status"] == "failed"
    assert "head.regions=7" in metrics["error"]
    assert "Traceback" in (tmp_path / "given/train.log").read_text()


def test_training_lowers_the_loss(train_with):
    class Losses(L.Callback):
        values = ()

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            self.values += (outputs["loss"].item(),)

    losses = Losses()
    train_with(["head=fcn", "trainer.max_steps=30", "schedule=constant", "optim=adamw"], losses)
    assert np.mean(losses.values[-5:]) < 0.8 * np.mean(losses.values[:5])


def test_two_runs_are_alike_and_another_seed_is_not(train_with):
    weights = []
    for seed in (0, 0, 1):
        module, _ = train_with(["head=fcn", f"seed={seed}"])
        weights.append(module.segmenter.head.classifier.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# Pairing of heads and losses


def paired(*overrides):
    cfg = compose(["width=16", *overrides])
    return build.module(cfg, build.datamodule(cfg))


@pytest.mark.parametrize(
    ("head", "loss", "exists"),
    [("fcn", "aux", True), ("fcn", "ce", False), ("ocr", "aux", False), ("ocr", "ce", False)],
)
def test_the_auxiliary_head_exists_only_when_it_is_read(head, loss, exists):
    module = paired(f"head={head}", f"loss={loss}")
    assert (module.segmenter.aux_head is not None) is exists
    assert (module.recipe["aux_head"] is not None) is exists
    if exists:
        assert module.segmenter.aux_head.source == -2


def test_a_loss_that_nothing_feeds_is_refused():
    with pytest.raises(ConfigError) as refusal:
        paired("head=fcn", "loss=cp")
    message = str(refusal.value)
    for part in ("loss term cp", "'class_probability'", "FCNHead", "heads that emit it: ctnet, encnet, reference"):
        assert part in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+head.depth=3"], r"unknown option head\.depth=3"),
        (["+loss.term.ce.gamma=2"], r"unknown option loss\.term\.ce\.gamma=2"),
        (["loss.term.ce.weight=-1"], r"loss\.term\.ce\.weight=-1: give a number"),
        (["+optim.beta=3"], r"unknown option optim\.beta=3"),
    ],
)
def test_an_argument_that_does_not_exist_is_refused_by_its_option(overrides, message):
    with pytest.raises(ConfigError, match=message):
        paired(*overrides).configure_optimizers()


# Switches


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("32", torch.float32)])
def test_precision_reaches_the_head(train_with, precision, dtype):
    watch = Watch("head.classifier", "backbone.stem")
    module, _ = train_with([f"trainer.precision={precision}"], watch)
    assert {x.dtype for outputs in watch.seen.values() for x in outputs} == {dtype}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    labels = module.predict_labels(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 64, 64))
    assert labels.shape == (1, 64, 64)
    assert watch.seen["head.classifier"][-1].dtype == dtype


@pytest.mark.parametrize("wanted", ["16", 16, "16-mixed"])
def test_half_precision_is_refused_on_the_cpu(wanted):
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        precision(wanted, "cpu")


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="precision=64: choose auto, 32, bf16 or 16"):
        precision(64, "cpu")


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_precision_follows_the_processor(monkeypatch, has, expected):
    monkeypatch.setattr("contextseg.engine.trainer.cpu_has_bf16", lambda: has)
    assert precision("auto", "cpu") == expected


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux tells")
def test_the_processor_is_judged_rightly():
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    if not flags:
        pytest.skip("not an x86 processor")
    assert cpu_has_bf16() == bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


@pytest.mark.parametrize("wanted", [True, False])
def test_channels_last_reaches_a_middle_map(train_with, wanted):
    watch = Watch("backbone.stages.0")
    train_with([f"trainer.channels_last={wanted}", "head=fcn"], watch)
    for x in watch.seen["backbone.stages.0"]:
        assert x.is_contiguous(memory_format=torch.channels_last) is wanted
        assert x.is_contiguous() is not wanted


def test_the_compiled_graph_runs(train_with, monkeypatch):
    runs = []

    def counting(graph, inputs):
        def call(*args):
            runs.append(len(args))
            return graph.forward(*args)

        return call

    torch._dynamo.reset()
    torch._dynamo.register_backend(counting, name="counting")
    plain, _ = train_with(["head=fcn", "optim=sgd"])  # AdamW would amplify rounding
    assert not runs
    monkeypatch.setattr(build, "set_switches", lambda network, options: network.compile(backend="counting"))
    compiled, _ = train_with(["head=fcn", "optim=sgd"])
    assert len(runs) == 2  # one graph, two steps
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def test_clipping_binds(train_with):
    free, bound = Watch(), Watch()
    train_with(["trainer.gradient_clip=null"], free)
    train_with(["trainer.gradient_clip=0.25"], bound)
    assert min(free.norms) > 0.3
    assert max(bound.norms) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm_keeps_its_statistics(train_with, frozen):
    module, _ = train_with([f"frozen_batch_norm={frozen}"])
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        started = torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
        assert started is frozen
    module.train()
    assert {norm.training for norm in norms} == {not frozen}
    assert module.segmenter.head.dropout.training


def test_accumulation_keeps_the_steps_and_the_schedule(train_with):
    whole, parts = Watch(), Watch()
    overrides = ["data.batch_size=8", "trainer.max_steps=3", "schedule=poly"]
    _, trainer = train_with(overrides, whole)
    assert trainer.global_step == 3
    _, trainer = train_with([*overrides, "trainer.max_device_batch=4"], parts)
    assert trainer.global_step == 3
    assert parts.rates == whole.rates
    assert [len(names) for names in whole.batches] == [8] * 3
    assert [len(names) for names in parts.batches] == [4] * 6
    united = [sorted(a + b) for a, b in zip(parts.batches[::2], parts.batches[1::2], strict=True)]
    assert united == [sorted(names) for names in whole.batches]  # the same images in every step


@pytest.mark.parametrize(
    ("batch", "devices", "most", "expected"),
    [(8, 1, None, 1), (8, 1, 8, 1), (8, 1, 4, 2), (8, 1, 3, 4), (8, 2, 4, 1), (8, 2, 1, 4), (12, 1, 5, 3)],
)
def test_how_often_gradients_accumulate(batch, devices, most, expected):
    assert accumulation(most, batch, devices) == expected


def test_the_schedule_counts_optimizer_steps(train_with):
    watch = Watch()
    train_with(["optim=sgd", "optim.lr=0.1", "schedule=poly", "trainer.max_steps=4"], watch)
    assert watch.rates == pytest.approx([0.1 * (1 - step / 4) ** 0.9 for step in range(4)])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.sync_batchnorm=true", "synchronised batch norm needs CUDA"),
        ("trainer.precision=16", "float16 needs a GPU"),
        ("trainer.max_steps=0", "max_steps=0: give a whole number, 1 or more"),
        ("trainer.val_every_steps=-1", "val_every_steps=-1"),
        ("trainer.save_every_steps=0", "save_every_steps=0"),
        ("trainer.devices=0", "devices=0"),
    ],
)
def test_impossible_trainers_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        trainer(checked(compose(["trainer=cpu", override]))[0].trainer, 8, [], [])


# Evaluation


def test_evaluation_needs_no_labels_but_an_oracle_gets_them(train_with):
    module, _ = train_with(["head=fcn"])
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    module.eval()
    labels = module.predict_labels(image, torch.zeros(2, 32, 32, dtype=torch.uint8))
    assert labels.shape == (2, 32, 32)  # the size of the mask, not of the image
    full = module.predict_labels(image, torch.zeros(2, 64, 64, dtype=torch.uint8))
    assert torch.equal(full, module.segmenter.predict(image))
