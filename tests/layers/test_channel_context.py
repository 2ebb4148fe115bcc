"""The channel-context blocks, one channel and one pixel at a time; kernels of any size; what is refused."""

import pytest
import slow
import torch

from contextseg.errors import ConfigError
from contextseg.layers.channel_context import (
    BLOCKS,
    ECA,
    GC,
    MCE,
    POOLINGS,
    SE,
    ChannelConv,
    EncodingGate,
    make_block,
    pool,
)

C = 32
every_pooling = pytest.mark.parametrize("pooling", POOLINGS)


def block(name, channels=C, pooling="avg", kernel_sizes=None):
    """In float64 and evaluation mode, all parameters random."""
    kernel_sizes = kernel_sizes or ((5,) if name == "eca" else (3, 4, 9))
    made = slow.prepare(make_block(name, channels, kernel_sizes=kernel_sizes, pooling=pooling))
    for key, parameter in made.named_parameters():
        if key in ("bias", "transform.1.weight", "transform.1.bias") or key.startswith("norm_act"):
            parameter.data.uniform_(0.2, 1)
    if name == "encoding":
        made.norm_act[0].running_mean.normal_()
        made.norm_act[0].running_var.uniform_(0.5, 2)
    return made


def maps(channels=C, size=(3, 4)):
    return torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)


def sigmoid(value):
    return 1 / (1 + (-value).exp())


def relu(value):
    return value.clamp(min=0)


def affine(layer, vector):
    """A fully connected layer, one output at a time."""
    rows = [sum(w * v for w, v in zip(row, vector, strict=True)) for row in layer.weight]
    return torch.stack([y if layer.bias is None else y + b for y, b in zip(rows, layer.bias, strict=True)])


def slow_pool(image, pooling):
    """(C, h, w) -> (C,), one channel at a time."""
    average = [sum(channel.flatten()) / channel.numel() for channel in image]
    largest = [max(channel.flatten()) for channel in image]
    chosen = {"avg": average, "max": largest, "mix": [a + b for a, b in zip(average, largest, strict=True)]}[pooling]
    return torch.stack(chosen)


def slow_conv(conv, vector):
    """f_k: each channel with its neighbours, (k - 1) // 2 below and k // 2 above, zero beyond the ends."""
    taps = conv.weight[0, 0]
    below = (len(taps) - 1) // 2
    out = []
    for c in range(len(vector)):
        seen = [(w, c - below + t) for t, w in enumerate(taps)]
        out.append(sum((w * vector[n] for w, n in seen if 0 <= n < len(vector)), vector.sum() * 0))
    return out


def slow_mce(made, image):
    pooled = slow_pool(image, made.pooling)
    local = [slow_conv(conv, pooled) for conv in made.scales]  # C_1 ... C_s, Eq. 1
    mixed = [
        sum(w * c[channel] for w, c in zip(made.weight.weight[0], local, strict=True)) for channel in range(len(image))
    ]
    return sigmoid(torch.stack([m + b for m, b in zip(mixed, made.bias, strict=True)]))  # Eq. 2


def slow_eca(made, image):
    return sigmoid(torch.stack(slow_conv(made.conv, slow_pool(image, made.pooling))))


def slow_se(made, image):
    first, _, last = made.excite
    return sigmoid(affine(last, relu(affine(first, slow_pool(image, made.pooling)))))


def slow_gc(made, image):
    pixels = image.flatten(1).T
    weights = slow.softmax([made.score.weight[0, :, 0, 0] @ pixel for pixel in pixels])
    first, norm, _, last = made.transform
    y = affine(first, sum(w * pixel for w, pixel in zip(weights, pixels, strict=True)))
    y = (y - y.mean()) / (y.var(correction=0) + norm.eps).sqrt() * norm.weight + norm.bias
    return sigmoid(affine(last, relu(y)))


