"""What the slow references of FPN and AGLN share: k x k convolutions pixel by pixel, and the fusion of all stages."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.layers.resize import resize


def convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A k x k convolution, plain or depthwise, of the map (C, h, w) of one image."""
    weight, side = convolution.weight, convolution.kernel_size[0]
    padded = F.pad(x, [side // 2] * 4)
    rows = []
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            patch = padded[:, i : i + side, j : j + side]
            patch = patch[:, None] if convolution.groups > 1 else patch[None]
            rows.append((weight * patch).sum((1, 2, 3)))
    y = torch.stack(rows, 1).unflatten(1, x.shape[1:])
    return y if convolution.bias is None else y + convolution.bias[:, None, None]


def conv_block(layers: nn.Sequential, x: Tensor) -> Tensor:
    """One conv or two -> BN (running statistics) -> ReLU of the map (C, h, w) of one image."""
    *convolutions, norm, _ = layers
    for convolution in convolutions:
        x = convolve(convolution, x)
    mean, scale, weight, bias = (
        t[:, None, None] for t in (norm.running_mean, norm.running_var + norm.eps, norm.weight, norm.bias)
    )
    return ((x - mean) / scale.sqrt() * weight + bias).clamp(min=0)


def fused(head: nn.Module, up: list[Tensor]) -> Tensor:
    """Section III-D: the stages of a decoder (C, h_i, w_i), coarse to fine -> logits (K, h, w) at the finest."""
    coarsest, *others = up
    outputs = [conv_block(conv, x) for conv, x in zip(head.fusion.outputs, reversed(others), strict=True)]
    size = up[-1].shape[-2:]
    together = torch.cat([resize(x[None], size)[0] for x in (*outputs, coarsest)])
    return convolve(head.classifier, conv_block(head.fusion.fuse, together))
