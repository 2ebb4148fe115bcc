"""A network of ours under the names of a released graph, to write its released forward pass down a second time."""

import math

from released import released
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.block_order import reordered
from contextseg.commands.convert.graph import graphs
from contextseg.segmenter import Segmenter


def count(classes: int, *overrides: str) -> tuple[int, int]:
    """Parameters of the network that the overrides compose: all, and those of the auxiliary head."""
    model = released(classes, *overrides, device="meta")
    return tuple(sum(p.numel() for p in part.parameters()) for part in (model, model.aux_head))


def randomised(module: Segmenter) -> Segmenter:
    """Weights, statistics and biases that neither hide a part nor let a deep network explode; float64, no dropout."""
    for name, tensor in module.named_parameters():
        if tensor.ndim > 1:
            tensor.data.normal_(0, math.sqrt(2 / math.prod(tensor.shape[1:])))
        elif name.endswith("bias"):
            tensor.data.normal_(0, 0.1)
        else:
            tensor.data.uniform_(0.2, 0.7)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
        elif isinstance(part, nn.Dropout2d):
            part.p = 0.0
    return module.double()


class Named:
    """The tensors of a network by their released names, and the layers that are made of them.

    `training`: batch norms take the statistics of the batch.
    """

    def __init__(self, module: Segmenter, graph: str, *, training: bool):
        self.graph, self.state, self.training = graphs()[graph], module.state_dict(), training

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of a released name, as the released file would have it."""
        ours = self.graph.ours(name)
        value = reordered(ours, self.state[ours], self.graph.reversed)  # of equal blocks: there as back
        return value.T if self.graph.is_transposed(name) else value

    def conv(self, x: Tensor, name: str, **settings: int | tuple[int, int]) -> Tensor:
        """A convolution, with the bias that it has in the released file or none."""
        bias = self[f"{name}.bias"] if f"{name}.bias" in self.graph.shapes else None
        return F.conv2d(x, self[f"{name}.weight"], bias, **settings)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """A batch norm of torch's or of Paddle's names."""
        paddle = f"{name}._mean" in self.graph.shapes
        parts = ("_mean", "_variance") if paddle else ("running_mean", "running_var")
        mean, variance = (self[f"{name}.{part}"].clone() for part in parts)
        return F.batch_norm(x, mean, variance, self[f"{name}.weight"], self[f"{name}.bias"], self.training)
