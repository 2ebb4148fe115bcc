"""Aggregation module: a large window from convolutions that are separable in both directions and in depth.

Source: CPNet (Yu et al.: Context Prior for Scene Segmentation, CVPR 2020), Section 3.3 and Figure 4.
"""

from torch import Tensor, nn

from contextseg.errors import ConfigError
from contextseg.layers.conv import ConvNormAct


class AggregationModule(nn.Module):
    """Sum two depth-wise branches, k x 1 then 1 x k and 1 x k then k x 1 -> BN -> ReLU.

    Each branch sees k x k pixels with 2 k weights per channel. Figure 4 keeps the number of channels. Section 3.2 goes
    from C0 to C1 with a layer that is not drawn, here a conv -> BN -> ReLU.

    kernel_size  k, odd
    entry        kernel size of that layer, by default the smallest; None: no such layer, needs C0 = C1; released: 3
    bias         of the depth-wise convolutions; released: true

    Raises `ConfigError` for an even `kernel_size`, and for `entry` None unless C0 = C1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 11,
        entry: int | None = 1,
        bias: bool = False,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size={kernel_size} of the aggregation module: give an odd number")
        if entry is None and in_channels != out_channels:
            raise ConfigError(f"entry=null needs as many channels out as in, got {in_channels} and {out_channels}")

        def depthwise(rows: int, columns: int) -> nn.Conv2d:
            padding = (rows // 2, columns // 2)
            return nn.Conv2d(
                out_channels, out_channels, (rows, columns), padding=padding, groups=out_channels, bias=bias
            )

        k = kernel_size
        self.entry = nn.Identity() if entry is None else ConvNormAct(in_channels, out_channels, entry)
        self.down_across = nn.Sequential(depthwise(k, 1), depthwise(1, k))
        self.across_down = nn.Sequential(depthwise(1, k), depthwise(k, 1))
        self.norm_act = nn.Sequential(nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Aggregate features (B, C0, h, w) -> (B, C1, h, w)."""
        x = self.entry(x)
        return self.norm_act(self.down_across(x) + self.across_down(x))