def slow_encoding(made, image):
    residuals = [torch.zeros_like(made.codewords[0]) for _ in made.codewords]
    for pixel in image.flatten(1).T:
        scores = [-s * (pixel - d).square().sum() for s, d in zip(made.smoothing, made.codewords, strict=True)]
        for k, share in enumerate(slow.softmax(scores)):
            residuals[k] = residuals[k] + share * (pixel - made.codewords[k])
    norm, total = made.norm_act[0], 0
    for k, e in enumerate(residuals):
        y = (e - norm.running_mean[k]) / (norm.running_var[k] + norm.eps).sqrt() * norm.weight[k] + norm.bias[k]
        total = total + relu(y) / len(residuals)
    return sigmoid(affine(made.linear, total))


SLOW = {"mce": slow_mce, "eca": slow_eca, "se": slow_se, "gc": slow_gc, "encoding": slow_encoding}
CASES = [(name, pooling) for name in BLOCKS for pooling in (POOLINGS if name in ("mce", "eca", "se") else ("avg",))]


@pytest.mark.parametrize(("name", "pooling"), CASES)
def test_a_block_is_its_definition(name, pooling):
    made, x = block(name, pooling=pooling), maps()
    found = made(x)
    assert found.shape == (2, C)
    assert ((found > 0) & (found < 1)).all()
    expected = torch.stack([SLOW[name](made, image) for image in x])
    slow.assert_same(found, expected, [x, *made.parameters()])
    assert expected.std() > 1e-3


@every_pooling
def test_pooling(pooling):
    x = maps()
    expected = torch.stack([slow_pool(image, pooling) for image in x])
    slow.assert_same(pool(x, pooling), expected, [x])


@pytest.mark.parametrize("kernel", [1, 2, 7, 8, 9, 20])
def test_a_convolution_along_the_channels(kernel):
    """Odd and even kernels, shorter and longer than the vector."""
    conv, vector = ChannelConv(kernel).double(), torch.randn(2, 8, dtype=torch.float64)
    expected = torch.stack([torch.stack(slow_conv(conv, row)) for row in vector])
    torch.testing.assert_close(conv(vector), expected)


@pytest.mark.parametrize("channels", [16, 512])
def test_the_global_kernel_of_figure_7(channels):
    made = ECA(512)
    x = torch.randn(2, channels, 2, 2, requires_grad=True)
    assert made(x).shape == (2, channels)
    middle = min(255, channels - 1)
    reach = [torch.autograd.grad(made(x)[0, c], x)[0][0].flatten(1).any(1) for c in (0, middle)]
    assert reach[0].sum() == min(257, channels)
    assert reach[1].all()


def test_the_weights_of_mce_are_as_printed():
    made = MCE(512)
    assert {key: tuple(p.shape) for key, p in made.named_parameters()} == {
        "bias": (512,),
        "weight.weight": (1, 4),
        **{f"scales.{i}.weight": (1, 1, k) for i, k in enumerate((9, 17, 33, 65))},
    }


def test_sizes_of_the_other_blocks():
    assert SE(512).excite[0].out_features == GC(512).transform[0].out_features == 512 // 16
    assert EncodingGate(512).codewords.shape == (32, 512)


def test_every_kernel_counts():
    x = maps()
    made = block("mce", kernel_sizes=(3, 9))
    before = made(x)
    for conv in made.scales:
        kept = conv.weight.data.clone()
        conv.weight.data.zero_()
        assert not torch.allclose(made(x), before)
        conv.weight.data.copy_(kept)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "eca", "kernel_sizes": (9, 17)}, r"head.kernel_sizes=\[9, 17\] with head.channel_block=eca.*\[9\]"),
        ({"name": "mce", "kernel_sizes": ()}, r"head.kernel_sizes=\[\]"),
        ({"name": "gc", "pooling": "max"}, "head.pooling=max with head.channel_block=gc.*use head.pooling=avg"),
        ({"name": "encoding", "pooling": "mix"}, "head.pooling=mix with head.channel_block=encoding"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_block(**{"channels": C, "kernel_sizes": (9,), "pooling": "avg", **settings})
