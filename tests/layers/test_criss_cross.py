"""Criss-cross attention against a slow one: one pixel at a time, over the pixels of its row and column."""

import pytest
import torch

from contextseg.layers import attention_tap
from contextseg.layers.attention import Chain
from contextseg.layers.criss_cross import CrissCross, CrissCrossAttention, attention_map

PATHS = ("criss_cross", "horizontal", "vertical")
SIZES = ((1, 1), (1, 5), (4, 1), (3, 5))
every_path = pytest.mark.parametrize("path", PATHS)


def close(a, b, atol=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def places(i, j, height, width, path):
    """The pixels that (i, j) attends to, itself once."""
    column = [(k, j) for k in range(height) if path != "horizontal"]
    row = [(i, k) for k in range(width) if path != "vertical"]
    return sorted({*column, *row})


def slow_map(query, key, path):
    """One image, (h, w, C') -> dense attention (h, w, h, w)."""
    height, width = query.shape[:2]
    weights = torch.zeros(height, width, height, width, dtype=query.dtype)
    for i in range(height):
        for j in range(width):
            seen = places(i, j, height, width, path)
            scores = torch.stack([query[i, j] @ key[place] for place in seen]).exp()
            for place, weight in zip(seen, scores / scores.sum(), strict=True):
                weights[i, j, place[0], place[1]] = weight
    return weights


def slow_attention(block, x, path):
    """Eq. 1 and 2 as they stand: V first, then the weighted sum; (B, C, h, w) -> the same."""
    query, key, value = (
        torch.einsum("oc,bcij->bijo", conv.weight[:, :, 0, 0], x) + conv.bias
        for conv in (block.query, block.key, block.value)
    )
    images = [torch.einsum("ijkl,klc->cij", slow_map(q, k, path), v) for q, k, v in zip(query, key, value, strict=True)]
    return torch.stack(images) * (1 if block.gate is None else block.gate) + x


def block(channels=8, gate=False):
    made = CrissCrossAttention(channels, 3, gate=gate).double()
    if gate:
        made.gate.data.fill_(0.5)
    return made


def dense(weights):
    """An attention map (h, w, h + w) -> matrix (hw, hw)."""
    height, width, _ = weights.shape
    full = torch.zeros(height, width, height, width, dtype=weights.dtype)
    for i in range(height):
        for j in range(width):
            full[i, j, :, j] += weights[i, j, :height]
            full[i, j, i, :] += weights[i, j, height:]
    return full.reshape(height * width, height * width)


@every_path
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_block_is_the_slow_block_forward_and_backward(path, size, gate, stored, monkeypatch):
    """With the map, and without one (`criss_cross_recomputed`), which is how it trains."""
    module = block(gate=gate)
    module.criss_cross.stored = stored
    monkeypatch.setattr(attention_tap, "LEAST", 0)
    x = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    leaves, direction = [x, *module.parameters()], torch.randn_like(x)
    expected = slow_attention(module, x, path)
    gradients = torch.autograd.grad((expected * direction).sum(), leaves)
    found = module(x, path)
    close(found, expected)
    for a, b in zip(torch.autograd.grad((found * direction).sum(), leaves), gradients, strict=True):
        close(a, b)


@every_path
@pytest.mark.parametrize("size", SIZES)
def test_map_has_the_slots_it_says(path, size):
    query, key = torch.randn(2, 2, *size, 3, dtype=torch.float64)
    weights = attention_map(query, key, path)
    assert weights.shape == (2, *size, sum(size))
    close(weights.sum(-1), torch.ones(2, *size, dtype=torch.float64))
    for found, q, k in zip(weights, query, key, strict=True):
        close(dense(found), slow_map(q, k, path).reshape(dense(found).shape))
    own_slot = torch.stack([weights[:, i, :, i] for i in range(size[0])])
    assert (own_slot == 0).all() == (path != "vertical")


@pytest.mark.parametrize("paths", [PATHS[:1], PATHS[:1] * 2, PATHS[:1] * 3, PATHS[1:], PATHS[:0:-1]])
def test_composed_map_is_the_product_of_the_dense_ones(paths):
    size, point = (3, 5), (2, 1)
    maps = [attention_map(*torch.randn(2, 2, *size, 3, dtype=torch.float64), path) for path in paths]
    for image in range(2):
        product = torch.eye(15, dtype=torch.float64)
        for weights in maps:
            product = dense(weights[image]) @ product
        whole = Chain([CrissCross(weights[image]) for weights in maps])
        close(whole.row(point, size).flatten(), product[point[0] * size[1] + point[1]])
        close(whole.column(point, size).flatten(), product[:, point[0] * size[1] + point[1]])
        close(whole.rows(torch.arange(15)).double(), product)
        close(whole.columns(torch.arange(15)).double(), product.mT)


def test_composed_map_is_what_flows_when_convolutions_are_the_identity():
    """Without residual and with V = identity, the derivative of a pixel by the input of both loops is the map."""
    x = torch.randn(1, 3, 5, 1, dtype=torch.float64, requires_grad=True)  # (B, h, w, C)
    maps = [attention_map(*torch.randn(2, 1, 3, 5, 3, dtype=torch.float64)) for _ in range(2)]
    flow = x
    for weights in maps:
        flow = (dense(weights[0]) @ flow.flatten(1, 2)[0]).view_as(x)
    (gradient,) = torch.autograd.grad(flow[0, 1, 4, 0], x)
    whole = Chain([CrissCross(weights[0]) for weights in maps])
    close(gradient[0, :, :, 0], whole.row((1, 4), (3, 5)).double())


@pytest.mark.parametrize("loops", [1, 2])
def test_two_loops_reach_the_whole_map_and_one_the_cross(loops):
    module = block()
    x = h = torch.randn(1, 8, 4, 6, dtype=torch.float64, requires_grad=True)
    for _ in range(loops):
        h = module(h)
    (gradient,) = torch.autograd.grad(h[0, :, 1, 2].sum(), x)
    reached = {(i, j) for i, j in gradient[0].any(0).nonzero().tolist()}
    everything = {(i, j) for i in range(4) for j in range(6)}
    assert reached == (set(places(1, 2, 4, 6, "criss_cross")) if loops == 1 else everything)


def test_parameters_are_those_of_the_released_block():
    assert sum(p.numel() for p in CrissCrossAttention(512, gate=True).parameters()) == 328_321
