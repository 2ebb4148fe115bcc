"""Optimizers with named parameter groups, and learning-rate schedules per optimizer step."""

from typing import Annotated

from annotated_types import Ge, Lt
from torch import nn, optim
from torch.nn.modules.batchnorm import _NormBase

from contextseg.errors import ConfigError
from contextseg.typed import Natural, NonNegative, Positive, Share

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


def parameter_groups(
    model: nn.Module,
    *,
    lr: Positive,
    weight_decay: NonNegative,
    head_lr_mult: Positive = 1.0,
    backbone_lr_mult: Positive = 1.0,
    decay_norm_and_bias: bool = True,
) -> list[dict]:
    """Up to four groups: backbone and head (all that is not backbone), each with and without weight decay.

    `head_lr_mult` multiplies the learning rate of the head groups (released code of several papers uses 10),
    `backbone_lr_mult` that of the backbone's. What needs no gradient (`backbone.freeze`) is in no group.
    `decay_norm_and_bias=False` takes biases and the parameters of norm layers out of the decay.
    """
    _require("optim.head_lr_mult", head_lr_mult, head_lr_mult > 0, "a positive number")
    _require("optim.backbone_lr_mult", backbone_lr_mult, backbone_lr_mult > 0, "a positive number")
    _require("optim.weight_decay", weight_decay, weight_decay >= 0, "0 or more")
    spared = set()
    if not decay_norm_and_bias:
        for prefix, module in model.named_modules():
            for name, _ in module.named_parameters(recurse=False):
                if name == "bias" or isinstance(module, NORMS):
                    spared.add(f"{prefix}.{name}" if prefix else name)
    groups: dict[str, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "backbone" if name.startswith("backbone.") else "head"
        key = f"{part}_no_decay" if name in spared else part
        group = groups.setdefault(
            key,
            {
                "name": key,
                "params": [],
                "lr": lr * (head_lr_mult if part == "head" else backbone_lr_mult),
                "weight_decay": 0.0 if name in spared else weight_decay,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def sgd(
    model: nn.Module,
    *,
    lr: Positive = 0.01,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
    weight_decay: NonNegative = 1e-4,
    head_lr_mult: Positive = 1.0,
    backbone_lr_mult: Positive = 1.0,
    decay_norm_and_bias: bool = True,
) -> optim.Optimizer:
    """SGD with momentum: the optimizer of all five papers."""
    _require("optim.momentum", momentum, 0 <= momentum < 1, "0 or more, below 1")
    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        head_lr_mult=head_lr_mult,
        backbone_lr_mult=backbone_lr_mult,
        decay_norm_and_bias=decay_norm_and_bias,
    )
    return optim.SGD(groups, lr=lr, momentum=momentum)


def adamw(
    model: nn.Module,
    *,
    lr: Positive = 3e-3,
    weight_decay: NonNegative = 1e-3,
    head_lr_mult: Positive = 1.0,
    backbone_lr_mult: Positive = 1.0,
    decay_norm_and_bias: bool = True,
) -> optim.Optimizer:
    """AdamW: the optimizer of the embedded recipe."""
    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        head_lr_mult=head_lr_mult,
        backbone_lr_mult=backbone_lr_mult,
        decay_norm_and_bias=decay_norm_and_bias,
    )
    return optim.AdamW(groups, lr=lr)


def poly(optimizer: optim.Optimizer, max_steps: int, *, power: NonNegative = 0.9, warmup_steps: Natural = 0):
    """lr * (1 - step / max_steps) ** power, the schedule of all five papers; optionally a linear warm-up before it."""
    _require("schedule.power", power, power >= 0, "0 or more")
    _require("schedule.warmup_steps", warmup_steps, warmup_steps >= 0, "0 or more")

    def factor(step: int) -> float:
        warmup = min(1.0, (step + 1) / (warmup_steps + 1))
        return warmup * max(0.0, 1 - step / max_steps) ** power

    return optim.lr_scheduler.LambdaLR(optimizer, factor)


def onecycle(optimizer: optim.Optimizer, max_steps: int, *, warmup: Share = 0.15):
    """Rise to the full rate over the share `warmup` of the steps, then fall by a cosine; the momentum runs opposite."""
    rates = [group["lr"] for group in optimizer.param_groups]
    if warmup * (max_steps + 1) == 1:  # a rise of no step at all, by whose length torch would divide
        warmup = 0.0
    return OneCycle(optimizer, rates, total_steps=max_steps + 1, pct_start=warmup)


class OneCycle(optim.lr_scheduler.OneCycleLR):
    """torch's, but as long as the configuration says: a run may go on with more steps than its checkpoint knew."""

    def load_state_dict(self, state_dict: dict) -> None:
        length = ("total_steps", "_schedule_phases")
        super().load_state_dict({name: value for name, value in state_dict.items() if name not in length})


def constant(optimizer: optim.Optimizer, max_steps: int):
    """The full rate throughout."""
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def _require(option: str, value: float, fits: bool, hint: str) -> None:
    if not fits:
        raise ConfigError(f"{option}={value}: give {hint}")
