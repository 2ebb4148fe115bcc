"""The class-probability loss by hand, against loops over images and classes, and the options that bring it."""

import math

import pytest
import torch
import torch.distributed as dist

from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.contract import SegOutput
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.losses.class_probability import ACTIVATIONS, BATCH_WEIGHTS, class_counts, class_probability_loss
from contextseg.losses.terms import ClassProbability

K, VOID = 5, 255
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_weight = pytest.mark.parametrize("batch_weight", BATCH_WEIGHTS)


def case(dtype=torch.float64):
    """Four images: some classes and some void, one class alone, nearly all void, nothing but void."""
    mask = torch.randint(0, 3, (4, 6, 7), dtype=torch.uint8)
    mask[0, :2] = VOID
    mask[1] = 4
    mask[2, 1:] = VOID
    mask[3] = VOID
    return (2 * torch.randn(4, K, dtype=dtype)).requires_grad_(), mask


def slow_loss(scores, mask, activation, batch_weight):
    """Eq. 4 with the target's definition: one image, one class, one pixel at a time."""
    total, weights = scores.sum() * 0, 0
    for row, labels in zip(scores, mask.flatten(1).tolist(), strict=True):
        valid = [label for label in labels if label != VOID]
        if not valid:
            continue
        loss = 0
        for k in range(K):
            share = valid.count(k) / len(valid)
            p = row[k].exp() / sum(row.exp()) if activation == "softmax" else 1 / (1 + (-row[k]).exp())
            loss = loss - (share * p.log() + (1 - share) * (1 - p).log()) / K
        omega = 1 if batch_weight == "none" else len(valid)
        total, weights = total + omega * loss, weights + omega
    return total / weights


@every_activation
@every_weight
def test_loss_is_the_slow_loss_forward_and_backward(activation, batch_weight):
    scores, mask = case()
    found = class_probability_loss(scores, mask, activation=activation, batch_weight=batch_weight)
    expected = slow_loss(scores, mask, activation, batch_weight)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)
    assert not gradients[0][3].any()  # nothing but void
    assert gradients[0][:3].all()


def test_numbers_by_hand():
    """Three pixels of class 0, one of class 1, four void; P_p = (1/2, 1/4, 1/4)."""
    scores = torch.tensor([[math.log(2), 0.0, 0.0]])
    mask = torch.tensor([[[0, 0, 0, 1], [VOID] * 4]], dtype=torch.uint8)
    parts = [math.log(1 / 2), math.log(1 / 4) / 4 + 3 / 4 * math.log(3 / 4), math.log(3 / 4)]
    assert class_probability_loss(scores, mask).item() == pytest.approx(-sum(parts) / 3)
    parts = [3 / 4 * math.log(2 / 3) + math.log(1 / 3) / 4, math.log(1 / 2), math.log(1 / 2)]  # sigmoids 2/3, 1/2, 1/2
    assert class_probability_loss(scores, mask, activation="sigmoid").item() == pytest.approx(-sum(parts) / 3)


def test_counts_are_exact():
    _, mask = case()
    assert class_counts(mask, K).tolist() == [[(image == k).sum().item() for k in range(K)] for image in mask]
    assert class_counts(mask, K)[3].tolist() == [0] * K


def test_half_void_counts_half():
    """Two images, the second half void: weights 2 to 1 with "valid", equal without."""
    scores, mask = torch.randn(2, K), torch.randint(0, K, (2, 4, 6), dtype=torch.uint8)
    mask[1, :2] = VOID
    one, other = (class_probability_loss(scores[i : i + 1], mask[i : i + 1]) for i in range(2))
    torch.testing.assert_close(class_probability_loss(scores, mask), (one + other) / 2)
    torch.testing.assert_close(class_probability_loss(scores, mask, batch_weight="valid"), (2 * one + other) / 3)


@every_activation
def test_the_loss_is_smallest_where_the_probabilities_are_the_shares(activation):
    mask = torch.tensor([[[0, 0, 1, 2, 2, 2, 3, 4]]], dtype=torch.uint8)
    shares = torch.tensor([[2, 1, 3, 1, 1]], dtype=torch.float64) / 8
    scores = (shares.log() if activation == "softmax" else shares.logit()).requires_grad_()
    loss = class_probability_loss(scores, mask, activation=activation)
    (gradient,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)
    for _ in range(5):
        elsewhere = class_probability_loss(scores + 0.3 * torch.randn(1, K), mask, activation=activation)
        assert elsewhere > loss


