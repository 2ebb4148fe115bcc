"""No neck: the head sees the backbone's own maps."""

from collections.abc import Sequence

from torch import Tensor

from contextseg.contract import Neck


class NoNeck(Neck):
    """Pass the maps on."""

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.channels, self.strides = tuple(in_channels), tuple(strides)

    def forward(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the same maps."""
        return features
