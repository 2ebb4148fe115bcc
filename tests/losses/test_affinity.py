"""CPNet's affinity loss against loops over pairs in float64, against numbers worked out by hand, and at its edges."""

import math
from itertools import product

import pytest
import torch

from contextseg.contract import SegOutput
from contextseg.errors import ConfigError
from contextseg.losses.affinity import MIN_RATIO, affinity_losses
from contextseg.losses.terms import Affinity
from contextseg.losses.total import LossSum

K = 4


def by_pairs(logits, labels, *, sums="row", exclude_self=False, ignored_class=False, empty="one"):
    """Eq. 1-5, pair by pair and row by row; lists of numbers in, two numbers out."""
    unary, glob = [], []
    for p, classes in zip(logits.sigmoid(), labels.tolist(), strict=True):
        if sums == "column":
            p = p.T  # now p[j] is what the sums of pixel j run over
        counted = [i for i, label in enumerate(classes) if ignored_class or label != 255]
        for j in counted:
            same = [i for i in counted if classes[i] == classes[j]]
            other = [i for i in counted if classes[i] != classes[j]]
            unary += [-p[j, i].log() for i in same] + [-(1 - p[j, i]).log() for i in other]
            partners = [i for i in same if i != j] if exclude_self else same
            hits = sum(p[j, i] for i in partners)
            terms = [hits / sum(p[j, i] for i in counted)]
            terms += [hits / len(partners)] if partners else [empty == "one"]
            terms += [sum(1 - p[j, i] for i in other) / len(other)] if other else [empty == "one"]
            least = MIN_RATIO if empty == "one" else math.exp(-100)
            glob.append(-sum(torch.as_tensor(term, dtype=torch.float64).clamp(least, 1).log() for term in terms))
    return torch.stack(unary).mean(), torch.stack(glob).mean()


def example(batch=2, n=12, classes=3, void=True, scale=2.0):
    logits = scale * torch.randn(batch, n, n, dtype=torch.float64)
    labels = torch.randint(classes, (batch, n), dtype=torch.uint8)
    if void:
        labels[:, ::5] = 255
    return logits, labels


READINGS = [
    {"sums": sums, "exclude_self": exclude_self, "ignored_class": ignored_class, "empty": empty}
    for sums, exclude_self, ignored_class, empty in product(
        ["row", "column"], [False, True], [False, True], ["one", "zero"]
    )
]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("part", [0, 1])
def test_equals_the_sum_over_pairs(reading, part):
    logits, labels = example()
    ours, reference = logits.float().requires_grad_(), logits.requires_grad_()
    value = affinity_losses(ours, labels, K, **reading)[part]
    expected = by_pairs(reference, labels, **reading)[part]
    torch.testing.assert_close(value, expected.float())
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, reference.grad.float(), rtol=1e-4, atol=1e-7)


def test_by_hand_on_two_by_two_labels():
    """Labels [[0, 0], [1, void]]: pixels 0 and 1 belong together, 2 stands alone, 3 counts nowhere."""
    p = torch.tensor([[0.8, 0.5, 0.2, 0.9], [0.5, 0.5, 0.5, 0.9], [0.4, 0.1, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9]])
    labels = torch.tensor([[0, 0, 1, 255]], dtype=torch.uint8)
    unary, glob = affinity_losses(p.logit()[None], labels, 2)
    right = [0.8, 0.5, 1 - 0.2, 0.5, 0.5, 1 - 0.5, 1 - 0.4, 1 - 0.1, 0.9]
    assert unary.item() == pytest.approx(-sum(map(math.log, right)) / 9, rel=1e-5)
    ratios = [1.3 / 1.5, 1.3 / 2, 0.8, 1 / 1.5, 1 / 2, 0.5, 0.9 / 1.4, 0.9, 1.5 / 2]
    assert glob.item() == pytest.approx(-sum(map(math.log, ratios)) / 3, rel=1e-5)


def test_row_and_column_readings_differ_and_mirror_each_other():
    logits, labels = example()
    row = affinity_losses(logits, labels, K, sums="row")
    column = affinity_losses(logits, labels, K, sums="column")
    torch.testing.assert_close(row[0], column[0])  # every pair counts once either way
    assert not torch.allclose(row[1], column[1])
    torch.testing.assert_close(row, affinity_losses(logits.mT, labels, K, sums="column"))


def test_ignored_pixels_change_nothing_and_get_no_gradient():
    logits, labels = example()
    void = labels[0] == 255
    expected = affinity_losses(logits, labels, K)
    changed = logits.clone()
    changed[0, void], changed[0][:, void] = 50.0, -50.0
    changed.requires_grad_()
    values = affinity_losses(changed, labels, K)
    torch.testing.assert_close(values, expected)
    sum(values).backward()
    assert not changed.grad[0, void].any()
    assert not changed.grad[0][:, void].any()
    left = ~void
    alone = affinity_losses(logits[:1, left][:, :, left], labels[:1, left], K)
    torch.testing.assert_close(affinity_losses(logits[:1], labels[:1], K), alone)


def test_the_mean_is_over_the_pairs_of_the_batch():
    logits, labels = example()
    labels[1, :8] = 255
    (u0, g0), (u1, g1) = (affinity_losses(logits[i : i + 1], labels[i : i + 1], K) for i in (0, 1))
    n0, n1 = (labels != 255).sum(1).tolist()
    unary, glob = affinity_losses(logits, labels, K)
    torch.testing.assert_close(unary, (u0 * n0**2 + u1 * n1**2) / (n0**2 + n1**2))
    torch.testing.assert_close(glob, (g0 * n0 + g1 * n1) / (n0 + n1))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("case", ["one class", "all ignored", "one pixel of a class", "one valid pixel", "one pixel"])
