"""The reference head: each mechanism against sums over pixels in float64, and what is left of it without."""

from functools import cache

import pytest
import torch
from slow import assert_same, block, linear, prepare, softmax

from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.heads.reference import DETAILS, MECHANISMS, ReferenceHead
from contextseg.layers.resize import resize

K, CHANNELS = 5, 8
CLASSES = class_set("context_scenes_hard")
WAYS = [
    {"mechanism": "mean"},
    {"mechanism": "descriptors", "num_descriptors": 3},
    {"mechanism": "descriptors", "num_descriptors": 1},
    {"mechanism": "relation"},
    {"mechanism": "relation", "queries": False},
    {"mechanism": "presence"},
    {"mechanism": "affinity"},
    {"mechanism": "affinity", "affinity": "ideal"},
    {"mechanism": "affinity", "affinity": "uniform"},
    {"mechanism": "detail"},
    {"mechanism": "detail", "detail": "added"},
    {"mechanism": "detail", "detail": "none"},
]
LOSSES = {
    "presence": ["loss=cp", "loss.term.cp.target=presence", "loss.term.cp.activation=sigmoid"],
    "affinity": ["loss=affinity"],
}
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))


def head_of(way):
    head = prepare(ReferenceHead([4, 6], K, channels=CHANNELS, key_channels=3, **way))
    if way["mechanism"] == "descriptors":
        head.sharpness.data.fill_(2.0)  # or each pixel has one descriptor
    return head


def inputs():
    """Maps (2, 4, 4, 6) and (2, 6, 2, 3) and a mask (2, 8, 12), in cells of 4 pixels, but for a frame around each."""
    features = [torch.randn(2, c, h, w, dtype=torch.float64, requires_grad=True) for c, h, w in ((4, 4, 6), (6, 2, 3))]
    cells = torch.tensor([[[0, 1, 0], [2, 255, 0]], [[3, 3, 3], [3, 3, 3]]], dtype=torch.uint8)
    mask = torch.full((2, 8, 12), 4, dtype=torch.uint8)
    for i in range(2):
        for j in range(3):
            mask[:, 4 * i + 1 : 4 * i + 3, 4 * j + 1 : 4 * j + 3] = cells[:, i, j, None, None]
    return features, mask, cells.flatten(1).tolist()


def mean(vectors):
    return sum(vectors) / len(vectors)


