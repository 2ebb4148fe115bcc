"""The block of all five papers: convolution, batch norm, ReLU; and its light, separable form."""

from torch import nn


class ConvNormAct(nn.Sequential):
    """Apply "k x k conv -> BN -> ReLU" of the papers: (B, C, H, W) -> (B, C', H, W) at stride 1.

    bias   of the convolution; the batch norm makes it superfluous, but some released graphs have it
    act    false: no ReLU
    leaky  slope of the ReLU below zero; 0.01 for the InPlace-ABN of released code
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        act: bool = True,
        leaky: float = 0.0,
    ):
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias),
            nn.BatchNorm2d(out_channels),
            relu(leaky) if act else nn.Identity(),
        )


def relu(leaky: float = 0.0) -> nn.Module:
    """Build a ReLU, or a leaky one with a slope of `leaky` below zero."""
    return nn.LeakyReLU(leaky, inplace=True) if leaky else nn.ReLU(inplace=True)


class SeparableConvNormAct(nn.Sequential):
    """Apply a k x k depthwise-separable conv -> BN -> ReLU: (B, C, H, W) -> (B, C', H, W).

    It has one k x k kernel per channel, then, with nothing between, a 1x1 conv across channels; `bias` is that of the
    latter.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = False):
        super().__init__(
            nn.Conv2d(in_channels, in_channels, kernel_size, padding=kernel_size // 2, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=bias),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
