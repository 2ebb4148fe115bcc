"""CPNet as released: its size, its forward pass under the names of its file, and its losses, each written down anew."""

import pytest
import torch
from released import released
from released_names import Named, count, randomised
from selected import quick, slow
from torch.nn import functional as F

from contextseg.commands.compose import compose
from contextseg.contract import SegOutput
from contextseg.engine import build
from contextseg.losses.affinity import affinity_losses
from contextseg.losses.terms import CrossEntropy

K, VOID, GRAPH = 5, 255, "contextprior_resnet50"
BLOCKS = (3, 4, 6, 3)


@pytest.mark.parametrize(
    ("depth", "crop", "classes", "whole", "without_aux"),
    [
        (50, 480, 150, 51_999_916, 49_601_558),
        slow((50, 512, 59, 52_184_790, 49_809_819)),
        slow((50, 768, 19, 54_785_670, 52_420_979)),
        slow((101, 480, 150, 70_992_044, 68_593_686)),
        slow((101, 512, 59, 71_176_918, 68_801_947)),
        (101, 768, 19, 73_777_798, 71_413_107),
    ],
)
def test_parameters_of_the_whole_network(depth, crop, classes, whole, without_aux):
    found, aux = count(classes, "head=cpnet_official", f"backbone=resnet{depth}c", f"head.crop_size=[{crop},{crop}]")
    assert (found, found - aux) == (whole, without_aux)


# the forward pass


def trunk(w, x):
    """ResNet-V1c at stride 8: the maps of stages 3 and 4."""
    for index, stride in ((0, 2), (3, 1), (6, 1)):
        x = w.norm(w.conv(x, f"backbone.stem.{index}", stride=stride, padding=1), f"backbone.stem.{index + 1}").relu()
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage, blocks in enumerate(BLOCKS, 1):
        for block in range(blocks):
            name = f"backbone.layer{stage}.{block}"
            first = block == 0
            stride = 2 if first and stage == 2 else 1
            dilation = {3: 1 if first else 2, 4: 2 if first else 4}.get(stage, 1)
            y = w.norm(w.conv(x, f"{name}.conv1"), f"{name}.bn1").relu()
            y = w.conv(y, f"{name}.conv2", stride=stride, padding=dilation, dilation=dilation)
            y = w.norm(w.conv(w.norm(y, f"{name}.bn2").relu(), f"{name}.conv3"), f"{name}.bn3")
            if first:
                x = w.norm(w.conv(x, f"{name}.downsample.0", stride=stride), f"{name}.downsample.1")
            x = (x + y).relu()
        maps.append(x)
    return maps[2:]


def restated(w, image):
    """Normalised image -> logits, the prior's probabilities (row = pixel), and the auxiliary logits."""

    def block(x, name, act=True, **settings):
        x = w.norm(w.conv(x, f"{name}.conv", **settings), f"{name}.bn")
        return x.relu() if act else x

    stage3, x = trunk(w, image)
    a, head = "decode_head.aggregation", "decode_head"
    value = block(x, f"{a}.reduce_conv", padding=1)
    down = w.conv(value, f"{a}.t1.conv", padding=(5, 0), groups=512)
    down = w.conv(down, f"{a}.t2.conv", padding=(0, 5), groups=512)
    across = w.conv(value, f"{a}.p1.conv", padding=(0, 5), groups=512)
    across = w.conv(across, f"{a}.p2.conv", padding=(5, 0), groups=512)
    value = w.norm(down + across, f"{a}.norm").relu()
    prior = block(value, f"{head}.prior_conv", act=False).flatten(2).transpose(1, 2).sigmoid()
    contexts = []
    for name, weights in (("intra", prior), ("inter", 1 - prior)):
        summed = torch.einsum("bij,bcj->bci", weights, value.flatten(2)) / prior.shape[1]
        contexts.append(block(summed.reshape(value.shape), f"{head}.{name}_conv"))
    y = block(torch.cat([x, *contexts], 1), f"{head}.bottleneck", padding=1)
    aux = block(stage3, "auxiliary_head.convs.0", padding=1)
    return w.conv(y, f"{head}.conv_seg"), prior, w.conv(aux, "auxiliary_head.conv_seg")


@pytest.fixture(scope="module")
def ours():
    torch.manual_seed(0)
    return randomised(released(K, "head=cpnet_official", "backbone=resnet50c", "head.crop_size=[32,40]"))


@torch.no_grad()
@pytest.mark.parametrize("training", quick([False, True], ["True"]))
def test_the_network_is_the_released_one(ours, training):
    image = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
    normalised = (image - ours.backbone.mean) / ours.backbone.std
    logits, prior, aux = restated(Named(ours, GRAPH, training=training), normalised)
    output = ours.train(training)(image)
    assert logits.std() > 1e-2
    assert prior.std() > 1e-2
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output.extras["prior_logits"].sigmoid(), prior)
    torch.testing.assert_close(output.extras["aux_logits"], aux)


