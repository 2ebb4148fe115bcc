"""Numbers that are not finite end a run, and never reach a checkpoint."""

from collections.abc import Mapping

import torch
from torch import Tensor

WAY_OUT = "lower optim.lr, set trainer.gradient_clip, or use trainer.precision=32"


class NonFinite(RuntimeError):
    """A loss, weight or state of the optimizer that is NaN or infinite."""


def refuse_non_finite(tensors: Mapping[str, Tensor], step: int) -> None:
    """Raise `NonFinite`, which names them and the step, if some tensors hold NaN or infinity.

    The answers of all tensors are collected on the device and fetched once, so that a GPU is not waited for each time.
    """
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    finite = [value.isfinite().all() for value in floats.values()]
    by_device = {device: [flag for flag in finite if flag.device == device] for device in {f.device for f in finite}}
    if all(bool(torch.stack(flags).all()) for flags in by_device.values()):
        return
    bad = [name for name, flag in zip(floats, finite, strict=True) if not flag]
    raise NonFinite(
        f"{len(bad)} of {len(floats)} tensors are not finite at step {step}, first {bad[0]}; nothing of it was saved, "
        f"and what was saved before is good; {WAY_OUT}, in a new run"
    )
