"""The classifier of maps: a 1x1 convolution, and the layers of released code before it."""

from torch import nn

from contextseg.layers.conv import ConvNormAct


def pixel_classifier(
    in_channels: int,
    num_classes: int,
    *,
    kernel_size: int = 0,
    channels: int = 512,
    dropout: float = 0.0,
    bias: bool = False,
    leaky: float = 0.0,
) -> nn.Module:
    """Build a classifier (B, C, h, w) -> (B, K, h, w).

    It is a 1x1 conv alone, or conv -> BN -> ReLU -> dropout -> 1x1 conv.

    kernel_size  of the first convolution; 0: a 1x1 conv alone
    channels     width of the first convolution; 0: as many as the map has
    dropout      of whole channels
    bias         of the first convolution
    leaky        slope of the ReLU below zero
    """
    if not kernel_size:
        return nn.Conv2d(in_channels, num_classes, 1)
    channels = channels or in_channels
    block = ConvNormAct(in_channels, channels, kernel_size, bias=bias, leaky=leaky)
    return nn.Sequential(block, nn.Dropout2d(dropout), nn.Conv2d(channels, num_classes, 1))
