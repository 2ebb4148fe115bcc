"""Pyramid pooling and ASPP against loops over cells and taps; their heads at every size; the published counts."""

import pytest
import torch
from torch import nn

from contextseg.heads.deeplabv3 import DeepLabV3Head
from contextseg.heads.psp import PSPHead
from contextseg.layers.aspp import ASPP
from contextseg.layers.pyramid_pooling import PooledConv, PyramidPooling

HEADS = {"psp": PSPHead, "deeplabv3": DeepLabV3Head}
both_heads = pytest.mark.parametrize("kind", HEADS.values(), ids=HEADS)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def unlike_the_start(module):
    """Evaluation mode in float64, with batch statistics and scales that are not 0 and 1."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
                tensor.normal_()
            norm.running_var.uniform_(0.5, 2)
    return module.double().eval()


def convolved(x, conv):
    """Tap by tap, pixel by pixel; nothing outside the map."""
    _, _, height, width = x.shape
    rows, columns = conv.kernel_size
    (step, _), zero = conv.dilation, x.new_zeros(len(x), conv.out_channels)

    def pixel(i, j):
        total = zero
        for u in range(rows):
            for v in range(columns):
                y, z = i + (u - rows // 2) * step, j + (v - columns // 2) * step
                if 0 <= y < height and 0 <= z < width:
                    total = total + x[:, :, y, z] @ conv.weight[:, :, u, v].T
        return total

    return torch.stack([torch.stack([pixel(i, j) for j in range(width)], -1) for i in range(height)], -2)


def conv_norm_act(x, block):
    conv, norm, _ = block
    mean, scale = norm.running_mean, norm.weight / (norm.running_var + norm.eps).sqrt()
    x = (convolved(x, conv) - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    return x.clamp(min=0)


def cell_means(x, bins):
    """Cell (i, j) is the mean of the pixels that it touches."""
    height, width = x.shape[-2:]

    def part(length, i):
        return slice(i * length // bins, -(-(i + 1) * length // bins))

    cells = [x[..., part(height, i), part(width, j)].mean((-2, -1)) for i in range(bins) for j in range(bins)]
    return torch.stack(cells, -1).unflatten(-1, (bins, bins))


def between(x, size):
    """Bilinear: pixel centres at (i + 1/2) / n, the outermost values go on to the border."""

    def weights(length, cells):
        place = ((torch.arange(length).double() + 0.5) * cells / length - 0.5).clamp(0, cells - 1)
        return (1 - (place[:, None] - torch.arange(cells)).abs()).clamp(min=0)  # (length, cells)

    return weights(size[0], x.shape[-2]) @ x @ weights(size[1], x.shape[-1]).T


def pooled(x, block):
    return between(conv_norm_act(cell_means(x, block.bins), block.conv), x.shape[-2:])


def pyramid_by_loops(x, module):
    return conv_norm_act(torch.cat([x, *(pooled(x, level) for level in module.pyramid)], 1), module.fuse)


def aspp_by_loops(x, module):
    branches = [pooled(x, b) if isinstance(b, PooledConv) else conv_norm_act(x, b) for b in module.branches]
    return conv_norm_act(torch.cat(branches, 1), module.fuse)


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (4, 3)])
@pytest.mark.parametrize(
    ("module", "by_loops", "channels"),
    [
        (PyramidPooling(8, 3), pyramid_by_loops, 8),
        (PyramidPooling(7, 3, bins=(1, 4)), pyramid_by_loops, 7),
        (ASPP(4, 3, rates=(1, 2, 6)), aspp_by_loops, 4),
        (ASPP(4, 3, rates=(2,), image_pooling=False, branch_channels=5), aspp_by_loops, 4),
    ],
)
def test_block_is_its_definition(module, by_loops, channels, size):
    module = unlike_the_start(module)
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    ours, reference = module(x), by_loops(x, module)
    torch.testing.assert_close(ours, reference)
    inputs, direction = [x, *module.parameters()], torch.randn_like(ours)
    gradients = (torch.autograd.grad(y, inputs, direction) for y in (ours, reference))
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference)


def test_published_parameter_counts():
    """OCR, Table 4 (PPM 23.1 M, ASPP 15.5 M; modules without classifier); CTNet, Table 3 (heads for 21 classes)."""
    with torch.device("meta"):
        assert parameters(PyramidPooling(2048, 512)) == 23_073_792
        assert parameters(ASPP(2048, 256)) == 15_535_104
        assert parameters(PSPHead([1024, 2048], 21)) == 23_084_565
        assert parameters(DeepLabV3Head([1024, 2048], 21, refine=True)) == 16_130_837
        without = DeepLabV3Head([1024, 2048], 21)
    assert parameters(without) == 15_535_104 + 257 * 21


def test_image_pooling_sees_the_whole_map_and_nothing_else_does():
    x = torch.zeros(1, 4, 9, 9, requires_grad=True)
    for image_pooling in (True, False):
        module = ASPP(4, 3, rates=(1, 2), image_pooling=image_pooling).eval()
        (gradient,) = torch.autograd.grad(module(x + torch.rand_like(x))[0, :, 0, 0].sum(), x)
        assert bool(gradient[0, :, 8, 8].any()) == image_pooling


@both_heads
def test_one_image_cannot_train_a_global_mean_and_the_message_says_so(kind):
    head, maps = kind([8], 5, channels=8), [torch.randn(1, 8, 6, 6)]
    with pytest.raises(ValueError, match="one image per device"):
        head(maps)
    assert head.eval()(maps).logits.shape == (1, 5, 6, 6)
    head.train()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # frozen_batch_norm
    assert head(maps).logits.shape == (1, 5, 6, 6)
