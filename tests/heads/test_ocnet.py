"""OCNet's object context, one pixel at a time: which pixels it attends to in each grid, and with which weights."""

import pytest
import slow
import torch

from contextseg.explain import record_attention
from contextseg.heads.ocnet import OCNetHead
from contextseg.layers.object_context import ObjectContext


def part_of(index, length, parts):
    """The part that a place belongs to: equal steps, the last part takes the remainder."""
    parts = min(parts, length)
    return min(index // (length // parts), parts - 1)


def slow_context(layer, x):
    """One image (C, h, w) -> (C, h, w)."""
    h, w = x.shape[-2:]
    places = [(i, j) for i in range(h) for j in range(w)]
    part = {p: (part_of(p[0], h, layer.parts), part_of(p[1], w, layer.parts)) for p in places}
    theta = {p: slow.block(layer.theta, x[:, *p]) for p in places}
    out = []
    for p in places:
        others = [q for q in places if part[q] == part[p]]
        weights = slow.softmax([theta[p] @ theta[q] / len(theta[p]) ** 0.5 for q in others])
        context = sum(a * slow.linear(layer.value, x[:, *q]) for a, q in zip(weights, others, strict=True))
        out.append(slow.linear(layer.project, context))
    return torch.stack(out, -1).unflatten(-1, (h, w))


@pytest.mark.parametrize(("parts", "size"), [(1, (3, 4)), (2, (5, 3)), (3, (2, 7))])
def test_object_context_is_its_equations(parts, size):
    layer = slow.prepare(ObjectContext(4, 3, 5, parts))
    x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    reference = torch.stack([slow_context(layer, image) for image in x])
    slow.assert_same(layer(x), reference, [x, *layer.parameters()])
    with record_attention(layer):
        torch.testing.assert_close(layer(x), reference, rtol=1e-5, atol=1e-6)


def test_the_map_of_a_pixel_is_its_part_of_each_grid():
    head = slow.prepare(OCNetHead([6], 3, channels=4, sizes=(1, 2)))
    features = [torch.randn(1, 6, 5, 4, dtype=torch.float64)]
    with record_attention(head) as heard:
        head(features)
    shown = head.context(heard, (2, 1), (5, 4))
    assert set(shown) == {"1x1", "2x2"}
    assert (shown["1x1"] > 0).all()
    inside = torch.zeros(5, 4, dtype=torch.bool)
    inside[2:, :2] = True
    assert (shown["2x2"] > 0).equal(inside)
    x = head.reduce(features[0])
    for index, found in enumerate(shown.values()):
        grid = head.grids[index]
        context = torch.einsum("hw,chw->c", found, grid.value(x)[0])
        torch.testing.assert_close(slow.linear(grid.project, context), grid(x)[0, :, 2, 1], rtol=1e-5, atol=1e-6)


def test_features_weigh_as_much_as_all_contexts():
    """CTNet, Table 3, counts 15.23 M for the pyramid."""
    with torch.device("meta"):
        pyramid = OCNetHead([1024, 2048], 21)
        base = OCNetHead([1024, 2048], 21, form="base")
    assert sum(p.numel() for p in pyramid.parameters()) == pytest.approx(15.23e6, rel=0.001)
    assert (pyramid.fuse[0].in_channels, base.fuse[0].in_channels) == (4096, 1024)
