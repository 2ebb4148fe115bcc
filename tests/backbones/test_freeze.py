"""Freezing a backbone or its first stages: what stays, what learns, and that a run can be stopped and go on."""

import itertools
import logging
import subprocess
import sys

import pytest
import torch
from harness import COMMANDS, SMALL, PowerCut, disturb, folders, last_checkpoint, subprocess_environment, train
from selected import PAPERS, quick
from torch import nn

from contextseg import load_checkpoint, parts
from contextseg.backbones.timm_features import TimmBackbone
from contextseg.backbones.tiny import Tiny
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.engine import build
from contextseg.engine.build import plain
from contextseg.errors import ConfigError
from contextseg.optim import parameter_groups

HEADS = sorted(path.stem for path in (CONF / "head").glob("*.yaml"))


def changed(before, after):
    """Names of the tensors that differ between two state dicts."""
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


# By hand: the first names that are not frozen, among parameters in the order of computation.
@pytest.mark.parametrize(
    ("make", "stages", "first_free"),
    [
        (Tiny, 1, "stages.0.branch.0.0.weight"),
        (Tiny, 2, "stages.1.branch.0.0.weight"),
        (Tiny, 3, None),
        (Tiny, True, None),
        (lambda freeze: TimmBackbone("resnet18", freeze=freeze), 1, "network.layer2.0.conv1.weight"),
        (lambda freeze: TimmBackbone("resnet18", freeze=freeze), 2, "network.layer3.0.conv1.weight"),
        (lambda freeze: TimmBackbone("resnet50d", stages=3, freeze=freeze), 2, "network.layer3.0.conv1.weight"),
        (lambda freeze: TimmBackbone("mobilenetv2_100", freeze=freeze), 1, "network.blocks.2.0.conv_pw.weight"),
        pytest.param(
            lambda freeze: TimmBackbone("swin_tiny_patch4_window7_224", output_stride=32, freeze=freeze),
            2,
            "network.layers_2.downsample.norm.weight",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda freeze: TimmBackbone("hrnet_w18_small", freeze=freeze), True, None, marks=pytest.mark.slow),
    ],
)
def test_the_first_stages_are_frozen(make, stages, first_free):
    body = make(freeze=stages)
    names = [name for name, _ in body.named_parameters()]
    frozen = names if first_free is None else names[: names.index(first_free)]
    assert [name for name, parameter in body.named_parameters() if not parameter.requires_grad] == frozen
    for _ in range(2):
        body.train()
        for name, module in body.named_modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                assert module.training is (f"{name}.weight" not in frozen), name
        body.eval()
        assert not any(module.training for module in body.modules())


def test_nothing_is_frozen_unasked():
    for value in (False, None):
        body = parts.make({"_target_": "Tiny", "freeze": value}, "backbone")
        assert all(parameter.requires_grad for parameter in body.parameters())
        assert all(module.training for module in body.modules())


def test_frozen_modules_may_be_replaced():
    """As `sync_batchnorm` does, which puts new modules in the place of batch norms."""
    body = Tiny(freeze=1)
    body.train()
    swapped = nn.SyncBatchNorm.convert_sync_batchnorm(body)
    swapped.train()
    kinds = {name: module.training for name, module in swapped.named_modules() if isinstance(module, nn.SyncBatchNorm)}
    assert len(kinds) == 7
    assert [name for name, training in kinds.items() if not training] == ["stem.1"]


def test_the_maps_are_the_same_as_unfrozen():
    torch.manual_seed(1)
    plain_body = TimmBackbone("resnet18")
    torch.manual_seed(1)
    body = TimmBackbone("resnet18", freeze=2)
    assert not changed(plain_body.state_dict(), body.state_dict())
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    for a, b in zip(plain_body.eval()(image), body.eval()(image), strict=True):
        assert torch.equal(a, b)


def step(network, loss):
    """One step of SGD on four random images."""
    image = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    mask = torch.randint(0, 12, (4, 8, 8), dtype=torch.uint8).repeat_interleave(8, 1).repeat_interleave(8, 2)
    optimizer = torch.optim.SGD(parameter_groups(network, lr=0.1, weight_decay=0.1), momentum=0.9)
    loss(network(image, mask), mask)[0].backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("head", quick(HEADS, [*PAPERS, "fcn"]))
@pytest.mark.parametrize("frozen", quick([True, 2], ["True"]))
def test_every_head_learns_on_a_frozen_backbone(head, frozen):
    """What is frozen stays to the bit; all else gets a gradient, or DDP stops."""
    cfg = compose([f"head={head}", "data.size=64", "width=16", f"backbone.freeze={frozen}"])
    network, recipe = build.network(cfg, class_set("context_scenes"))
    network.train()
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    optimizer = step(network, build.loss(cfg))
    free = {name for name, p in network.backbone.named_parameters() if p.requires_grad}
    assert bool(free) is (frozen is not True)
    assert all(name.startswith("stages.1.") for name in changed(before, network.backbone.state_dict()))
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad is (id(parameter) in held), name
    assert "freeze" not in recipe["backbone"]


# Whole runs


