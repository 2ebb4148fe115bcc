"""CTNet and its variants against Eq. 3 to 7 pixel by pixel, what each option does, and the size of the network."""

import inspect
from itertools import product

import pytest
import slow
import torch
from torch import nn

from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.heads.ctnet import CTNetHead
from contextseg.necks.jpu import JPU

K = 5
VARIANTS = {
    "tandem": {},
    "occm": {"modules": "ccm"},
    "oscm": {"modules": "scm"},
    "panet": {"wiring": "parallel"},
}
every_variant = pytest.mark.parametrize("name", VARIANTS)
with_and_without_cp = pytest.mark.parametrize("class_probability", [True, False])


def ctnet(name="tandem", classes=K, channels=16, **settings):
    return CTNetHead([6, 7], classes, **{"channels": channels, "kernel_sizes": (3, 9), **VARIANTS[name], **settings})


def inputs(batch=2, size=(3, 4), dtype=torch.float32):
    return [torch.randn(batch, c, *size, dtype=dtype, requires_grad=True) for c in (6, 7)]


def pixels(x):
    return [(i, j) for i in range(x.shape[-2]) for j in range(x.shape[-1])]


# the equations, one image, one pixel and one class at a time


def slow_class_features(head, layer, vector):
    """P_p's scores, P_p, and the K columns of M (Eq. 5)."""
    scores = [layer.weight[k] @ vector + layer.bias[k] for k in range(K)]
    if head.class_activation == "softmax":
        probability = slow.softmax(scores)
    else:
        probability = [1 / (1 + (-score).exp()) for score in scores]
    return scores, probability, [torch.stack([c * p for c in vector]) for p in probability]


def slow_scm(head, query, x, columns):
    """Eq. 6 and 7: the query of each pixel (C', h, w) and K columns of M -> X_s (C, h, w), E as (pixel -> K)."""
    attention = head.attention
    keys = [slow.block(attention.psi, column) for column in columns]
    values = [slow.block(attention.delta, column) for column in columns]
    xs, e = torch.zeros_like(x), {}
    for i, j in pixels(x):
        e[i, j] = slow.softmax([query[:, i, j] @ key for key in keys])
        xs[:, i, j] = slow.block(attention.rho, sum(w * v for w, v in zip(e[i, j], values, strict=True)))
    return xs, e


def slow_ctnet(head, features, name):
    """Logits (B, K, h, w), the supervised scores (B, K), and E of the last image."""
    x = head.reduce(features[-1])
    logits, supervised, e = torch.zeros(len(x), K, *x.shape[-2:], dtype=x.dtype), [], {}
    weights = None if name == "oscm" else head.channel_block(x)
    middle = x
    if name != "oscm":  # Eq. 3
        middle = torch.stack([torch.stack([*map(torch.mul, c, m)]) for c, m in zip(weights, x, strict=True)])
    source = x if name == "panet" else middle
    queries = None if name == "occm" else head.attention.phi(source)
    for n, parts in enumerate(head.conv(middle)):
        pooled = torch.stack([channel.sum() / channel.numel() for channel in x[n]])
        scores = []
        if head.ccm_classes is not None:
            found, _, columns = slow_class_features(head, head.ccm_classes, weights[n])
            scores.append(found)
        if name in ("oscm", "panet"):
            found, _, columns = slow_class_features(head, head.scm_classes, pooled)
            scores.append(found)
        if name != "occm":
            xs, e = slow_scm(head, queries[n], x[n], columns)
            parts = torch.cat([parts, xs])
        for i, j in pixels(x):
            logits[n, :, i, j] = slow.linear(head.classifier, slow.block(head.fuse, parts[:, i, j]))
        supervised.append(torch.stack(scores[0]) if scores else None)
    return logits, supervised, e


@every_variant
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_ctnet_is_its_equations(name, activation):
    head = slow.prepare(ctnet(name, class_activation=activation))
    features = inputs(dtype=torch.float64)
    output = head(features)
    logits, scores, _ = slow_ctnet(head, features, name)
    leaves = [*features, *head.parameters()]
    found = torch.cat([output.logits.flatten(1), output.extras["class_probability"]], dim=1)
    slow.assert_same(found, torch.cat([logits.flatten(1), torch.stack(scores)], dim=1), leaves)
    assert logits.std() > 1e-3


