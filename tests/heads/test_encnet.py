"""EncNet's head and encoding layer, one pixel and one codeword at a time; what it shows; its losses."""

import pytest
import slow
import torch
from torch import nn

from contextseg.commands.compose import compose
from contextseg.contract import SegOutput
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.heads.encnet import EncNetHead

C, K = 4, 3


def prepared(**settings):
    """A head in float64 and evaluation mode, all norms random, codewords far apart."""
    head = slow.prepare(EncNetHead([5, 6, 7], K, channels=C, codewords=3, **settings))
    for part in head.modules():
        if isinstance(part, nn.BatchNorm1d):
            for tensor in (part.weight.data, part.running_var, part.bias.data, part.running_mean):
                tensor.uniform_(0.2, 1)
    head.encoding.codewords.data.normal_()
    return head


def maps():
    torch.manual_seed(0)
    return [torch.randn(2, c, 2, 3, dtype=torch.float64, requires_grad=True) for c in (5, 6, 7)]


def slow_encoding(layer, pixels):
    """The vector of an image from its pixels, each (C,)."""
    norm, total = layer.norm_act[0], 0
    residuals = [0] * len(layer.codewords)
    for pixel in pixels:
        scores = [-s * (pixel - d).square().sum() for s, d in zip(layer.smoothing, layer.codewords, strict=True)]
        for k, share in enumerate(slow.softmax(scores)):
            residuals[k] = residuals[k] + share * (pixel - layer.codewords[k])
    for k, e in enumerate(residuals):
        y = (e - norm.running_mean[k]) / (norm.running_var[k] + norm.eps).sqrt() * norm.weight[k] + norm.bias[k]
        total = total + y.clamp(min=0)
    return total if layer.aggregate == "sum" else total / len(residuals)


def affine(layer, vector):
    return layer.weight @ vector + layer.bias


def slow_head(head, features):
    """One image: logits (K, h, w) from maps (C_i, h, w), all of one size; and the scores of the classes it holds."""
    x = head.reduce(features[-1][None])[0]
    if head.fuse is not None:
        sides = [conv(one[None])[0] for conv, one in zip(head.connect, features[:2], strict=True)]
        x = head.fuse(torch.cat([x, *sides])[None])[0]
    pixels = list(x.flatten(1).T)
    encoded = slow_encoding(
        head.encoding,
        pixels if isinstance(head.project, nn.Identity) else [slow.block(head.project, p) for p in pixels],
    )
    gates = 1 / (1 + (-affine(head.gate, encoded)).exp())
    logits = []
    for pixel in pixels:
        weighed = (pixel + pixel * gates).clamp(min=0) if head.residual else pixel * gates
        logits.append(slow.linear(head.classifier, weighed))
    aux = slow_encoding(head.aux.encoding, list(head.aux.reduce(features[-2][None])[0].flatten(1).T))
    return (
        torch.stack(logits, -1).unflatten(-1, x.shape[-2:]),
        affine(head.presence, encoded),
        affine(head.aux.presence, aux),
    )


@pytest.mark.parametrize(
    "settings", [{}, {"project": True, "aggregate": "mean", "residual": True, "lateral": True}], ids=["paper", "code"]
)
def test_the_head_is_its_equations(settings):
    head, features = prepared(**settings), maps()
    output = head(features)
    images = [slow_head(head, [x[index] for x in features]) for index in range(2)]
    expected = [torch.stack(parts) for parts in zip(*images, strict=True)]
    found = [output.logits, output.extras["class_probability"], output.extras["aux_class_probability"]]
    direction = [torch.randn_like(one) for one in found]
    fast, reference = (
        sum((one * way).sum() for one, way in zip(parts, direction, strict=True)) for parts in (found, expected)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    slow.assert_same(fast, reference, [*features[1:], *head.parameters()])


def test_what_it_shows():
    head, features = prepared(), [x[:1] for x in maps()]
    with record_attention(head) as heard:
        output = head(features)
    shown = head.inside(heard, (2, 3))
    assert {name: tuple(one.values.shape) for name, one in shown.items()} == {
        "channel_gates": (C,),
        "codewords": (3, 2, 3),
        "class_presence": (K,),
    }
    torch.testing.assert_close(shown["codewords"].values.sum(0), torch.ones(2, 3, dtype=torch.float64))
    torch.testing.assert_close(shown["class_presence"].values, output.extras["class_probability"][0].sigmoid())
    nearest = torch.cdist(head.reduce(features[-1])[0].flatten(1).T, head.encoding.codewords).square()
    wanted = (nearest * head.encoding.smoothing).argmin(1)
    assert shown["codewords"].values.flatten(1).argmax(0).equal(wanted)


def test_equal_shares_leave_the_mean():
    """Under attention=uniform each codeword gets an equal part of every pixel."""
    head, features = prepared(aux_class_probability=False), maps()
    head.encoding.assignment.uniform = True
    x = head.reduce(features[-1])
    residuals = (x.mean((2, 3)).unsqueeze(1) - head.encoding.codewords) * 6 / 3  # 6 pixels, 3 codewords
    torch.testing.assert_close(head.encoding(x), head.encoding.norm_act(residuals).sum(1))


def test_the_losses_ask_what_an_image_holds():
    """0.2 of the binary cross-entropy for each of both class layers; void is no class, an image of void no example."""
    criterion = build.loss(compose(["head=encnet"]))
    mask = torch.tensor([[[0, 0, 2, 255]], [[255, 255, 255, 255]]], dtype=torch.uint8)
    found, aux = torch.randn(2, K), torch.randn(2, K)
    output = SegOutput(torch.zeros(2, K, 1, 4), {"class_probability": found, "aux_class_probability": aux})
    total, terms = criterion(output, mask)
    held = torch.tensor([1.0, 0.0, 1.0])
    expected = [nn.functional.binary_cross_entropy(scores[0].sigmoid(), held) for scores in (found, aux)]
    torch.testing.assert_close(torch.stack([terms["se"], terms["aux_se"]]), torch.stack(expected))
    torch.testing.assert_close(total, terms["ce"] + 0.2 * sum(expected))


def test_refusals():
    with pytest.raises(ConfigError, match="lateral=true reads three maps, got 2"):
        EncNetHead([6, 7], K, lateral=True)
    cfg = compose(["head=ctnet", "loss=se"])
    with pytest.raises(ConfigError, match=r"loss\.term\.se.*=softmax: .*; choose sigmoid"):
        build.loss(cfg)
    build.loss(compose(["head=ctnet", "loss=se", "head.class_activation=sigmoid"]))
