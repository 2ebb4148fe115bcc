"""CTNet as released: its size, its forward pass under Paddle's names, and its loss, each written down anew."""

import numpy as np
import pytest
import torch
from released import released
from released_names import Named, count, randomised
from selected import quick, slow
from torch import nn
from torch.nn import functional as F

from contextseg.commands.compose import compose
from contextseg.contract import SegOutput
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.heads.ctnet import CTNetHead
from contextseg.losses.class_probability import class_probability_loss
from contextseg.losses.terms import ClassProbability

K, VOID = 5, 255
BLOCKS = (3, 4, 6, 3)
DILATED = ("neck=none", "backbone.output_stride=8")


@pytest.mark.parametrize(
    ("depth", "form", "counts"),
    [
        (50, DILATED, (40_880_959, 40_963_079, 40_965_132, 41_149_902)),
        (50, (), (60_616_511, 60_698_631, 60_700_684, 60_885_454)),
        slow((101, DILATED, (59_873_087, 59_955_207, 59_957_260, 60_142_030))),
        slow((101, (), (79_608_639, 79_690_759, 79_692_812, 79_877_582))),
    ],
)
def test_parameters_of_the_whole_network(depth, form, counts):
    for classes, expected in zip((19, 59, 60, 150), counts, strict=True):
        assert count(classes, "head=ctnet_official", f"backbone=resnet{depth}d", *form)[0] == expected


# the forward pass


def block(w, x, name, act=True, **settings):
    x = w.norm(w.conv(x, f"{name}._conv", **settings), f"{name}._batch_norm")
    return x.relu() if act else x


def trunk(w, x, dilated):
    """ResNet-vd: all blocks of a dilated stage alike, pooling in a shortcut only where it halves the map."""
    for index, stride in ((1, 2), (2, 1), (3, 1)):
        x = block(w, x, f"backbone.conv1_{index}", stride=stride, padding=1)
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage, blocks in enumerate(BLOCKS):
        dilation = {2: 2, 3: 4}.get(stage, 1) if dilated else 1
        for index in range(blocks):
            name = f"backbone.bb_{stage}_{index}"
            stride = 2 if index == 0 and stage > 0 and dilation == 1 else 1
            y = block(w, x, f"{name}.conv0")
            y = block(w, y, f"{name}.conv1", stride=stride, padding=dilation, dilation=dilation)
            y = block(w, y, f"{name}.conv2", act=False)
            if index == 0:
                if stride == 2:
                    x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
                x = block(w, x, f"{name}.short", act=False)
            x = (x + y).relu()
        maps.append(x)
    return maps


def jpu(w, maps):
    j = "backbone.JPU"
    found = []
    for index, x in ((5, maps[3]), (4, maps[2]), (3, maps[1])):
        x = w.norm(w.conv(x, f"{j}.conv{index}.0", padding=1), f"{j}.conv{index}.1").relu()
        found.append(F.interpolate(x, maps[1].shape[-2:], mode="bilinear"))
    x = torch.cat(found, 1)
    branches = []
    for index, rate in enumerate((1, 2, 4, 8), 1):
        y = w.conv(x, f"{j}.dilation{index}.0.conv1", padding=rate, dilation=rate, groups=x.shape[1])
        y = w.conv(w.norm(y, f"{j}.dilation{index}.0.bn"), f"{j}.dilation{index}.0.pointwise")
        branches.append(w.norm(y, f"{j}.dilation{index}.1").relu())
    return torch.cat(branches, 1)


