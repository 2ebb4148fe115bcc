"""Dual attention against its equations, one pixel or channel at a time, on the fused path and on the listening one."""

from contextlib import nullcontext

import pytest
import slow
import torch

from contextseg.explain import record_attention
from contextseg.heads.danet import DANetHead
from contextseg.layers.dual_attention import ChannelAttention, PositionAttention


def slow_position(block, x):
    """x_i + gamma sum_j softmax_j(q_i^T k_j) v_j for one image (C, h, w)."""
    h, w = x.shape[-2:]
    pixels = [x[:, i, j] for i in range(h) for j in range(w)]
    queries, keys, values = ([slow.linear(f, p) for p in pixels] for f in (block.query, block.key, block.value))
    out = []
    for pixel, query in zip(pixels, queries, strict=True):
        weights = slow.softmax([query @ key for key in keys])
        out.append(pixel + block.gamma * sum(a * v for a, v in zip(weights, values, strict=True)))
    return torch.stack(out, dim=-1).unflatten(-1, (h, w))


def slow_channel(block, x):
    """x_c + beta sum_d softmax_d(-x_c^T x_d) x_d for one image (C, h, w)."""
    out = []
    for channel in x:
        weights = slow.softmax([-(channel * other).sum() for other in x])
        out.append(channel + block.beta * sum(a * other for a, other in zip(weights, x, strict=True)))
    return torch.stack(out)


@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (2, 5)])
@pytest.mark.parametrize("kind", ["position", "channel"])
def test_dual_attention_is_its_equations(kind, size, listening):
    block, reference = {
        "position": (PositionAttention(6, 3), slow_position),
        "channel": (ChannelAttention(), slow_channel),
    }[kind]
    slow.prepare(block)
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    with record_attention(block) if listening else nullcontext():
        y = block(x)
    slow.assert_same(y, torch.stack([reference(block, image) for image in x]), [x, *block.parameters()])


@pytest.mark.parametrize("block", [PositionAttention(6, 3), ChannelAttention()])
def test_closed_gates_pass_the_features_on(block):
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_channel_attention_survives_half_precision():
    """Inner products over many pixels leave the range of float16 and the accuracy of bfloat16."""
    block = ChannelAttention()
    block.beta.data.fill_(1.0)
    x = 100 + torch.randn(1, 6, 64, 64)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype):
            assert torch.isfinite(block(x.to(dtype))).all()


def test_maps_are_shares_and_tell_where_context_is_from():
    head = DANetHead([6, 7], 5, channels=8).eval()
    features = [torch.randn(1, c, 2, 5) for c in (6, 7)]
    with record_attention(head) as heard:
        head(features)
    (pairs,), (channel,) = heard["position_attention.position"], heard["channel_attention.channel"]
    position = pairs.weights()
    assert (position.shape, channel.shape) == ((1, 10, 10), (1, 8, 8))
    for rows in (position, channel):
        torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
    torch.testing.assert_close(head.context(heard, (1, 2), (2, 5))["position"], position[0, 7].view(2, 5))
