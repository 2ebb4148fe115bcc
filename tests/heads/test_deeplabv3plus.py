"""DeepLabv3+'s decoder: which map it reads, and what it makes of it and the pyramid."""

import pytest
import torch
from slow import prepare
from torch.nn import functional as F

from contextseg.heads.deeplabv3plus import DeepLabV3PlusHead


def conv_norm_relu(x, layers):
    convolution, norm, _ = layers
    y = F.conv2d(x, convolution.weight, padding=convolution.kernel_size[0] // 2)
    shape = (1, -1, 1, 1)
    y = (y - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
    return (y * norm.weight.view(shape) + norm.bias.view(shape)).clamp(min=0)


@pytest.mark.parametrize(("strides", "low"), [((4, 8, 8, 8), 0), ((4, 8, 16, 32), 0), ((2, 4, 8), 1), ((2, 2, 2), 1)])
def test_it_decodes_with_the_map_of_a_quarter_of_the_size(strides, low):
    channels = tuple(range(5, 5 + len(strides)))
    head = prepare(DeepLabV3PlusHead(channels, 3, strides=strides, channels=4, low_channels=2, rates=(1, 2)))
    torch.manual_seed(0)
    maps = [torch.randn(1, c, 32 // s, 48 // s, dtype=torch.float64) for c, s in zip(channels, strides, strict=True)]
    up = F.interpolate(head.pyramid(maps[-1]), maps[low].shape[-2:], mode="bilinear")
    x = torch.cat([conv_norm_relu(maps[low], head.reduce), up], 1)
    for layers in head.decode:
        x = conv_norm_relu(x, layers)
    torch.testing.assert_close(head(maps).logits, F.conv2d(x, head.classifier.weight, head.classifier.bias))


def test_published_parameters():
    """CTNet, Table 3: 16.89 M."""
    with torch.device("meta"):
        head = DeepLabV3PlusHead([256, 512, 1024, 2048], 21)
    assert sum(p.numel() for p in head.parameters()) == pytest.approx(16.89e6, rel=0.004)