@pytest.mark.parametrize("frozen", quick(["true", "1"], ["1"]))
def test_a_run_says_it_and_keeps_what_is_frozen(tmp_path, caplog, frozen):
    caplog.set_level(logging.INFO)
    overrides = ["head=ocr", f"backbone.freeze={frozen}"]
    result = train(tmp_path, *overrides)
    (line,) = [line for line in caplog.messages if "frozen" in line]
    assert line.startswith(f"frozen: {'0.16' if frozen == 'true' else '0.00'} of 0.16 M parameters of the backbone")
    cfg = compose([*SMALL, *overrides])
    torch.manual_seed(0)  # as the run began
    started = parts.make(plain(cfg.backbone), "backbone").state_dict()
    ended = result.module.segmenter.backbone.state_dict()
    moved = changed(started, ended)
    assert not any(name.startswith("stem.") for name in moved)
    assert bool(moved) is (frozen == "1")
    reloaded = load_checkpoint(result.folder / "checkpoints/last.ckpt")  # knows nothing of it
    assert all(parameter.requires_grad for parameter in reloaded.parameters())
    assert not changed(ended, reloaded.backbone.state_dict())


@pytest.mark.slow
def test_a_restart_is_exact(tmp_path):
    overrides = ["backbone.freeze=2", "optim.backbone_lr_mult=0.5", "name=f"]
    whole = train(tmp_path / "whole", *overrides)
    with pytest.raises(PowerCut):
        train(tmp_path / "cut", *overrides, disturb(7))
    resumed = train(tmp_path / "cut", *overrides, "resume=auto")
    a, b = (last_checkpoint(run.folder)["state_dict"] for run in (whole, resumed))
    assert not changed(a, b)


@pytest.mark.slow  # the contract of every head compiles
def test_compiled_it_is_the_same(tmp_path):
    overrides = ["head=fcn", "backbone.freeze=2", "trainer.max_steps=2", "optim=sgd"]  # AdamW would amplify rounding
    plain_run, compiled = (
        train(tmp_path / str(backend), *overrides, f"trainer.compile={backend}") for backend in ("false", "aot_eager")
    )
    weights = [run.module.segmenter.state_dict() for run in (plain_run, compiled)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["1", "true"])
def test_several_processes(tmp_path, frozen, warm):
    """No parameter is left without a gradient, which DDP would refuse."""
    settings = [*SMALL, "head=ocr", f"backbone.freeze={frozen}", "trainer=ddp_cpu", "trainer.devices=2"]
    line = [sys.executable, str(COMMANDS / "train.py"), *settings, "trainer.max_steps=2", f"paths.runs={tmp_path}"]
    done = subprocess.run(line, env=subprocess_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("frozen: ") == 1
    (folder,) = folders(tmp_path)
    weights = last_checkpoint(folder)["state_dict"]
    assert weights["segmenter.backbone.stem.1.num_batches_tracked"] == 0
    assert weights["segmenter.backbone.stages.1.shortcut.1.num_batches_tracked"] == (0 if frozen == "true" else 2)


# Refusals


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("maybe", r"backbone\.freeze=maybe: give true or false or a whole number, 1 or more"),
        ("0", r"backbone\.freeze=0: give true or false or a whole number, 1 or more"),
        ("1.5", r"backbone\.freeze=1\.5: give true or false or a whole number, 1 or more"),
        ("4", r"backbone\.freeze=4: this backbone has 3 stages.*at strides 2, 4, 8; give true, or 1 to 3"),
    ],
)
def test_bad_values_are_refused(value, said):
    with pytest.raises(ConfigError, match=said):
        parts.make(plain(compose([f"backbone.freeze={value}"]).backbone), "backbone")


@pytest.mark.slow
def test_maps_side_by_side_have_no_first_stages():
    with pytest.raises(ConfigError, match=r"backbone\.freeze=2: the maps of this backbone are made side by side.*true"):
        TimmBackbone("hrnet_w18_small", freeze=2)


# The learning rate of the backbone


def test_the_backbone_rate_is_multiplied_beside_that_of_the_head():
    cfg = compose(["head=fcn", "optim=sgd", "optim.lr=0.1", "optim.head_lr_mult=10", "optim.backbone_lr_mult=0.5"])
    network, _ = build.network(cfg, class_set("context_scenes"))
    settings = [{}, {"decay_norm_and_bias": False}]
    for more in settings:
        optimizer = build.instantiate({**cfg.optim, **more}, "optim", model=network)
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        kinds = ("", "_no_decay") if more else ("",)
        expected = {f"{part}{kind}" for part, kind in itertools.product(("backbone", "head"), kinds)}
        assert rates == {name: pytest.approx(0.05 if name.startswith("backbone") else 1.0) for name in expected}


@pytest.mark.parametrize("value", ["0", "-1", "fast"])
def test_a_bad_rate_is_refused(value):
    cfg = compose([f"optim.backbone_lr_mult={value}"])
    with pytest.raises(ConfigError, match=rf"optim\.backbone_lr_mult={value}: give a number, above 0"):
        parts.check(plain(cfg.optim), "optim", ("model",))
