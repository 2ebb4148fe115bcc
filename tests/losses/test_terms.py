"""Loss terms against numbers computed by hand."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from selected import quick

from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.contract import KNOWN_EXTRAS, LossTerm, SegOutput
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.losses.functional import cross_entropy, global_mean, labels_at, ohem_cross_entropy
from contextseg.losses.terms import OHEM, CrossEntropy
from contextseg.losses.total import LossSum

LOSSES = sorted(path.stem for path in Path(CONF / "loss").glob("*.yaml"))
K, VOID = 12, 255
COUNT_VOID = {("affinity_official+aux", "prior_logits"), ("cp_official+aux", "class_probability")}  # released code


@cache
def configuration(option):
    return compose([f"loss={option}"])


def output(size=(8, 8), dtype=torch.float32):
    """An output with every known extra, for a batch of two."""
    pixels = size[0] * size[1]
    shapes = {
        "aux_logits": (2, K, *size),
        "class_probability": (2, K),
        "aux_class_probability": (2, K),
        "prior_logits": (2, pixels, pixels),
        "embedding": (2, 16, *size),
        "edge_logits": (2, 2, *size),
        "region_logits": (2, K, *size),
    }
    assert shapes.keys() == KNOWN_EXTRAS
    extras = {name: torch.randn(shape, dtype=dtype, requires_grad=True) for name, shape in shapes.items()}
    return SegOutput(torch.randn(2, K, *size, dtype=dtype, requires_grad=True), extras)


def masks(size=(64, 64)):
    mask = torch.randint(0, K, (2, *size), dtype=torch.uint8)
    mask[:, :5] = VOID
    return mask


def slow_losses(logits, target):
    """(loss, label, probability) of each valid pixel, in float64, pixel by pixel."""
    pixels = []
    for b, i, j in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
        label = int(target[b, i, j])
        if label != VOID:
            scores = [math.exp(v) for v in logits[b, :, i, j].tolist()]
            probability = scores[label] / sum(scores)
            pixels.append((-math.log(probability), label, probability))
    return pixels


def small_case():
    logits = torch.randn(2, 4, 5, 6, requires_grad=True)
    target = torch.randint(0, 4, (2, 5, 6))
    target[0, :2] = VOID
    return logits, target


def test_cross_entropy_of_two_pixels_by_hand():
    logits = torch.tensor([[0.0, 0.0, 9.0], [math.log(3), 0.0, 0.0]]).view(1, 2, 1, 3)
    target = torch.tensor([[[1, 0, VOID]]])
    expected = (-math.log(3 / 4) + math.log(2)) / 2  # the void pixel is neither summed nor counted
    assert cross_entropy(logits, target).item() == pytest.approx(expected)
    weights = torch.tensor([1.0, 4.0])
    expected = (-4 * math.log(3 / 4) + math.log(2)) / 5
    assert cross_entropy(logits, target, weights).item() == pytest.approx(expected)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0, 0.0]])
def test_cross_entropy_is_the_slow_mean(weights):
    logits, target = small_case()
    pixels = slow_losses(logits, target)
    factors = [1.0 if weights is None else weights[label] for _, label, _ in pixels]
    expected = sum(f * loss for f, (loss, *_) in zip(factors, pixels, strict=True)) / sum(factors)
    found = cross_entropy(logits, target, None if weights is None else torch.tensor(weights))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0, 0.3]])
@pytest.mark.parametrize("min_kept", [0, 1, 17, 1000])
@pytest.mark.parametrize("threshold", [0.01, 0.25, 0.7, 1.0])
def test_ohem_is_the_slow_selection(threshold, min_kept, weights):
    logits, target = small_case()
    pixels = sorted(slow_losses(logits, target), reverse=True)
    kept = [p for rank, p in enumerate(pixels) if p[2] < threshold or rank < min_kept]
    factors = [1.0 if weights is None else weights[label] for _, label, _ in kept]
    expected = sum(f * loss for f, (loss, *_) in zip(factors, kept, strict=True)) / max(sum(factors), 1e-30)
    class_weights = None if weights is None else torch.tensor(weights)
    found = ohem_cross_entropy(logits, target, threshold, min_kept, class_weights)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    touched = (logits.grad.abs().sum(1) > 0).sum().item()
    assert touched == len(kept)


def test_ohem_keeps_all_of_equal_hardness():
    logits = torch.zeros(1, 2, 1, 6, requires_grad=True)  # every pixel has probability 1/2
    target = torch.tensor([[[0, 1, 0, 1, VOID, 0]]])
    loss = ohem_cross_entropy(logits, target, 0.1, 2)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert (logits.grad.abs().sum(1) > 0).flatten().tolist() == [True] * 4 + [False, True]


@pytest.mark.parametrize(
    ("stride", "picked"), [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 2, 4, 6]), (3, [1, 4]), (4, [1, 5])]
)
def test_a_label_stride_takes_the_middle_of_each_cell(stride, picked):
    mask = torch.arange(7, dtype=torch.uint8).expand(1, 7, 7)
    target = labels_at(mask, stride)
    assert target[0, 0].tolist() == picked
    assert target.dtype == torch.int64


def test_a_term_with_label_stride_sees_only_those_labels():
    logits, mask = torch.randn(2, K, 8, 8), masks()
    before = CrossEntropy(label_stride=2)(SegOutput(logits, {}), mask)
    mask[:, 1::2] = VOID  # labels that are not looked at
    mask[:, :, 1::2] = VOID
    assert torch.equal(CrossEntropy(label_stride=2)(SegOutput(logits, {}), mask), before)
    assert not torch.equal(CrossEntropy()(SegOutput(logits, {}), mask), before)


@pytest.mark.parametrize("option", quick(LOSSES, ["ce", "affinity+aux", "cp+aux", "ccl+aux", "ohem", "edge+aux", "se"]))
def test_a_batch_of_void_gives_a_finite_loss_without_gradient(option):
    found = output()
    total, terms = build.loss(configuration(option))(found, torch.full((2, 64, 64), VOID, dtype=torch.uint8))
    assert torch.isfinite(total)
    assert all(torch.isfinite(value) for value in terms.values())
    total.backward()
    for name, tensor in {"logits": found.logits, **found.extras}.items():
        assert tensor.grad is None or tensor.grad.isfinite().all()
        if (option, name) not in COUNT_VOID:
            assert tensor.grad is None or not tensor.grad.any()


@pytest.mark.parametrize("option", LOSSES)
def test_terms_compute_in_float32_under_autocast_and_leave_the_mask_alone(option):
    criterion, found, mask = build.loss(configuration(option)), output(dtype=torch.bfloat16), masks()
    copy = mask.clone()
    with torch.autocast("cpu", torch.bfloat16):
        total, terms = criterion(found, mask)
    assert total.dtype == torch.float32
    assert {value.dtype for value in terms.values()} == {torch.float32}
    exact, _ = criterion(SegOutput(found.logits.float(), {k: v.float() for k, v in found.extras.items()}), mask)
    assert torch.equal(total, exact)
    assert torch.equal(mask, copy)
    assert mask.dtype == torch.uint8


@pytest.mark.parametrize("option", LOSSES)
def test_every_term_moves_what_it_reads(option):
    criterion, found = build.loss(configuration(option)), output()
    areas = masks((16, 16)).repeat_interleave(4, 1).repeat_interleave(4, 2)  # with an inside, for `edge`
    total, _ = criterion(found, areas)
    total.backward()
    read = {term.reads for term in criterion.term.values()}
    assert "logits" in read
    for name, tensor in {"logits": found.logits, **found.extras}.items():
        assert (tensor.grad is not None and tensor.grad.any()) == (name in read), name


def test_the_sum_is_weighted_and_reports_plain_terms():
    class Constant(LossTerm):
        def forward(self, output, mask):
            return torch.tensor(3.0, requires_grad=True)

    criterion = LossSum({"a": Constant(0.5), "b": Constant(2.0)})
    total, terms = criterion(SegOutput(torch.zeros(1), {}), masks())
    assert total.item() == 7.5
    assert {name: value.item() for name, value in terms.items()} == {"a": 3.0, "b": 3.0}
    assert not any(value.requires_grad for value in terms.values())


def test_the_mean_is_over_all_processes(monkeypatch):
    """Two ranks with 3 and 7 valid pixels: the average of what they return is the mean over all 10."""
    sums, counts = [2.0, 9.0], [3.0, 7.0]
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    found = []
    for rank in range(2):
        monkeypatch.setattr(dist, "all_reduce", lambda count, other=counts[1 - rank]: count.add_(other))
        count = torch.tensor(counts[rank])
        found.append(global_mean(torch.tensor(sums[rank]), count).item())
        assert count == counts[rank]
    assert sum(found) / 2 == pytest.approx(11 / 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(weight=-1), "weight -1"),
        (lambda: OHEM(threshold=0), "threshold=0"),
        (lambda: CrossEntropy(class_weights=[1, 2])(output(), masks()), "2 entries for 12 classes"),
        (lambda: OHEM(class_weights=[1, 2])(output(), masks()), "2 entries for 12 classes"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
