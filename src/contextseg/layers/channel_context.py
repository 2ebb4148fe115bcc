"""Channel context: a weight for each channel of a map, from what the whole map holds.

Source: CTNet (Li, Sun, Tang: CTNet: Context-based Tandem Network for Semantic Segmentation), Section 3.2, Eq. 1-2 and
Figure 3, and the blocks that its tables compare: SE (Hu et al., CVPR 2018), ECA (Wang et al., CVPR 2020), GC (Cao et
al.: GCNet, 2019) and Encoding (Zhang et al.: EncNet, CVPR 2018). Each takes (B, C, h, w) and returns C_m (B, C) in
(0, 1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.errors import ConfigError
from contextseg.layers.encoding import Encoding

BLOCKS = ("mce", "eca", "se", "gc", "encoding")
POOLINGS = ("avg", "max", "mix")


def make_block(
    name: str, channels: int, *, kernel_sizes: Sequence[int], pooling: str, channel_bias: bool = True
) -> nn.Module:
    """Build the block of `BLOCKS` called `name`.

    `kernel_sizes` and `channel_bias` are those of "mce"; "eca" takes one kernel. Raises `ConfigError` for another
    number of kernels, and for a pooling other than "avg" with "gc" and "encoding", which sum up an image differently.
    """
    if name == "mce":
        return MCE(channels, kernel_sizes, pooling, channel_bias=channel_bias)
    if name == "eca":
        if len(kernel_sizes) != 1:
            raise ConfigError(
                f"head.kernel_sizes={list(kernel_sizes)} with head.channel_block=eca: give exactly one, such as [9]"
            )
        return ECA(kernel_sizes[0], pooling)
    if name == "se":
        return SE(channels, pooling=pooling)
    if pooling != "avg":
        raise ConfigError(
            f"head.pooling={pooling} with head.channel_block={name}, which does not pool: use head.pooling=avg"
        )
    return GC(channels) if name == "gc" else EncodingGate(channels)


def pool(x: Tensor, pooling: str) -> Tensor:
    """Pool a whole map (B, C, h, w) -> (B, C): "avg", "max" or "mix", the sum of both (Table 2)."""
    if pooling == "max":
        return x.amax((2, 3))
    average = x.mean((2, 3))
    return average if pooling == "avg" else average + x.amax((2, 3))


class ChannelConv(nn.Conv1d):
    """Convolve a vector along its channels (1-D), without bias, padded with zeros to the same length.

    Channel c sees those from c - (k - 1) // 2 to c + k // 2: an even kernel reaches one further up than down, and k may
    be larger than the number of channels.
    """

    def __init__(self, kernel_size: int):
        super().__init__(1, 1, kernel_size, bias=False)

    def forward(self, vector: Tensor) -> Tensor:
        """Convolve vectors (B, C) -> (B, C)."""
        (k,) = self.kernel_size
        return super().forward(F.pad(vector.unsqueeze(1), ((k - 1) // 2, k // 2))).squeeze(1)


class MCE(nn.Module):
    """Excite channels by several local scales: C_m = sigmoid(W_1 [f_k1(P_x), ..., f_ks(P_x)] + b_1)  (Eq. 1 and 2).

    P_x is the pooled map, f_k a `ChannelConv`. W_1 has s weights, the same for all channels, and b_1 one bias for each
    channel, as printed; `channel_bias=False` omits b_1 (released code). Raises `ConfigError` without a kernel.
    """

    def __init__(
        self,
        channels: int,
        kernel_sizes: Sequence[int] = (9, 17, 33, 65),
        pooling: str = "avg",
        *,
        channel_bias: bool = True,
    ):
        super().__init__()
        if not kernel_sizes:
            raise ConfigError("head.kernel_sizes=[] with head.channel_block=mce: give one kernel size or more")
        self.pooling = pooling
        self.scales = nn.ModuleList(ChannelConv(k) for k in kernel_sizes)
        self.weight = nn.Linear(len(kernel_sizes), 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels)) if channel_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of a map (B, C, h, w) -> (B, C) in (0, 1)."""
        pooled = pool(x, self.pooling)
        local = torch.stack([conv(pooled) for conv in self.scales], dim=-1)  # (B, C, s)
        scores = self.weight(local).squeeze(-1)  # (B, C)
        return (scores if self.bias is None else scores + self.bias).sigmoid()


class ECA(nn.Module):
    """Weigh channels by one `ChannelConv` and a sigmoid (efficient channel attention), as in Table 1 and Figure 7.

    K = 512 of Figure 7, "global", is even and equals the number of channels: channel 255 sees all of them, the first
    and the last see half. To show all to all, a kernel would need 2 C - 1 weights.
    """

    def __init__(self, kernel_size: int = 9, pooling: str = "avg"):
        super().__init__()
        self.pooling = pooling
        self.conv = ChannelConv(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of a map (B, C, h, w) -> (B, C) in (0, 1)."""
        return self.conv(pool(x, self.pooling)).sigmoid()


class SE(nn.Module):
    """Weigh channels by squeeze and excitation: pooling -> FC to C / `reduction` -> ReLU -> FC -> sigmoid."""

    def __init__(self, channels: int, reduction: int = 16, pooling: str = "avg"):
        super().__init__()
        self.pooling = pooling
        hidden = max(channels // reduction, 1)
        self.excite = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of a map (B, C, h, w) -> (B, C) in (0, 1)."""
        return self.excite(pool(x, self.pooling)).sigmoid()


class GC(nn.Module):
    """Weigh channels by global context: a mean of the pixels with learnt weights stands for the image.

    This is the multiplicative form of the block. The weights are a softmax over the image of a 1x1 conv; then come FC
    to C / `reduction` -> layer norm -> ReLU -> FC -> sigmoid.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.score = nn.Conv2d(channels, 1, 1, bias=False)  # a bias would be lost in the softmax
        self.transform = nn.Sequential(
            nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of a map (B, C, h, w) -> (B, C) in (0, 1)."""
        weights = self.score(x).flatten(2).softmax(-1, dtype=torch.float32).to(x.dtype)  # (B, 1, hw)
        return self.transform((weights @ x.flatten(2).mT).squeeze(1)).sigmoid()


class EncodingGate(Encoding):
    """Weigh channels by an `Encoding` of the map, the mean over its codewords -> FC -> sigmoid (EncNet)."""

    def __init__(self, channels: int, codewords: int = 32):
        super().__init__(channels, codewords, aggregate="mean", levels=False)
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of a map (B, C, h, w) -> (B, C) in (0, 1)."""
        with torch.autocast(x.device.type, enabled=False):
            return self.linear(super().forward(x)).sigmoid()