def slow_contexts(head, way, pixels, labels):
    """The context of each pixel, from the vectors of all (C',) and their labels."""
    everywhere = [mean(pixels)] * len(pixels)
    products = None
    if hasattr(head, "query"):
        queries, keys = [linear(head.query, x) for x in pixels], [linear(head.key, x) for x in pixels]
        if not way.get("queries", True):
            queries = [mean(queries)] * len(queries)
        products = [[query @ key / 3**0.5 for key in keys] for query in queries]
    if way["mechanism"] == "descriptors":
        values, near = [linear(head.value, x) for x in pixels], []
        for x in pixels:
            convolution, norm, _ = head.place
            y = (linear(convolution, x) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
            y = y * norm.weight + norm.bias
            likeness = [a @ y / a.norm() / y.norm() for a in head.anchors]
            near.append(softmax([head.sharpness * value for value in likeness]))
        count = len(head.anchors)
        total = [sum(n[k] for n in near) for k in range(count)]
        descriptors = [sum(n[k] * v for n, v in zip(near, values, strict=True)) / total[k] for k in range(count)]
        return [sum(n[k] * descriptors[k] for k in range(count)) for n in near]
    if way["mechanism"] == "relation":
        values = [linear(head.value, x) for x in pixels]
        return [sum(w * v for w, v in zip(softmax(row), values, strict=True)) for row in products]
    if way["mechanism"] == "presence":
        present = 1 / (1 + (-(head.present.weight @ mean(pixels) + head.present.bias)).exp())
        return [head.embed.weight @ present + head.embed.bias] * len(pixels)
    if way["mechanism"] == "affinity" and products:
        contexts = []
        for row in products:
            same = [1 / (1 + (-value).exp()) for value in row]
            own = sum(a * x for a, x in zip(same, pixels, strict=True)) / sum(same)
            others = sum((1 - a) * x for a, x in zip(same, pixels, strict=True)) / sum(1 - a for a in same)
            contexts.append(torch.cat([own, others]))
        return contexts
    if way.get("affinity") == "ideal":
        contexts = []
        for label in labels:
            own = [x for x, other in zip(pixels, labels, strict=True) if other == label]
            others = [x for x, other in zip(pixels, labels, strict=True) if other != label]
            contexts.append(torch.cat([mean(own), mean(others) if others else torch.zeros_like(own[0])]))
        return contexts
    if way["mechanism"] == "affinity":
        return [torch.cat([mean(pixels)] * 2)] * len(pixels)
    return everywhere


def slow_head(head, way, features, labels):
    x = head.reduce(features[-1])
    fused = []
    for image, own in zip(x, labels, strict=True):
        pixels = list(image.flatten(1).T)
        contexts = slow_contexts(head, way, pixels, own)
        both = [block(head.fuse, torch.cat(pair)) for pair in zip(pixels, contexts, strict=True)]
        fused.append(torch.stack(both, dim=1).unflatten(1, image.shape[1:]))
    y = torch.stack(fused)
    if way["mechanism"] == "detail":
        y = resize(y, features[0].shape[-2:])
        if (detail := way.get("detail", "gated")) != "none":
            fine = head.lateral(features[0])
            if detail == "gated":
                gate = [[linear(head.gate, z).sigmoid() for z in image.flatten(1).T] for image in y]
                fine = fine * torch.stack([torch.stack(g, dim=1).unflatten(1, y.shape[2:]) for g in gate])
            y = y + fine
    return head.classifier(y)


@every_way
def test_the_head_is_the_slow_head_forward_and_backward(way):
    head = head_of(way)
    features, mask, labels = inputs()
    fast = head(features, mask).logits if head.needs_mask else head(features).logits
    slow = slow_head(head, way, features, labels)
    assert_same(fast, slow, [*features, *head.parameters()])


def test_every_mechanism_is_tested():
    assert {way["mechanism"] for way in WAYS} == set(MECHANISMS)


def test_one_descriptor_is_the_mean_of_the_values():
    head, x = head_of({"mechanism": "descriptors", "num_descriptors": 1}), torch.randn(2, CHANNELS, 4, 5).double()
    expected = head.value(x).mean((2, 3), keepdim=True)
    torch.testing.assert_close(head.described(x), expected.expand_as(x))


def test_several_descriptors_tell_pixels_apart():
    head, x = head_of({"mechanism": "descriptors", "num_descriptors": 3}), torch.randn(2, CHANNELS, 4, 5).double()
    assert head.described(x).std((2, 3)).min() > 1e-3


@pytest.mark.parametrize("queries", [True, False])
def test_without_queries_all_pixels_have_one_context(queries):
    head, x = head_of({"mechanism": "relation", "queries": queries}), torch.randn(2, CHANNELS, 4, 5).double()
    spread = head.related(x).std((2, 3))
    assert (spread > 1e-3).all() if queries else (spread < 1e-12).all()


@pytest.mark.parametrize("detail", DETAILS)
def test_without_detail_the_finer_map_changes_nothing(detail):
    head = head_of({"mechanism": "detail", "detail": detail})
    (fine, coarse), _, _ = inputs()
    logits = head([fine, coarse]).logits
    assert logits.shape == (2, K, 4, 6)
    assert torch.equal(head([torch.randn_like(fine), coarse]).logits, logits) is (detail == "none")


@pytest.mark.parametrize(("detail", "a_sum"), [("gated", False), ("added", True)])
def test_only_a_gate_makes_more_of_deep_map_and_detail_than_a_sum(detail, a_sum):
    """In a sum, what the fine map changes does not depend on the deep one."""
    head = head_of({"mechanism": "detail", "detail": detail})
    (fine, coarse), _, _ = inputs()
    other_fine, other_coarse = torch.randn_like(fine), torch.randn_like(coarse)
    changes = [head([fine, deep]).logits - head([other_fine, deep]).logits for deep in (coarse, other_coarse)]
    assert torch.allclose(*changes, atol=1e-9) is a_sum


@every_way
def test_extras_are_what_the_losses_read(way):
    head = head_of(way)
    features, mask, _ = inputs()
    output = head(features, mask) if head.needs_mask else head(features)
    shapes = {name: tuple(extra.shape) for name, extra in output.extras.items()}
    assert set(shapes) == head.emits
    if way["mechanism"] == "presence":
        assert shapes == {"class_probability": (2, K)}
    elif way == {"mechanism": "affinity"}:
        assert shapes == {"prior_logits": (2, 6, 6)}
    else:
        assert shapes == {}


@pytest.mark.parametrize("mechanism", ["relation", "affinity"])
def test_where_the_context_of_a_pixel_came_from(mechanism):
    head = head_of({"mechanism": mechanism})
    features, _, _ = inputs()
    with record_attention(head) as heard:
        head([feature[:1] for feature in features])
    row = head.products(head.reduce(features[-1]))[0, 4]
    expected = row.softmax(0) if mechanism == "relation" else row.sigmoid()
    torch.testing.assert_close(head.context(heard, (1, 1), (2, 3))["context"], expected.view(2, 3))


def test_other_mechanisms_show_no_partners():
    head = head_of({"mechanism": "mean"})
    with record_attention(head) as heard:
        head(inputs()[0])
    assert head.context(heard, (1, 1), (2, 3)) == {}


# training


@cache
def built(*overrides):
    """The configuration of the head, its network on three images and its loss."""
    cfg = compose(["head=reference", "data=context_scenes_hard", "width=16", *overrides])
    criterion = build.loss(cfg)
    {name: term.reads for name, term in criterion.term.items()}
    return build.network(cfg, CLASSES)[0], criterion


def batch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=generator)
    mask = torch.randint(0, len(CLASSES), (3, 8, 8), dtype=torch.uint8, generator=generator)
    return image, mask.repeat_interleave(8, 1).repeat_interleave(8, 2)