def restated(w, image, dilated):
    """Normalised image -> logits, auxiliary logits, class probabilities (B, K)."""
    maps = trunk(w, image, dilated)
    x = block(w, maps[3] if dilated else jpu(w, maps), "head.conv3x3", padding=1)
    c, s = "head.ccm.ccm_layer", "head.scm.scm_block"
    pooled = x.mean((2, 3))[:, None]  # (B, 1, C)
    local = [
        F.conv1d(pooled, w[f"{c}.conv{index}.weight"], padding=(size - 1) // 2)
        for index, size in enumerate((9, 17, 33, 65))
    ]
    weights = (torch.cat(local, 1).transpose(1, 2) @ w[f"{c}.line.weight"]).sigmoid()[..., None]  # (B, C, 1, 1)
    probability = block(w, weights, "head.ccm.fc1.0", act=False).softmax(1)  # (B, K, 1, 1)
    matrix = (weights[..., 0] @ probability[..., 0].transpose(1, 2)).relu()[..., None]  # (B, C, K, 1)
    x = x * weights
    query = block(w, x, f"{s}.f_query", padding=1).flatten(2)
    key, value = (block(w, matrix, f"{s}.f_{name}").flatten(2) for name in ("key", "value"))
    relation = (256**-0.5 * torch.einsum("bcn,bck->bnk", query, key)).softmax(-1)
    context = torch.einsum("bnk,bck->bcn", relation, value).unflatten(-1, x.shape[-2:])
    context = block(w, block(w, context, f"{s}.f_up") + x, f"{s}.fuse", padding=1)
    both = torch.cat([context, block(w, x, "head.scm.conv3x3.0", padding=1)], 1)
    logits = w.conv(block(w, both, "head.scm.conv1x1.0"), "head.cls_head")
    aux = w.conv(block(w, maps[2], "head.aux_head.0"), "head.aux_head.1")
    return logits, aux, probability.flatten(1)


@pytest.fixture(scope="module", params=["jpu", "dilated"])
def ours(request):
    torch.manual_seed(0)
    form = DILATED if request.param == "dilated" else ()
    return request.param, randomised(released(K, "head=ctnet_official", "backbone=resnet50d", *form))


@torch.no_grad()
@pytest.mark.parametrize("training", quick([False, True], ["True"]))
def test_the_network_is_the_released_one(ours, training):
    form, model = ours
    image = torch.randint(0, 256, (3, 3, 41, 56), dtype=torch.uint8)  # sides that the shortcuts round up
    normalised = (image - model.backbone.mean) / model.backbone.std
    w = Named(model, f"ctnet_resnet101_{form}", training=training)
    logits, aux, probability = restated(w, normalised, form == "dilated")
    output = model.train(training)(image)
    assert logits.std() > 1e-2
    assert probability.std() > 1e-2
    torch.testing.assert_close(output.logits, logits, rtol=1e-4, atol=1e-5)  # our softmax is float32
    torch.testing.assert_close(output.extras["aux_logits"], aux)
    torch.testing.assert_close(output.extras["class_probability"].softmax(1), probability)


def test_convolutions_start_small():
    head = CTNetHead([6], K, channels=64, conv_bias=True, init_std=0.001)
    for part in head.modules():
        if isinstance(part, nn.Conv2d):
            assert part.weight.std().item() == pytest.approx(0.001, rel=0.25)
            assert not part.bias.any()
    assert head.channel_block.scales[0].weight.std() > 0.01  # Paddle's own start
    assert CTNetHead([6], K, channels=64).reduce[0].weight.std() > 0.01


@pytest.mark.parametrize("settings", [{"modules": "ccm"}, {"modules": "scm"}, {"wiring": "parallel"}])
def test_the_released_options_go_with_the_variants(settings):
    options = ("conv_bias", "class_norm", "attention_scale", "residual")
    head = CTNetHead([6], K, channels=16, channel_bias=False, **dict.fromkeys(options, True), **settings).train()
    output = head([torch.randn(3, 6, 4, 5)])
    (output.logits.square().sum() + (output.extras["class_probability"] * torch.randn(3, K)).sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


# the loss


def released_target(mask, classes):
    """The share of each class by counts between 0 and 1: a histogram, its smallest 0, its largest 1, its sum 1."""
    rows = []
    for labels in mask.numpy():
        counts = np.histogram(labels, bins=classes, range=(0, classes - 1))[0].astype(float)
        if counts.max() > 0:
            counts = (counts - counts.min()) / (counts.max() - counts.min())
            counts = counts / counts.sum()
        rows.append(torch.from_numpy(counts))
    return torch.stack(rows)


def case(classes=K):
    """All classes; some of them and void; void alone."""
    mask = torch.randint(0, classes, (3, 16, 24), dtype=torch.uint8)
    mask[1] = mask[1].clamp(max=2)
    mask[1, :5] = VOID
    mask[2] = VOID
    return mask, torch.randn(3, classes, dtype=torch.float64, requires_grad=True)


def test_the_losses_are_the_released_ones():
    criterion = build.loss(compose(["head=ctnet_official", "experiment=none"]))
    mask, scores = case()
    logits, aux = (torch.randn(3, K, *size, dtype=torch.float64, requires_grad=True) for size in ((2, 3), (4, 6)))
    total, _ = criterion(SegOutput(logits, {"class_probability": scores, "aux_logits": aux}), mask)

    def mean_of_valid(x):
        return F.cross_entropy(F.interpolate(x, (16, 24), mode="bilinear"), mask.long(), ignore_index=VOID)

    cp = F.binary_cross_entropy(scores.softmax(1), released_target(mask, K))
    expected = mean_of_valid(logits) + 0.3 * mean_of_valid(aux) + 0.1 * cp
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-6)
    leaves = (logits, aux, scores)
    for found, wanted in zip(*(torch.autograd.grad(y, leaves) for y in (total, expected)), strict=True):
        assert wanted.any()
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)


def test_the_rescaled_target_is_the_share_once_a_class_is_absent():
    mask, scores = case()
    some = slice(1, 2)
    share, rescaled = (class_probability_loss(scores[some], mask[some], target=way) for way in ("share", "rescaled"))
    torch.testing.assert_close(share, rescaled)
    every = slice(0, 1)
    share, rescaled = (class_probability_loss(scores[every], mask[every], target=way) for way in ("share", "rescaled"))
    assert not torch.allclose(share, rescaled)
    alike = torch.arange(K, dtype=torch.uint8).view(1, 1, K)  # the released code divides 0 by 0 here
    found = class_probability_loss(scores[:1], alike, target="rescaled")
    torch.testing.assert_close(found, -(1 - scores[:1].softmax(1)).log().mean())
    with pytest.raises(ConfigError, match=r"loss\.term\.cp\.target=counts: choose share or rescaled"):
        ClassProbability(target="counts")
