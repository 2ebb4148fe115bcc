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
    """Split parameters into up to four groups: backbone and head (all the rest), each with and without weight decay.

    lr                   learning rate; what needs no gradient (`backbone.freeze`) is in no group
    weight_decay         of the groups with decay
    head_lr_mult         factor of the head's learning rate; released code of several papers: 10
    backbone_lr_mult     factor of the backbone's
    decay_norm_and_bias  false: no decay of biases and of the parameters of norm layers
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
    fused: bool = False,
) -> optim.Optimizer:
    """Build SGD with momentum, the optimizer of all five papers; settings as in `parameter_groups`.

    fused  one kernel for many parameters
    """
    _require("optim.momentum", momentum, 0 <= momentum < 1, "0 or more, below 1")
    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        head_lr_mult=head_lr_mult,
        backbone_lr_mult=backbone_lr_mult,
        decay_norm_and_bias=decay_norm_and_bias,
    )
    return optim.SGD(groups, lr=lr, momentum=momentum, fused=fused or None)


def adamw(
    model: nn.Module,
    *,
    lr: Positive = 3e-3,
    weight_decay: NonNegative = 1e-3,
    head_lr_mult: Positive = 1.0,
    backbone_lr_mult: Positive = 1.0,
    decay_norm_and_bias: bool = True,
    fused: bool = False,
) -> optim.Optimizer:
    """Build AdamW, the optimizer of the embedded recipe; settings as in `sgd`."""
    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        head_lr_mult=head_lr_mult,
        backbone_lr_mult=backbone_lr_mult,
        decay_norm_and_bias=decay_norm_and_bias,
    )
    return optim.AdamW(groups, lr=lr, fused=fused or None)


def poly(
    optimizer: optim.Optimizer, max_steps: int, *, power: NonNegative = 0.9, warmup_steps: Natural = 0
) -> optim.lr_scheduler.LambdaLR:
    """Build lr * (1 - step / max_steps) ** power, the schedule of all five papers, with a linear warm-up if asked."""
    _require("schedule.power", power, power >= 0, "0 or more")
    _require("schedule.warmup_steps", warmup_steps, warmup_steps >= 0, "0 or more")

    def factor(step: int) -> float:
        warmup = min(1.0, (step + 1) / (warmup_steps + 1))
        return warmup * max(0.0, 1 - step / max_steps) ** power

    return optim.lr_scheduler.LambdaLR(optimizer, factor)


def onecycle(optimizer: optim.Optimizer, max_steps: int, *, warmup: Share = 0.15) -> "OneCycle":
    """Build one cycle: the rate rises over the share `warmup` of the steps and falls by a cosine; momentum opposite."""
    rates = [group["lr"] for group in optimizer.param_groups]
    if warmup * (max_steps + 1) == 1:  # torch would divide by the length of the rise, which is no step
        warmup = 0.0
    return OneCycle(optimizer, rates, total_steps=max_steps + 1, pct_start=warmup)


class OneCycle(optim.lr_scheduler.OneCycleLR):
    """Keep the configured length when a checkpoint is loaded: a run may continue with more steps than it had."""

    def load_state_dict(self, state_dict: dict) -> None:
        length = ("total_steps", "_schedule_phases")
        super().load_state_dict({name: value for name, value in state_dict.items() if name not in length})


def constant(optimizer: optim.Optimizer, max_steps: int) -> optim.lr_scheduler.LambdaLR:
    """Build a schedule of the full rate throughout."""
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def _require(option: str, value: float, fits: bool, hint: str) -> None:
    if not fits:
        raise ConfigError(f"{option}={value}: give {hint}")