def test_gradient_of_the_sigmoid_by_hand():
    scores, mask = case()
    shares = torch.zeros(4, K, dtype=torch.float64)
    shares[:3] = class_counts(mask, K)[:3] / class_counts(mask, K)[:3].sum(1, keepdim=True)
    (found,) = torch.autograd.grad(class_probability_loss(scores, mask, activation="sigmoid"), scores)
    expected = (scores.sigmoid() - shares) / (3 * K)  # three images count
    expected[3] = 0
    torch.testing.assert_close(found, expected)


@every_activation
@every_weight
def test_finite_differences(activation, batch_weight):
    scores, mask = case()
    settings = {"activation": activation, "batch_weight": batch_weight}
    assert torch.autograd.gradcheck(lambda given: class_probability_loss(given, mask, **settings), scores)


@every_activation
def test_certain_scores_stay_finite(activation):
    """Where float32 probabilities are 0 or 1: the right class, the wrong one, and one class in all."""
    mask = torch.zeros(1, 2, 2, dtype=torch.uint8)
    for scores, expected in (([200.0, -200.0], 0.0), ([-200.0, 200.0], 400.0 if activation == "softmax" else 200.0)):
        given = torch.tensor([scores], requires_grad=True)
        loss = class_probability_loss(given, mask, activation=activation)
        assert loss.item() == pytest.approx(expected, abs=1e-6)
        loss.backward()
        assert torch.isfinite(given.grad).all()
    alone = torch.tensor([[3.0]], requires_grad=True)
    loss = class_probability_loss(alone, mask, activation=activation)
    loss.backward()
    assert loss.item() == pytest.approx(0 if activation == "softmax" else math.log1p(math.exp(-3)))
    assert torch.isfinite(alone.grad).all()


@every_weight
def test_nothing_but_void_gives_zero_and_zero_gradient(batch_weight):
    scores = torch.randn(2, K, requires_grad=True)
    output = SegOutput(torch.zeros(2, K, 1, 1), {"class_probability": scores})
    loss = ClassProbability(batch_weight=batch_weight)(output, torch.full((2, 4, 4), VOID, dtype=torch.uint8))
    loss.backward()
    assert loss == 0
    assert torch.equal(scores.grad, torch.zeros(2, K))


@every_weight
def test_the_mean_is_over_all_processes(monkeypatch, batch_weight):
    """Two ranks with two images each, one of them void: the average of what they return is the loss of all four."""
    scores, mask = case()
    whole = class_probability_loss(scores, mask, batch_weight=batch_weight)
    counts = (mask != VOID).flatten(1).double().mean(1)
    counts = [(c > 0).double().sum() if batch_weight == "none" else c.sum() for c in counts.split(2)]
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    found = []
    for rank in range(2):
        monkeypatch.setattr(dist, "all_reduce", lambda count, other=counts[1 - rank]: count.add_(other))
        own = slice(2 * rank, 2 * rank + 2)
        found.append(class_probability_loss(scores[own], mask[own], batch_weight=batch_weight))
    torch.testing.assert_close(sum(found) / 2, whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_whatever_the_scores_are(dtype):
    scores, mask = case()
    output = SegOutput(torch.zeros(4, K, 1, 1), {"class_probability": scores.detach().to(dtype)})
    loss = ClassProbability()(output, mask)
    assert loss.dtype == torch.float32
    assert loss == class_probability_loss(output.extras["class_probability"].float(), mask)


def test_settings_reach_the_loss():
    scores, mask = case(torch.float32)
    output = SegOutput(torch.zeros(4, K, 1, 1), {"class_probability": scores})
    losses = [
        ClassProbability(activation=activation, batch_weight=weight)(output, mask).item()
        for activation in ACTIVATIONS
        for weight in BATCH_WEIGHTS
    ]
    assert len(set(losses)) == 4


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match=r"activation.=relu: choose softmax or sigmoid"):
        ClassProbability(activation="relu")
    with pytest.raises(ConfigError, match="batch_weight=mean: choose none or valid"):
        ClassProbability(batch_weight="mean")
    with pytest.raises(ConfigError, match="weight -1"):
        ClassProbability(weight=-1)


