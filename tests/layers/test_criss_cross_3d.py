"""3-D criss-cross attention against a dense one: all positions of a clip, those off the three lines masked."""

import itertools

import pytest
import torch

from contextseg.layers import attention_tap
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.criss_cross_3d import CrissCrossAttention3d, attention_map, compose

SIZES = ((1, 1, 1), (2, 3, 4), (4, 2, 3), (3, 1, 5))  # T, h, w
every_size = pytest.mark.parametrize("size", SIZES)


def close(a, b, atol=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def on_the_lines(size):
    """Whether two positions differ in one coordinate at most: bool (Thw, Thw)."""
    places = list(itertools.product(*map(range, size)))
    return torch.tensor([[sum(a != b for a, b in zip(p, q, strict=True)) <= 1 for q in places] for p in places])


def dense_map(query, key):
    """Query, key (B, T, h, w, C') -> attention of all positions with all (B, Thw, Thw)."""
    scores = torch.einsum("bpc,bqc->bpq", query.flatten(1, 3), key.flatten(1, 3))
    weights = scores.exp() * on_the_lines(query.shape[1:4])
    return weights / weights.sum(-1, keepdim=True)


def dense_attention(block, x):
    """Eq. 9 and 10 as they stand: V first, then the weighted sum; (B, C, T, h, w) -> the same."""
    query, key, value = (
        torch.einsum("oc,bcthw->bthwo", conv.weight[:, :, 0, 0], x) + conv.bias
        for conv in (block.query, block.key, block.value)
    )
    context = torch.einsum("bpq,bqc->bcp", dense_map(query, key), value.flatten(1, 3))
    return context.view_as(x) + x


def unfolded(weights):
    """An attention map (T, h, w, T + h + w) -> matrix (Thw, Thw)."""
    t, h, w, _ = weights.shape
    full = torch.zeros(t, h, w, t, h, w, dtype=weights.dtype)
    for a, i, j in itertools.product(range(t), range(h), range(w)):
        full[a, i, j, :, i, j] += weights[a, i, j, :t]
        full[a, i, j, a, :, j] += weights[a, i, j, t : t + h]
        full[a, i, j, a, i, :] += weights[a, i, j, t + h :]
    return full.reshape(t * h * w, t * h * w)


@every_size
@pytest.mark.parametrize("stored", [False, True])
def test_block_is_the_dense_masked_block_forward_and_backward(size, stored, monkeypatch):
    """With the map, and without one, which is how it trains."""
    block = CrissCrossAttention3d(8, 3).double()
    block.criss_cross.stored = stored
    monkeypatch.setattr(attention_tap, "LEAST", 0)
    x = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    leaves, direction = [x, *block.parameters()], torch.randn_like(x)
    expected, found = dense_attention(block, x), block(x)
    close(found, expected)
    gradients = (torch.autograd.grad((y * direction).sum(), leaves) for y in (found, expected))
    for a, b in zip(*gradients, strict=True):
        close(a, b)


@every_size
def test_map_has_the_slots_it_says(size):
    query, key = torch.randn(2, 2, *size, 3, dtype=torch.float64)
    weights = attention_map(query, key)
    assert weights.shape == (2, *size, sum(size))
    assert (weights > 0).sum(-1).eq(sum(size) - 2).all()  # the position itself once
    for found, expected in zip(weights, dense_map(query, key), strict=True):
        close(unfolded(found), expected)
    for t, i, j in itertools.product(*map(range, size)):
        assert (weights[:, t, i, j, [t, size[0] + i]] == 0).all()


def test_of_one_frame_it_is_the_block_in_two_dimensions():
    flat, block = CrissCrossAttention(8, 3).double(), CrissCrossAttention3d(8, 3).double()
    block.load_state_dict(flat.state_dict())
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    close(block(x[:, :, None])[:, :, 0], flat(x))


@pytest.mark.parametrize("loops", [1, 2, 3])
def test_each_loop_reaches_one_more_coordinate(loops):
    block, size, place = CrissCrossAttention3d(8).double(), (3, 4, 5), (1, 2, 3)
    x = h = torch.randn(1, 8, *size, dtype=torch.float64, requires_grad=True)
    for _ in range(loops):
        h = block(h)
    (gradient,) = torch.autograd.grad(h[(0, slice(None), *place)].sum(), x)
    reached = {tuple(p) for p in gradient[0].any(0).nonzero().tolist()}
    everything = itertools.product(*map(range, size))
    assert reached == {p for p in everything if sum(a != b for a, b in zip(p, place, strict=True)) <= loops}


@pytest.mark.parametrize("loops", [1, 2, 3])
def test_composed_map_is_the_product_of_the_dense_ones(loops):
    size, place = (2, 3, 4), (1, 2, 0)
    maps = [attention_map(*torch.randn(2, 2, *size, 3, dtype=torch.float64)) for _ in range(loops)]
    found = compose(maps, place)
    for clip in range(2):
        product = torch.eye(24, dtype=torch.float64)
        for weights in maps:
            product = unfolded(weights[clip]) @ product
        close(found[clip].flatten(), product.view(*size, 24)[place])
        close(compose([weights[clip] for weights in maps], place), found[clip])
