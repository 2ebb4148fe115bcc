"""Lightning's Trainer, built from our options."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger

from contextseg.engine.checkpoint_io import CheckpointFile
from contextseg.engine.options import TrainerOptions
from contextseg.errors import ConfigError


def trainer(
    node: TrainerOptions,
    batch_size: int,
    callbacks: Sequence[L.Callback],
    loggers: Sequence[Logger],
    **overrides: Any,
) -> L.Trainer:
    """Set up Lightning's Trainer for `trainer=` and batches of `batch_size` images; `trainer.lightning` goes to it.

    Raises `ConfigError` for a device or a precision that this machine lacks.
    """
    kind = accelerator(node.accelerator)
    if node.sync_batchnorm and kind == "cpu":
        raise ConfigError("trainer.sync_batchnorm=true: synchronised batch norm needs CUDA; set it to false on the CPU")
    if kind == "gpu" and node.devices > torch.cuda.device_count():
        raise ConfigError(f"trainer.devices={node.devices}: there are {torch.cuda.device_count()} GPUs here")
    nodes = node.nodes or 1
    accumulate = accumulation(node.max_device_batch, batch_size, node.devices * nodes)
    settings = {
        "accelerator": kind,
        "devices": node.devices,
        "num_nodes": nodes,
        "strategy": "ddp" if node.devices * nodes > 1 else "auto",
        "precision": precision(node.precision, kind),
        "max_steps": node.max_steps,
        "max_epochs": -1,
        "accumulate_grad_batches": accumulate,
        "val_check_interval": (node.val_every_steps or node.max_steps) * accumulate,
        "check_val_every_n_epoch": None,
        "gradient_clip_val": node.gradient_clip,
        "sync_batchnorm": node.sync_batchnorm,
        "deterministic": node.deterministic,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # the data module's samplers know rank and world size
        "enable_model_summary": False,
        "enable_progress_bar": False,  # `callbacks.progress` shows its own
        "enable_checkpointing": True,
    }
    try:
        made = L.Trainer(**settings | dict(node.lightning) | overrides, callbacks=list(callbacks), logger=list(loggers))
    except TypeError as error:
        raise ConfigError(f"trainer.lightning={dict(node.lightning)}: {error}") from error
    made.strategy.checkpoint_io = CheckpointFile()
    return made


def precision(wanted: str | int, accelerator: str) -> str:
    """Return Lightning's name of a precision; "auto" is bf16 where the processor has it, else 32.

    Raises `ConfigError` for an unknown one, and for float16 on the CPU.
    """
    names = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    names |= {full: full for full in names.values()}
    cuda = accelerator == "gpu"
    if wanted == "auto":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else cpu_has_bf16()
        return "bf16-mixed" if has_bf16 else "32-true"
    if str(wanted) not in names:
        raise ConfigError(f"trainer.precision={wanted}: choose auto, 32, bf16 or 16")
    if names[str(wanted)] == "16-mixed" and not cuda:
        raise ConfigError(f"trainer.precision={wanted}: float16 needs a GPU; use trainer.precision=bf16, 32 or auto")
    return names[str(wanted)]


def cpu_has_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 matrices natively (AVX512-BF16 or AMX)."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # a newer torch has it
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def accelerator(wanted: str) -> str:
    """Return "cpu" or "gpu"; "auto" is a GPU if there is one. Raises `ConfigError` if a GPU is wanted and missing."""
    there = torch.cuda.is_available()
    if wanted in ("gpu", "cuda") and not there:
        raise ConfigError(f"trainer.accelerator={wanted}: torch sees no CUDA device; use trainer=cpu or trainer=auto")
    return "cpu" if wanted == "cpu" or not there else "gpu"


def accumulation(max_images: int | None, batch_size: int, world_size: int) -> int:
    """Return the fewest batches per optimizer step with which no device holds more than `max_images` at once."""
    per_device = batch_size // world_size
    if not max_images or per_device <= max_images:
        return 1
    return next(n for n in range(1, per_device + 1) if per_device % n == 0 and per_device // n <= max_images)
