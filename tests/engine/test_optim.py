"""Parameter groups, weight decay and learning rates."""

import math

import pytest
import torch
from torch import nn

from contextseg import create_model
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.optim import adamw, constant, onecycle, parameter_groups, poly, sgd


@pytest.fixture(scope="module")
def model():
    return create_model("ocr", backbone="tiny", num_classes=5, channels=16, aux_head=True)


def groups(model, **settings):
    return {g["name"]: g for g in parameter_groups(model, **{"lr": 0.1, "weight_decay": 0.01, **settings})}


@pytest.mark.parametrize("make", [sgd, adamw])
@pytest.mark.parametrize("decay_norm_and_bias", [True, False])
def test_every_parameter_is_in_one_group(model, make, decay_norm_and_bias):
    optimizer = make(model, decay_norm_and_bias=decay_norm_and_bias)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}


def test_frozen_parameters_are_left_out():
    model = create_model("fcn", backbone="tiny", num_classes=5, channels=16)
    model.backbone.requires_grad_(False)
    assert set(groups(model)) == {"head"}


def test_the_head_rate_is_multiplied(model):
    found = groups(model, head_lr_mult=10)
    assert {name: group["lr"] for name, group in found.items()} == {"backbone": 0.1, "head": 1.0}
    assert {id(p) for p in found["backbone"]["params"]} == {id(p) for p in model.backbone.parameters()}
    optimizer = build.instantiate(
        compose(["optim=sgd", "optim.lr=0.01", "optim.head_lr_mult=10"]).optim, "", model=model
    )
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == {"backbone": 0.01, "head": pytest.approx(0.1)}


def test_norms_and_biases_alone_are_spared_the_decay(model):
    class WithLayerNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.norm, self.gamma = model, nn.LayerNorm(4), nn.Parameter(torch.zeros(1))

    whole = WithLayerNorm()
    expected = set()
    for module in whole.modules():
        norm = isinstance(module, nn.BatchNorm2d | nn.LayerNorm)
        expected |= {id(p) for name, p in module.named_parameters(recurse=False) if norm or name == "bias"}
    spared = {
        id(p)
        for group in parameter_groups(whole, lr=0.1, weight_decay=0.01, decay_norm_and_bias=False)
        for p in group["params"]
        if group["weight_decay"] == 0
    }
    assert spared == expected
    assert {group["weight_decay"] for group in groups(model).values()} == {0.01}
    found = groups(model, decay_norm_and_bias=False)
    assert {name: g["weight_decay"] for name, g in found.items()} == {
        "backbone": 0.01,
        "backbone_no_decay": 0.0,
        "head": 0.01,
        "head_no_decay": 0.0,
    }


@pytest.mark.parametrize("make", [sgd, adamw])
def test_decay_shrinks_the_weights_and_not_the_norms(make):
    model = create_model("fcn", backbone="tiny", num_classes=5, channels=16)
    optimizer = make(model, lr=0.1, weight_decay=0.5, decay_norm_and_bias=False)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    for name, parameter in model.named_parameters():
        is_norm = parameter.ndim == 1
        factor = 1.0 if is_norm else 0.95
        torch.testing.assert_close(parameter.detach(), factor * before[name])


def rates(schedule, steps=100, lr=0.5, **settings):
    """The learning rate with which each step is done, and the one after the last; a head group at twice the rate."""
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 2 * lr}], lr, momentum=0.9
    )
    scheduler = schedule(optimizer, steps, **settings)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        assert optimizer.param_groups[1]["lr"] == pytest.approx(2 * found[-1])
        if len(found) <= steps:
            optimizer.step()
            scheduler.step()
    return found


def test_poly():
    found = rates(poly)
    assert found[0] == 0.5
    assert found[50] == pytest.approx(0.5 * 0.5**0.9)
    assert found[100] == 0
    assert rates(poly, power=2)[50] == pytest.approx(0.125)
    warmed = rates(poly, warmup_steps=9)
    assert warmed[0] == pytest.approx(0.05)
    assert warmed[50] == found[50]


def test_onecycle():
    found = rates(onecycle)
    lowest, top = 0.5 / 25, 0.15 * 101 - 1  # the step at which the full rate is reached, not a whole one
    assert found[0] == pytest.approx(lowest)
    assert max(found) == pytest.approx(0.5, rel=1e-3)
    assert found.index(max(found)) in (14, 15)
    end = lowest / 1e4
    progress = (50 - top) / (100 - top)
    assert found[50] == pytest.approx(end + (0.5 - end) * (1 + math.cos(math.pi * progress)) / 2)
    assert found[100] == pytest.approx(end)


def test_constant():
    assert set(rates(constant)) == {0.5}


@pytest.mark.parametrize("schedule", [poly, onecycle, constant])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_short_runs(schedule, steps):
    assert all(0 <= rate <= 0.5 for rate in rates(schedule, steps))


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 9), (0.5, 1), (0.05, 19), (0.25, 3), (0.0, 5), (1.0, 5)])
def test_onecycle_with_a_warmup_of_whole_steps(warmup, steps):
    assert all(0 <= rate <= 0.5 for rate in rates(onecycle, steps, warmup=warmup))


COMMON = [("lr", -0.1), ("lr", 0), ("weight_decay", -1), ("head_lr_mult", 0)]


@pytest.mark.parametrize(
    ("optim", "option", "value"),
    [*(("sgd", *case) for case in COMMON), *(("adamw", *case) for case in COMMON), ("sgd", "momentum", -0.5)],
)
def test_impossible_values_are_refused(model, optim, option, value):
    cfg = compose([f"optim={optim}", f"optim.{option}={value}"])
    with pytest.raises(ConfigError, match=rf"optim\.{option}={value}"):
        build.instantiate(cfg.optim, "optim", model=model)


@pytest.mark.parametrize(
    ("schedule", "option", "value"),
    [("onecycle", "warmup", 1.5), ("onecycle", "warmup", -1), ("poly", "power", -1), ("poly", "warmup_steps", -1)],
)
def test_impossible_schedules_are_refused(model, schedule, option, value):
    cfg = compose([f"schedule={schedule}", f"schedule.{option}={value}"])
    with pytest.raises(ConfigError, match=rf"schedule\.{option}={value}"):
        build.instantiate(cfg.schedule, "schedule", optimizer=sgd(model), max_steps=10)