def test_convolutions_have_the_sizes_said():
    head = ctnet()
    three = {key for key, part in head.named_modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)}
    assert three == {"reduce.0", "conv.0", "attention.phi.0"}
    assert head.attention.phi[0].out_channels == 8  # r = 2
    assert ctnet(key_channels=3).attention.psi[0].out_channels == 3


# what the options do


@pytest.mark.parametrize("loss", ["cp+aux", "cp", "aux", "ce"])
def test_every_parameter_of_a_configured_network_learns(loss):
    """`class_probability` follows the loss: parameters that no loss reaches stop DDP."""
    cfg = compose(["head=ctnet", f"loss={loss}", "width=16"])
    network, _ = build.network(cfg, build.datamodule(cfg).classes)
    assert network.head.emits == ({"class_probability"} if "cp" in loss else set())
    mask = torch.randint(0, 12, (4, 64, 64), dtype=torch.uint8)
    total, _ = build.loss(cfg)(network(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)), mask)
    total.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


OPTIONS = [
    {"modules": "ccm"},
    {"modules": "scm"},
    {"wiring": "parallel"},
    {"channel_block": "eca", "kernel_sizes": (9,)},
    {"channel_block": "eca", "kernel_sizes": (512,)},
    {"channel_block": "se"},
    {"channel_block": "gc"},
    {"channel_block": "encoding"},
    {"kernel_sizes": (3,)},
    {"kernel_sizes": (3, 9, 17)},
    {"pooling": "max"},
    {"pooling": "mix"},
    {"class_activation": "sigmoid"},
    {"key_channels": 4},
]


def test_every_option_is_another_computation():
    """With the weights of the default where they fit: no two of them, nor the default, give the same logits."""
    donor, features, found = ctnet().eval(), inputs(), []
    for settings in ({}, *OPTIONS):
        head = ctnet(**settings).eval()
        own = head.state_dict()
        fitting = {key: t for key, t in donor.state_dict().items() if key in own and own[key].shape == t.shape}
        head.load_state_dict(own | fitting)
        found.append(head(features).logits)
    for a, one in enumerate(found):
        assert not any(torch.allclose(one, other, atol=1e-7) for other in found[:a]), [{}, *OPTIONS][a]


@pytest.mark.parametrize("pooling", ["max", "mix"])
@pytest.mark.parametrize("name", ["oscm", "panet"])
def test_without_ccm_pooling_is_that_of_x(name, pooling):
    donor, head, features = ctnet(name).eval(), ctnet(name, pooling=pooling).eval(), inputs()
    head.load_state_dict(donor.state_dict())
    assert not torch.allclose(head(features).logits, donor(features).logits, atol=1e-7)


def test_leaving_the_scores_away_changes_no_logits_but_emits_nothing():
    for name in VARIANTS:
        donor, head, features = ctnet(name).eval(), ctnet(name, class_probability=False).eval(), inputs()
        head.load_state_dict(donor.state_dict(), strict=False)
        output = head(features)
        assert torch.equal(output.logits, donor(features).logits)
        assert output.extras == {}
    layers = {name: (ctnet(name, class_probability=False).ccm_classes is not None) for name in VARIANTS}
    assert layers == {"tandem": True, "occm": False, "oscm": False, "panet": False}