def options(way):
    return [f"head.{name}={value}" for name, value in way.items()]


@pytest.mark.parametrize("mechanism", ["presence", "affinity"])
def test_without_supervision_the_main_loss_trains_it(mechanism):
    model, criterion = built(f"head.mechanism={mechanism}")
    assert set(criterion.term) == {"ce"}
    image, mask = batch()
    loss, _ = criterion(model(image), mask)
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


def test_the_ideal_affinity_is_an_oracle():
    model, _ = built("head.mechanism=affinity", "head.affinity=ideal")
    image, mask = batch()
    model.eval()
    assert not torch.equal(model.logits(image, mask), model.logits(image, (mask + 1) // 2))
    with pytest.raises(ValueError, match="needs the ground truth"):
        model.predict(image)
    assert not ReferenceHead([4, 6], K, mechanism="relation", affinity="ideal").needs_mask  # only of "affinity"


# what is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mechanism": "gating"}, f"head.mechanism=gating: choose {', '.join(MECHANISMS)}"),
        ({"mechanism": "affinity", "affinity": "given"}, "head.affinity=given: choose learnt, ideal, uniform"),
        ({"affinity": "given"}, "head.affinity=given"),
        ({"mechanism": "detail", "detail": True}, "head.detail=True: choose gated, added, none"),
    ],
)
def test_nonsense_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ReferenceHead([4, 6], K, **wrong)


@pytest.mark.parametrize(
    ("mechanism", "loss", "extra"),
    [
        ("relation", "affinity", "prior_logits"),
        ("mean", "cp", "class_probability"),
        ("presence", "affinity", "prior_logits"),
    ],
)
def test_a_loss_that_reads_what_the_mechanism_does_not_give_is_refused(mechanism, loss, extra):
    with pytest.raises(ConfigError, match=f"reads '{extra}'"):
        built(f"head.mechanism={mechanism}", f"loss={loss}")
