"""What the slow references in float64 share: one pixel's block, random norms, and a comparison with gradients."""

import torch
from torch import Tensor, nn


def block(layers: nn.Sequential, vector: Tensor) -> Tensor:
    """1x1 conv -> BN (running statistics) -> ReLU of the vector (C,) of one pixel."""
    convolution, norm, _ = layers
    y = (linear(convolution, vector) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    return (y * norm.weight + norm.bias).clamp(min=0)


def linear(convolution: nn.Conv2d, vector: Tensor) -> Tensor:
    """A 1x1 convolution of the vector (C,) of one pixel."""
    y = convolution.weight[:, :, 0, 0] @ vector
    return y if convolution.bias is None else y + convolution.bias


def softmax(scores: list[Tensor]) -> list[Tensor]:
    """Of a list of scalars."""
    exponentials = [score.exp() for score in scores]
    return [value / sum(exponentials) for value in exponentials]


def prepare(module: nn.Module) -> nn.Module:
    """The module in float64 and evaluation mode, with random norms and open gates: no part is hidden."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var):
                tensor.uniform_(0.5, 2)
            for tensor in (part.bias.data, part.running_mean):
                tensor.normal_(0, 0.3)
    for name, parameter in module.named_parameters():
        if name.endswith(("gamma", "beta")):
            parameter.data.fill_(0.5)
    return module.double().eval()


def assert_same(fast: Tensor, slow: Tensor, leaves: list[Tensor]) -> None:
    """Equal numbers, and equal gradients of a random projection at each leaf."""
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)
    direction = torch.randn_like(slow)
    gradients = [torch.autograd.grad((y * direction).sum(), leaves, allow_unused=True) for y in (fast, slow)]
    for leaf, found, expected in zip(leaves, *gradients, strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6, msg=f"gradient at {tuple(leaf.shape)}")