@pytest.mark.parametrize("name", ["tandem", "panet"])
def test_who_hears_of_the_channel_weights(name):
    """The part of the logits that comes from X_s: it knows C_m in tandem, and not in parallel."""
    head = slow.prepare(ctnet(name))
    head.fuse[0].weight.data[:, :16] = 0  # deaf to conv(X_c)
    head(inputs(dtype=torch.float64)).logits.square().sum().backward()
    heard = [p.grad is not None and bool(p.grad.any()) for p in head.channel_block.parameters()]
    assert heard == [name == "tandem"] * len(heard)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modules": "spatial"}, "head.modules=spatial: choose both, ccm, scm"),
        ({"wiring": "serial"}, "head.wiring=serial: choose tandem, parallel"),
        ({"channel_block": "sk"}, "head.channel_block=sk: choose mce, eca, se, gc, encoding"),
        ({"pooling": "sum"}, "head.pooling=sum: choose avg, max, mix"),
        ({"class_activation": "relu"}, "head.class_activation=relu: choose softmax, sigmoid"),
        ({"wiring": "parallel", "modules": "ccm"}, "head.wiring=parallel needs two modules.*use modules=both"),
        ({"channel_block": "eca"}, r"head.kernel_sizes=\[3, 9\] with head.channel_block=eca: give exactly one"),
        ({"channel_block": "gc", "pooling": "max"}, "head.pooling=max with head.channel_block=gc"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ctnet(**settings)


# what there is to see


@every_variant
@with_and_without_cp
def test_what_the_taps_hear(name, class_probability):
    head = slow.prepare(ctnet(name, class_probability=class_probability))
    features = inputs(batch=1, dtype=torch.float64)
    with record_attention(head) as heard, torch.no_grad():
        output = head(features)
    assert all(heard.values())
    _, scores, e = slow_ctnet(head, features, name)
    context, inside = head.context(heard, (2, 1), (3, 4)), head.inside(heard, (3, 4))
    assert set(context) == ({"context"} if e else set())
    expected = {"channel_weights"} if name != "oscm" else set()
    expected |= {"pixel_class"} if name != "occm" else set()
    expected |= {"class_probability"} if class_probability or name != "occm" else set()
    assert set(inside) == expected
    assert {name for name, shown in inside.items() if shown.by_class} == expected - {"channel_weights"}
    inside = {name: shown.values for name, shown in inside.items()}
    if "channel_weights" in inside:
        torch.testing.assert_close(inside["channel_weights"], head.channel_block(head.reduce(features[-1]))[0])
    if "class_probability" in inside:
        torch.testing.assert_close(inside["class_probability"], scores[0].softmax(0), rtol=1e-5, atol=1e-6)
        if class_probability:
            torch.testing.assert_close(output.extras["class_probability"][0], scores[0])
    for i, j in e:
        torch.testing.assert_close(inside["pixel_class"][:, i, j], torch.stack(e[i, j]), rtol=1e-5, atol=1e-6)
        alike = sum(a * b for a, b in zip(e[2, 1], e[i, j], strict=True))
        torch.testing.assert_close(context["context"][i, j], alike, rtol=1e-5, atol=1e-6)


# the size of the network, on the meta device


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def built(in_channels=(2048,), classes=59, **settings):
    with torch.device("meta"):
        return CTNetHead(in_channels, classes, **settings)


@pytest.mark.parametrize(("classes", "whole"), [(19, 79_608_639), (59, 79_690_759), (150, 79_877_582)])
def test_parameters_of_the_released_network(classes, whole):
    """ResNet-101-vd + JPU + released head + auxiliary head; theirs has biases before batch norms, and more layers."""
    with torch.device("meta"):
        neck = JPU((512, 1024, 2048), (8, 16, 32))
        head = built(neck.channels, classes)
    trunk, aux = 42_519_392, 1024 * 1024 + 1024 + 2 * 1024 + 1025 * classes
    another_conv = 9 * 512 * 512 + 3 * 512  # 3x3 conv -> BN -> ReLU after the residual
    biases = 512 + 3 * 256 + 512 + 512 + 512  # 3x3; phi, psi, delta; rho; conv; 1x1
    class_norm, bias_of_mce = 2 * classes, 512
    assert whole == trunk + count(neck) + count(head) + aux + another_conv + biases + class_norm - bias_of_mce


def test_parameters_of_the_variants():
    """Table 3: CCM costs next to nothing."""
    tandem, occm, oscm, panet = (built(**settings) for settings in VARIANTS.values())
    mce = 9 + 17 + 33 + 65 + 4 + 512
    assert count(tandem) - count(oscm) == mce == count(tandem.channel_block)
    assert count(panet) - count(tandem) == 513 * 59
    assert count(tandem) - count(occm) == count(tandem.attention) + 512 * 512  # half of the 1x1 conv


def test_defaults_are_the_papers():
    settings = {name: p.default for name, p in inspect.signature(CTNetHead).parameters.items()}
    assert (settings["channels"], settings["kernel_sizes"], settings["pooling"]) == (512, (9, 17, 33, 65), "avg")
    assert (CTNetHead.neck, CTNetHead.output_stride) == ("jpu", 32)
    assert built().attention.phi[0].out_channels == 256
    for modules, wiring in product(("both", "ccm", "scm"), ("tandem",)):
        assert built(modules=modules, wiring=wiring).emits == {"class_probability"}
