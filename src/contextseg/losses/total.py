"""The sum of the loss terms."""

import torch
from torch import Tensor, nn

from contextseg.contract import LossTerm, SegOutput


class LossSum(nn.Module):
    """Sum named terms, each times its own weight."""

    def __init__(self, term: dict[str, LossTerm]):
        super().__init__()
        self.term = nn.ModuleDict(term)

    def forward(self, output: SegOutput, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum up: output and mask uint8 (B, H, W) -> total (scalar), and each term unweighted and detached, by name."""
        with torch.autocast(mask.device.type, enabled=False):
            values = {name: term(output, mask) for name, term in self.term.items()}
        total = sum(self.term[name].weight * value for name, value in values.items())
        return total, {name: value.detach() for name, value in values.items()}
