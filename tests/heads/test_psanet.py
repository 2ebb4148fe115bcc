"""Point-wise spatial attention against a slow one: offsets looked up pixel by pixel."""

import pytest
import torch

from contextseg.explain import record_attention
from contextseg.heads.psanet import PointwiseAttention, PSANetHead
from contextseg.layers.resize import resize

N = 5  # grid


def branch(distribute):
    return PointwiseAttention(6, 4, N, distribute=distribute).double().eval()


def slow_branch(module, x):
    """One image (1, C, h, w) -> (1, C', h, w)."""
    values = module.reduce(x)[0]
    offsets = module.offsets(values[None])[0].unflatten(0, (2 * N - 1, 2 * N - 1))  # (down, right, h, w)
    height, width = x.shape[-2:]
    pixels = [(i, j) for i in range(height) for j in range(width)]
    out = torch.empty_like(values)
    for i, j in pixels:
        if module.distribute:  # the source says what it gives to (i, j)
            scores = [offsets[i - k + N - 1, j - m + N - 1, k, m].exp() for k, m in pixels]
        else:  # (i, j) says what it takes
            scores = [offsets[k - i + N - 1, m - j + N - 1, i, j].exp() for k, m in pixels]
        out[:, i, j] = sum(s / sum(scores) * values[:, k, m] for s, (k, m) in zip(scores, pixels, strict=True))
    return out[None]


@pytest.mark.parametrize("distribute", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, N), (3, 4), (N, N)])
def test_branch_is_the_slow_branch_forward_and_backward(distribute, size):
    module = branch(distribute)
    x = torch.randn(1, 6, *size, dtype=torch.float64, requires_grad=True)
    expected = slow_branch(module, x)
    direction, leaves = torch.randn_like(expected), [x, *module.parameters()]
    gradients = torch.autograd.grad((expected * direction).sum(), leaves)
    with record_attention(module) as maps:
        found = module(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for a, b in zip(torch.autograd.grad((found * direction).sum(), leaves), gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    rows = maps["pointwise"][0].sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


def test_collect_and_distribute_differ_with_the_same_weights():
    collect, distribute = branch(False), branch(True)
    distribute.load_state_dict(collect.state_dict())
    x = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    assert (collect(x) - distribute(x)).abs().max() > 1e-4


def test_a_map_beyond_the_grid_is_shrunk_to_it():
    head = PSANetHead([6], 5, channels=4, grid=N).eval()
    x = torch.randn(1, 6, 9, 4)
    seen = []
    handles = [
        module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        for module in (head.collect, head.distribute)
    ]
    logits = head([x]).logits
    for handle in handles:
        handle.remove()
    assert logits.shape == (1, 5, 9, 4)
    assert len(seen) == 2
    for given in seen:
        torch.testing.assert_close(given, resize(x, (N, 4)))


def test_offsets_of_the_released_setting():
    """A crop of 473 has maps of 60, halved to 30: masks of 59 x 59."""
    with torch.device("meta"):
        head = PSANetHead([2048], 150)
    assert head.collect.offsets[1].out_channels == 59 * 59