def test_its_images_are_normalised_as_in_mmsegmentation(ours):
    torch.testing.assert_close(ours.backbone.mean.flatten(), torch.tensor([123.675, 116.28, 103.53]).double())
    torch.testing.assert_close(ours.backbone.std.flatten(), torch.tensor([58.395, 57.12, 57.375]).double())


# the losses


def released_affinity(prior, mask, size):
    """Of probabilities (B, N, N): with the void pixels as one more class, and 1 for a denominator that is 0."""
    rows, columns = (torch.arange(n) * side // n for n, side in zip(size, mask.shape[1:], strict=True))
    labels = mask[:, rows][:, :, columns].flatten(1)
    ideal = (labels[:, :, None] == labels[:, None]).to(prior.dtype)
    others = ideal * (1 - torch.eye(ideal.shape[1]))

    def minus_log(part, whole):
        ratio = part / torch.where(whole > 0, whole, 1)
        return F.binary_cross_entropy(ratio, torch.ones_like(ratio))  # torch's clamps the log at -100

    recall = minus_log((prior * others).sum(2), others.sum(2))
    specificity = minus_log(((1 - prior) * (1 - ideal)).sum(2), (1 - ideal).sum(2))
    precision = minus_log((prior * others).sum(2), prior.sum(2))
    unary = F.binary_cross_entropy(prior, ideal)
    return unary + recall + specificity + precision


def case(void=True):
    """Logits of a prior on 4 x 5 cells of 8 px, masks in which a class has one cell only, and void."""
    mask = torch.randint(0, 3, (2, 4, 5)).repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8)
    mask[:, 1::2] = torch.randint(0, 3, mask[:, 1::2].shape, dtype=torch.uint8)  # only the corners of the cells count
    mask[0, :8, :8] = 4
    if void:
        mask[1, 8:24, 8:24] = VOID
    return torch.randn(2, 20, 20, dtype=torch.float64), mask


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("one_class", [False, True])
def test_the_losses_are_the_released_ones(void, one_class):
    criterion = build.loss(compose(["head=cpnet_official", "experiment=none"]))
    prior, mask = case(void)
    if one_class:
        mask[0] = 2
    logits, aux = torch.randn(2, K, 4, 5), torch.randn(2, K, 8, 10)
    leaves = [x.double().requires_grad_() for x in (prior, logits, aux)]
    total, _ = criterion(SegOutput(leaves[1], {"prior_logits": leaves[0], "aux_logits": leaves[2]}), mask)

    def mean_of_all(scores):
        scores = F.interpolate(scores, mask.shape[1:], mode="bilinear")
        return F.cross_entropy(scores, mask.long(), ignore_index=VOID, reduction="none").mean()

    expected = mean_of_all(leaves[1]) + 0.4 * mean_of_all(leaves[2])
    expected = expected + released_affinity(leaves[0].sigmoid(), mask, (4, 5))
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(*(torch.autograd.grad(y, leaves) for y in (total, expected)), strict=True):
        assert wanted.any()
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_ratio_without_denominator_costs_100_and_has_no_gradient():
    labels = torch.tensor([[0, 1]], dtype=torch.uint8)  # nobody has a partner
    logits = torch.randn(1, 2, 2).requires_grad_()
    _, glob = affinity_losses(logits, labels, K, exclude_self=True, empty="zero")
    specificity = -(1 - logits.sigmoid())[0, [0, 1], [1, 0]].log().mean()
    torch.testing.assert_close(glob, 200 + specificity)
    (gradient,) = torch.autograd.grad(glob, logits)
    assert not gradient.diagonal(dim1=1, dim2=2).any()
    _, glob = affinity_losses(logits, torch.zeros_like(labels), K, empty="zero")
    assert glob.item() == pytest.approx(
        (100 - logits.sigmoid().mean(2).log().mean()).item()
    )  # no specificity, precision 1


def test_the_mean_over_all_pixels_counts_void_as_zero():
    logits, mask = torch.randn(2, K, 8, 8), torch.randint(0, K, (2, 8, 8), dtype=torch.uint8)
    mask[:, :4] = VOID
    valid, every = (CrossEntropy(mean_over=way)(SegOutput(logits, {}), mask) for way in ("valid", "all"))
    torch.testing.assert_close(every, valid / 2)
    weights = [0.5, 1.0, 2.0, 1.0, 3.0]
    found = CrossEntropy(mean_over="all", class_weights=weights)(SegOutput(logits, {}), mask)
    expected = F.cross_entropy(logits, mask.long(), torch.tensor(weights), ignore_index=VOID, reduction="none").mean()
    torch.testing.assert_close(found, expected)
