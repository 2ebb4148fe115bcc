"""Double attention against its equations, one pixel and one region at a time."""

import pytest
import slow
import torch

from contextseg.explain import record_attention
from contextseg.heads.double_attention import DoubleAttentionHead
from contextseg.layers.double_attention import DoubleAttention


def slow_double_attention(block, x):
    """Eq. 2-6 for one image (C, h, w): g_k = sum_j b_kj down(x_j), then y_i = up(sum_k v_ik g_k)."""
    h, w = x.shape[-2:]
    pixels = [x[:, i, j] for i in range(h) for j in range(w)]
    gather = [slow.linear(block.gather_scores, pixel) for pixel in pixels]
    vectors = []
    for k in range(block.gather_scores.out_channels):
        weights = slow.softmax([scores[k] for scores in gather])
        vectors.append(sum(b * slow.linear(block.down, pixel) for b, pixel in zip(weights, pixels, strict=True)))
    out = []
    for pixel in pixels:
        weights = slow.softmax(list(slow.linear(block.distribute_scores, pixel)))
        out.append(slow.linear(block.up, sum(v * g for v, g in zip(weights, vectors, strict=True))))
    return torch.stack(out, dim=-1).unflatten(-1, (h, w))


@pytest.mark.parametrize(("regions", "size"), [(1, (3, 4)), (5, (3, 4)), (7, (1, 1)), (13, (2, 3))])
def test_double_attention_is_its_equations(regions, size):
    block = slow.prepare(DoubleAttention(6, 3, regions))
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([slow_double_attention(block, image) for image in x])
    slow.assert_same(block(x), expected, [x, *block.parameters()])


def test_one_region_gives_every_pixel_the_same():
    y = DoubleAttention(6, 3, 1)(torch.randn(2, 6, 3, 4))
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))


def test_maps_are_shares_and_tell_where_context_is_from():
    head = DoubleAttentionHead([6, 7], 5, channels=8, regions=3).eval()
    with record_attention(head) as heard:
        head([torch.randn(1, c, 2, 5) for c in (6, 7)])
    (gather,), (distribute,) = heard["attention.gather"], heard["attention.distribute"]
    assert (gather.shape, distribute.shape) == ((1, 3, 10), (1, 10, 3))
    for rows in (gather, distribute):
        torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
    context = head.context(heard, (1, 2), (2, 5))["context"]
    torch.testing.assert_close(context, sum(distribute[0, 7, k] * gather[0, k].view(2, 5) for k in range(3)))
