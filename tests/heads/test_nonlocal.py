"""The non-local block against a slow one, pixel by pixel."""

import pytest
import torch

from contextseg.explain import record_attention
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.non_local import NonLocal


def slow_non_local(block, x):
    """(B, C, h, w) -> the same: V first, then the sum over all pixels."""
    images = []
    for image in x:
        pixels = image.flatten(1).T  # (hw, C)
        query, key, value = (
            [conv.weight[:, :, 0, 0] @ pixel + conv.bias for pixel in pixels]
            for conv in (block.query, block.key, block.value)
        )
        out = []
        for u, pixel in enumerate(pixels):
            scores = [(query[u] @ k).exp() for k in key]
            context = sum(s / sum(scores) * v for s, v in zip(scores, value, strict=True))
            out.append(pixel + context * (1 if block.gate is None else block.gate))
        images.append(torch.stack(out, 1).view_as(image))
    return torch.stack(images)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 4)])
@pytest.mark.parametrize("gate", [False, True])
def test_block_is_the_slow_block_forward_and_backward(size, gate):
    block = NonLocal(6, 3, gate=gate).double()
    if gate:
        block.gate.data.fill_(0.5)
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    leaves, direction = [x, *block.parameters()], torch.randn_like(x)
    expected = slow_non_local(block, x)
    gradients = torch.autograd.grad((expected * direction).sum(), leaves)
    fused = block(x)
    with record_attention(block) as maps:
        heard = block(x)
    assert maps["non_local"][0].weights().shape == (2, size[0] * size[1], size[0] * size[1])
    for found in (fused, heard):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        for a, b in zip(torch.autograd.grad((found * direction).sum(), leaves), gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_on_a_single_row_it_is_criss_cross_attention():
    dense, cross = NonLocal(16), CrissCrossAttention(16)
    cross.load_state_dict(dense.state_dict())
    x = torch.randn(2, 16, 1, 9)
    torch.testing.assert_close(dense(x), cross(x), rtol=0, atol=1e-5)