# The target "presence"


@every_weight
def test_presence_is_binary_cross_entropy_of_what_an_image_holds(batch_weight):
    scores, mask = case()
    found = class_probability_loss(scores, mask, activation="sigmoid", batch_weight=batch_weight, target="presence")
    total, weights = 0, 0
    for row, labels in zip(scores[:3], mask.flatten(1).tolist(), strict=False):  # the fourth is void alone
        present = torch.tensor([float(k in labels) for k in range(K)], dtype=torch.float64)
        omega = 1 if batch_weight == "none" else sum(label != VOID for label in labels)
        total = total + omega * torch.nn.functional.binary_cross_entropy(row.sigmoid(), present)
        weights += omega
    torch.testing.assert_close(found, total / weights)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (found, total / weights)]
    torch.testing.assert_close(*gradients)


def test_presence_by_hand():
    """Classes 0 and 2 are there, one of them with a single pixel; sigmoids 2/3, 1/2, 1/3."""
    scores = torch.tensor([[math.log(2), 0.0, -math.log(2)]])
    mask = torch.tensor([[[0, 0, 0, 0], [0, 2, VOID, VOID]]], dtype=torch.uint8)
    expected = -(math.log(2 / 3) + math.log(1 / 2) + math.log(1 / 3)) / 3
    term = ClassProbability(activation="sigmoid", target="presence")
    loss = term(SegOutput(torch.zeros(1, 3, 1, 1), {"class_probability": scores}), mask)
    assert loss.item() == pytest.approx(expected)
    mask[0, 0] = 2  # how much of a class there is does not matter
    assert class_probability_loss(scores, mask, activation="sigmoid", target="presence").item() == loss.item()


def test_presence_and_softmax_do_not_go_together():
    with pytest.raises(ConfigError, match=r"target=presence .*cp\.activation\)=softmax: .*; choose sigmoid"):
        ClassProbability(target="presence")
    with pytest.raises(ConfigError, match=r"cp\.target=binary: choose share or rescaled or presence"):
        ClassProbability(target="binary")
    with pytest.raises(ConfigError, match="target=presence"):
        terms("head=ctnet", "loss.term.cp.target=presence")
    term = terms("head=ctnet", "loss.term.cp.target=presence", "head.class_activation=sigmoid")["cp"]
    assert (term.activation, term.readings["target"]) == ("sigmoid", "presence")


# The options


def terms(*overrides):
    return build.loss(compose(overrides)).term


def test_the_weights_of_equation_8():
    found = terms("head=ctnet")
    assert {name: term.weight for name, term in found.items()} == {"ce": 1, "cp": 0.1, "aux": 0.3}
    assert {name: term.weight for name, term in terms("head=ctnet", "loss=cp").items()} == {"ce": 1, "cp": 0.1}
    assert terms("head=ctnet", "loss=aux")["aux"].weight == 0.4
    given = terms("head=ctnet", "loss.term.aux.weight=0.2", "loss.term.cp.weight=0.2")
    assert (given["aux"].weight, given["cp"].weight) == (0.2, 0.2)


def test_the_loss_has_the_activation_of_the_head():
    assert terms("head=ctnet")["cp"].activation == "softmax"
    assert terms("head=ctnet", "head.class_activation=sigmoid")["cp"].activation == "sigmoid"


@pytest.mark.parametrize(
    ("loss", "emits", "aux"), [("cp+aux", True, True), ("cp", True, False), ("aux", False, True), ("ce", False, False)]
)
def test_the_head_gives_what_the_loss_reads(loss, emits, aux):
    cfg = compose(["head=ctnet", f"loss={loss}", "width=16"])
    {name: term.reads for name, term in build.loss(cfg).term.items()}
    network = build.network(cfg, class_set("context_scenes"))[0]
    assert network.head.emits == ({"class_probability"} if emits else set())
    assert (network.aux_head is not None) == aux


def test_a_head_without_class_probabilities_is_refused():
    cfg = compose(["head=ocr", "loss=cp+aux", "width=16"])
    with pytest.raises(ConfigError, match=r"term cp reads 'class_probability', but head OCRHead.*emit it: ctnet"):
        build.module(cfg, build.datamodule(cfg))
