"""CE2P's head with either context, written down with plain functions; where its context is from; what it shows."""

import pytest
import torch
from slow import prepare
from torch.nn import functional as F

from contextseg.explain import record_attention
from contextseg.heads.ce2p import CE2PHead

K, C = 3, 8
CHANNELS, STRIDES = (5, 6, 7, 8), (4, 8, 16, 16)


def conv(x, layer):
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def block(x, layers):
    convolution, norm, _ = layers
    y = F.batch_norm(conv(x, convolution), norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return F.relu(y)


def up(x, like):
    return F.interpolate(x, like.shape[-2:], mode="bilinear")


def psp(x, module):
    cells = [
        up(block(F.adaptive_avg_pool2d(x, n), level.conv), x)
        for n, level in zip((1, 2, 3, 6), module.pyramid, strict=True)
    ]
    return block(torch.cat([x, *cells], 1), module.fuse)


def rcca(x, module):
    """Two loops, each over a dense matrix of all pairs in which only row and column count, a pixel itself once."""
    h, w = x.shape[-2:]
    place = torch.arange(h * w)
    crossed = (place[:, None] // w == place // w) | (place[:, None] % w == place % w)
    z, a = block(x, module.reduce), module.attention
    for _ in range(2):
        query, key, value = (conv(z, layer).flatten(2) for layer in (a.query, a.key, a.value))
        scores = (query.mT @ key).masked_fill(~crossed, -torch.inf)
        z = z + (value @ scores.softmax(-1).mT).unflatten(-1, (h, w))
    return block(torch.cat([z, x], 1), module.fuse), z


def ocr(x, before, module):
    """Regions of the coarse maps, gathered from the last map as it is; two blocks in phi and in psi."""
    h, w = x.shape[-2:]
    first, _, last = module.coarse
    coarse = conv(block(before, first), last)
    regions = up(coarse, x).flatten(2).softmax(-1)  # (B, K, hw)
    vectors = (x.flatten(2) @ regions.mT)[..., None]  # (B, C', K, 1)
    a = module.attention
    query = block(block(x, a.phi[0]), a.phi[1]).flatten(2)
    key = block(block(vectors, a.psi[0]), a.psi[1]).flatten(2)
    relation = (query.mT @ key / query.shape[1] ** 0.5).softmax(-1)  # (B, hw, K)
    context = (block(vectors, a.delta).flatten(2) @ relation.mT).unflatten(-1, (h, w))
    return block(torch.cat([block(context, a.rho), x], 1), module.fuse), coarse


def maps():
    torch.manual_seed(0)
    return [torch.randn(2, c, 48 // s, 64 // s, dtype=torch.float64) for c, s in zip(CHANNELS, STRIDES, strict=True)]


@pytest.mark.parametrize("context", ["psp", "rcca", "ocr"])
def test_the_head_is_its_figure(context):
    head = prepare(CE2PHead(CHANNELS, K, channels=C, low_channels=2, context=context, embedding_channels=16))
    x2, x3, x4, x5 = features = maps()
    coarse = None
    if context == "ocr":
        z, coarse = ocr(x5, x4, head.ocr)
        embedded = z
    else:
        z, embedded = rcca(x5, head.rcca) if context == "rcca" else (psp(x5, head.pool),) * 2
    x = torch.cat([up(block(z, head.reduce), x2), block(x2, head.low)], 1)
    for layers in head.restore:
        x = block(x, layers)
    sides = [block(one, layers) for one, layers in zip((x2, x3, x4), head.edge.reduce, strict=True)]
    scores = conv(torch.cat([up(conv(one, head.edge.score), x2) for one in sides], 1), head.edge.fuse)
    fused = block(torch.cat([x, *(up(one, x2) for one in sides)], 1), head.fuse)
    output = head(features)
    expected = {
        "aux_logits": conv(x, head.parsing),
        "edge_logits": scores,
        "embedding": conv(embedded, head.embedding),
    } | ({"region_logits": coarse} if context == "ocr" else {})
    assert output.extras.keys() == expected.keys()
    torch.testing.assert_close(output.logits, conv(fused, head.classifier), rtol=1e-5, atol=1e-6)
    for name, wanted in expected.items():
        torch.testing.assert_close(output.extras[name], wanted, rtol=1e-5, atol=1e-6)


def test_what_it_shows():
    head = prepare(CE2PHead(CHANNELS, K, channels=C, context="rcca"))
    features = [one[:1] for one in maps()]
    with record_attention(head) as heard:
        output = head(features)
    size = output.logits.shape[-2:]
    (edge,) = head.inside(heard, size).values()
    torch.testing.assert_close(edge.values, output.extras["edge_logits"].softmax(1)[:, 1])
    (first,) = head.context(heard, (0, 0), size).values()
    (last,) = head.context(heard, (11, 15), size).values()
    assert first.shape == last.shape == (3, 4)  # of the last map
    torch.testing.assert_close(first.sum().item(), 1.0)
    assert head.context(heard, (3, 3), size)["context"].equal(first)  # the same place of the last map
    assert not head.context(heard, (4, 3), size)["context"].equal(first)


def test_a_place_takes_from_regions():
    head = prepare(CE2PHead(CHANNELS, K, channels=C, context="ocr"))
    features = [one[:1] for one in maps()]
    with record_attention(head) as heard:
        output = head(features)
    (found,) = head.context(heard, (7, 5), output.logits.shape[-2:]).values()  # of (12, 16): place (1, 1) of (3, 4)
    regions = up(output.extras["region_logits"], features[-1]).flatten(2).softmax(-1)[0]
    relation = heard["ocr.attention.pixel_region"][0][0, 1 * 4 + 1]
    torch.testing.assert_close(found.double().flatten(), relation @ regions, rtol=1e-5, atol=1e-7)


def test_without_edges_there_is_no_branch():
    head = CE2PHead(CHANNELS, K, channels=C, edge=False, parsing=False)
    assert head.emits == frozenset()
    assert head.edge is None
    assert head.inside({}, (1, 1)) == {}


def test_widths_are_those_of_the_code():
    with torch.device("meta"):
        head = CE2PHead((256, 512, 1024, 2048), 20)
    assert head.pool.pyramid[0].conv[0].weight.shape == (512, 2048, 1, 1)
    assert head.restore[0][0].weight.shape == (256, 304, 1, 1)
    assert head.fuse[0].weight.shape == (256, 1024, 1, 1)
    assert [layers[0].in_channels for layers in head.edge.reduce] == [256, 512, 1024]
