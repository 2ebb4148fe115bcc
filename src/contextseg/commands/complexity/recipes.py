"""The memory of each recipe on one GPU: the table in docs/recipes.md, below the line that says so.

python -m contextseg.commands.complexity.recipes docs/recipes.md
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional

from contextseg.commands.complexity.memory import saved_for_backward
from contextseg.commands.complexity.network import images, parameters
from contextseg.commands.complexity.text import markdown
from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.files import write_atomically
from contextseg.segmenter import Segmenter

MARK = "<!-- written by python -m contextseg.commands.complexity.recipes docs/recipes.md -->\n"
GIB = 2**30
BUDGET = 16 * GIB  # of the 22.4 of a GPU of 24 GB; the rest is for what is not counted


@dataclass(frozen=True)
class Memory:
    """The memory of a training step in bf16 mixed precision, in bytes.

    fixed    parameters, gradients and momentum in float32, buffers, and copies of weights in bf16
    image    what autograd keeps for an image of the batch, the loss included
    """

    fixed: int
    image: int

    def of(self, count: int) -> int:
        """Return the bytes with `count` images on the device at once."""
        return self.fixed + count * self.image

    def most(self, batch_size: int, budget: int = BUDGET) -> int | None:
        """Return the most images at once that divide a batch and stay within a budget; None if one exceeds it."""
        fitting = [n for n in range(1, batch_size + 1) if batch_size % n == 0 and self.of(n) <= budget]
        return max(fitting, default=None)


class Training(nn.Module):
    """Join a network with the terms of its loss that need most memory.

    These are the cross-entropies, and CPNet's on pairs of pixels.
    """

    def __init__(self, network: Segmenter):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the sum of the terms, (), for images uint8 (B, 3, H, W) and masks uint8 (B, H, W)."""
        output = self.network(image, mask)
        named = {"logits": output.logits, **output.extras}
        maps = [named[name] for name in ("logits", "aux_logits", "region_logits") if name in named]
        # a cross-entropy keeps its gradient, which has the size of its logits (losses/resized_cross_entropy.py)
        terms = ((scores.float() * torch.empty_like(scores, dtype=torch.float32)).sum() for scores in maps)
        total = sum(terms, image.new_zeros((), dtype=torch.float32))
        if "prior_logits" in named:
            prior = named["prior_logits"].float()
            total = total + functional.binary_cross_entropy_with_logits(prior, torch.empty_like(prior))
        return total


def memory(cfg: DictConfig, count: int = 2) -> Memory:
    """Count the memory of a configuration, on tensors without numbers, at a batch of `count` images."""
    classes = build.datamodule(cfg).classes
    with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16):
        training = Training(build.network(cfg, classes, pretrained=False)[0]).train()
        saved = saved_for_backward(training, *images(count, crop(cfg)), stored=False)[""]
    copies = sum(2 * weight.numel() for weight in training.parameters() if weight.ndim > 1 and weight.requires_grad)
    kept = parameters(training) + 2 * parameters(training, trained=True)  # with gradients and momenta
    buffers = sum(buffer.nbytes for buffer in training.buffers())
    return Memory(4 * kept + buffers + copies, (saved - copies) // count)


def crop(cfg: DictConfig) -> tuple[int, int]:
    """Return height and width of the training images. Raises `ConfigError` if they vary."""
    size = build.crop_size(cfg)
    if size is None:
        raise ConfigError("the images vary in size; give data.transform.crop_size=[height,width]")
    return size[0], size[1]


def names() -> tuple[str, ...]:
    """List the recipes, as in experiment=NAME."""
    folder = CONF / "experiment"
    return tuple(str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.glob("*/*.yaml")))


def alike(cfg: DictConfig) -> str:
    """Return the settings that decide the memory of a recipe, as JSON; the stages of a chain share them."""
    parts = {name: cfg[name] for name in ("neck", "head", "aux_head")} | {"terms": list(cfg.loss.term)}
    backbone = {name: value for name, value in cfg.backbone.items() if name != "weights"}
    parts |= {
        "backbone": backbone,
        "crop": crop(cfg),
        "data": cfg.choices.data,
        "batch": cfg.data.batch_size,
    }
    return json.dumps(OmegaConf.to_container(OmegaConf.create(parts | {"width": cfg.width}), resolve=False))


def cells(cfg: DictConfig) -> list[str]:
    """Write the numbers of a recipe, in GiB, and the option that fits it on one GPU."""
    need, batch, (height, width) = memory(cfg), cfg.data.batch_size, crop(cfg)
    most = need.most(batch)
    form = f"`trainer.max_device_batch={most}`" if most else "does not fit"
    return [
        f"{height} x {width}",
        str(batch),
        f"{need.fixed / GIB:.2f}",
        f"{need.image / GIB:.2f}",
        f"{need.of(batch) / GIB:.1f}",
        "no change" if most == batch else form,
        f"{need.of(most) / GIB:.1f}" if most else "",
    ]


HEADER = ["recipes", "crop", "batch", "fixed, GiB", "per image, GiB", "whole batch, GiB", "to fit 24 GB", "then, GiB"]


def generated(chosen: Sequence[str]) -> str:
    """Write the table; recipes that need the same memory share a row."""
    groups: dict[str, list[str]] = {}
    for name in chosen:
        groups.setdefault(alike(compose([f"experiment={name}"])), []).append(name)
    rows = [
        [", ".join(f"`{name}`" for name in same), *cells(compose([f"experiment={same[0]}"]))]
        for same in groups.values()
    ]
    return markdown([HEADER, *rows])


if __name__ == "__main__":
    file = Path(sys.argv[1])
    above, mark, _ = file.read_text().partition(MARK)
    write_atomically(file, f"{above}{mark or MARK}\n{generated(names())}")