def test_degenerate_labels_and_saturated_logits_stay_finite(case, scale, reading):
    logits = scale * torch.randn(2, 9, 9)
    labels = torch.zeros(2, 9, dtype=torch.uint8)
    if case == "all ignored":
        labels[:] = 255
    elif case == "one pixel of a class":
        labels[:, 4] = 3
    elif case == "one valid pixel":
        labels[:, 1:] = 255
    elif case == "one pixel":
        logits, labels = logits[:1, :1, :1], labels[:1, :1]
    logits.requires_grad_()
    values = affinity_losses(logits, labels, K, **reading)
    sum(values).backward()
    assert all(torch.isfinite(value) and value >= 0 for value in values)
    assert torch.isfinite(logits.grad).all()
    if case == "all ignored" and not reading["ignored_class"]:
        assert not any(values)
        assert not logits.grad.any()


def test_one_class_has_no_specificity():
    logits, labels = example(void=False)
    unary, glob = affinity_losses(logits, torch.zeros_like(labels), K)
    recall = logits.sigmoid().mean(2).log().mean()
    torch.testing.assert_close(glob, -recall.float())  # precision is 1
    torch.testing.assert_close(unary, torch.nn.functional.softplus(-logits).mean().float())


def test_a_perfect_prior_costs_nothing_and_a_wrong_one_a_bounded_amount():
    _, labels = example()
    same = labels[:, :, None] == labels[:, None]
    perfect = torch.where(same, 40.0, -40.0)
    for value in affinity_losses(perfect, labels, K):
        assert value < 1e-6
    unary, glob = affinity_losses(-perfect, labels, K)
    assert unary == pytest.approx(40)
    assert glob <= -3 * math.log(MIN_RATIO) + 1e-4


def test_exact_for_saturated_logits():
    logits, labels = example(scale=30.0)
    value = affinity_losses(logits.float(), labels, K)[0]
    same = (labels[:, :, None] == labels[:, None]).double()
    valid = labels != 255
    pairs = valid[:, :, None] & valid[:, None]
    exact = torch.nn.functional.binary_cross_entropy_with_logits(logits, same, reduction="none")[pairs].mean()
    torch.testing.assert_close(value, exact.float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype):
    logits = torch.randn(2, 100, 100).to(dtype)
    labels = torch.randint(K, (2, 100), dtype=torch.uint8)
    half, full = logits.clone().requires_grad_(), logits.float().requires_grad_()
    values, expected = affinity_losses(half, labels, K), affinity_losses(full, labels, K)
    assert all(value.dtype == torch.float32 for value in values)
    torch.testing.assert_close(values, expected)
    sum(values).backward()
    sum(expected).backward()
    torch.testing.assert_close(half.grad, full.grad.to(dtype))


def output(logits, size):
    scores = torch.zeros(len(logits), K, *size)
    return SegOutput(scores, {"prior_logits": logits})


def test_the_term_samples_the_centres_of_the_cells():
    """On a grid of 2 x 3 cells of 8 px, only the pixels beside the centres of the cells count."""
    mask = torch.full((1, 16, 24), 3, dtype=torch.uint8)
    wanted = torch.tensor([[0, 1, 2], [1, 0, 255]], dtype=torch.uint8)
    for row, column in product(range(2), range(3)):
        mask[0, 8 * row + 3 : 8 * row + 5, 8 * column + 3 : 8 * column + 5] = wanted[row, column]
    logits = torch.randn(1, 6, 6)
    unary, glob = affinity_losses(logits, wanted.flatten()[None], K)
    torch.testing.assert_close(Affinity()(output(logits, (2, 3)), mask), unary + glob)
    weighted = Affinity(unary_weight=0.5, global_weight=2)(output(logits, (2, 3)), mask)
    torch.testing.assert_close(weighted, 0.5 * unary + 2 * glob)


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (9, 13)])
def test_the_term_takes_any_grid_and_switches_its_parts(size):
    n = size[0] * size[1]
    logits = torch.randn(2, n, n, requires_grad=True)
    mask = torch.randint(K, (2, 33, 50), dtype=torch.uint8)
    both, unary, glob = (
        Affinity(**weights)(output(logits, size), mask)
        for weights in ({}, {"global_weight": 0.0}, {"unary_weight": 0.0})
    )
    torch.testing.assert_close(both, unary + glob)
    (gradient,) = torch.autograd.grad(unary, logits)
    assert gradient.any()


def test_the_sum_of_losses_leaves_autocast():
    logits, mask = torch.randn(1, 16, 16), torch.randint(K, (1, 32, 32), dtype=torch.uint8)
    loss = LossSum({"affinity": Affinity()})
    plain, _ = loss(output(logits, (4, 4)), mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, _ = loss(output(logits, (4, 4)), mask)
    torch.testing.assert_close(mixed, plain)


@pytest.mark.parametrize(
    "settings",
    [{"unary_weight": -1.0}, {"global_weight": -0.1}, {"sums": "diagonal"}, {"empty": "two"}, {"labels": "edge"}],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Affinity(**settings)
