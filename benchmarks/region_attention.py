"""Relation of pixel and region, and the convolution after the sum, against the usual formulation of released code.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/region_attention.py

Usual: channels first, each pixel sums K vectors of width C', and a 1x1 convolution takes every pixel to width C. Both
get queries, keys and values; batch norm and ReLU come after. Each runs in the memory format that suits it.
"""

from collections.abc import Callable

import torch
from comparison import compare
from torch import Tensor, nn

from contextseg.layers.region_attention import RegionAttention

CHANNELS, KEY_CHANNELS = 512, 256
SHAPES = ((1, 19, 128), (2, 150, 64))  # images, regions, side of the map


class Given(nn.Module):
    """Stand for the convolutions that make queries, keys or values: return what is there already."""

    def __init__(self, given: Tensor):
        super().__init__()
        self.given = given

    def forward(self, _: Tensor) -> Tensor:
        """Return the given tensor, whatever comes in."""
        return self.given


def usual(query: Tensor, key: Tensor, value: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Compute Eq. 5 and 3 pixel by pixel: query (B, C', h, w), key and value (B, C', K, 1) -> (B, C, h, w)."""
    pixels = query.flatten(2).permute(0, 2, 1)  # (B, hw, C')
    relation = (KEY_CHANNELS**-0.5 * torch.matmul(pixels, key.flatten(2))).softmax(-1)  # (B, hw, K)
    context = torch.matmul(relation, value.flatten(2).permute(0, 2, 1))  # (B, hw, C')
    return convolution(context.permute(0, 2, 1).contiguous().view(query.shape))


def main() -> None:
    torch.manual_seed(0)
    for batch, regions, side in SHAPES:
        layer = RegionAttention(CHANNELS, KEY_CHANNELS, scale=True, bias=True)
        convolution = layer.rho[0]
        layer.rho = nn.Sequential(convolution)
        query = torch.randn(batch, KEY_CHANNELS, side, side)
        first, last = (query.to(memory_format=f) for f in (torch.contiguous_format, torch.channels_last))
        key, value = (torch.randn(batch, KEY_CHANNELS, regions, 1, requires_grad=True) for _ in "kv")
        for x in (first, last):
            x.requires_grad_()
        layer.phi, layer.psi, layer.delta = Given(last), Given(key), Given(value)
        leaves = (key, value, *convolution.parameters())
        into = torch.randn(batch, CHANNELS, side, side)
        into_last = into.to(memory_format=torch.channels_last)

        def ours(last: Tensor = last, key: Tensor = key, layer: RegionAttention = layer) -> Tensor:
            return layer(last, key.flatten(2))

        def theirs(
            first: Tensor = first, key: Tensor = key, value: Tensor = value, convolution: nn.Conv2d = convolution
        ) -> Tensor:
            return usual(first, key, value, convolution)

        def trained(call: Callable[[], Tensor], *given: Tensor, into: Tensor = into) -> Callable:
            return lambda: torch.autograd.grad(call(), given, into)

        ours_trained = trained(ours, last, *leaves, into=into_last)
        theirs_trained = trained(theirs, first, *leaves)
        for a, b in zip(ours_trained(), theirs_trained(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        title = f"OCR relation and up-projection, K = {regions}, {batch} x {side} x {side}"
        with torch.no_grad():
            compare(f"{title}, forward", ours=ours, usual=theirs)
        compare(f"{title}, forward and backward", ours=ours_trained, usual=theirs_trained)


if __name__ == "__main__":
    main()
