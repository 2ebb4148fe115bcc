"""Training without a stored prior: when it is used, what it keeps, and that it is what the stored prior gives."""

import pytest
import torch

from contextseg.explain.record import record_attention
from contextseg.layers import attention_tap, context_prior_recomputed
from contextseg.layers.context_prior import ContextPrior
from contextseg.layers.context_prior_recomputed import RecomputedPrior

SIZE = (5, 7)


@pytest.fixture(autouse=True)
def small_strips_at_any_size(monkeypatch):
    monkeypatch.setattr(attention_tap, "LEAST", 0)
    monkeypatch.setattr(context_prior_recomputed, "ROWS", 8)  # 35 rows: the last strip is shorter


@pytest.fixture
def used(monkeypatch):
    """Counts the passes without a prior."""
    calls, apply = [], RecomputedPrior.apply
    monkeypatch.setattr(RecomputedPrior, "apply", lambda *given: calls.append(1) or apply(*given))
    return calls


def passed(layer, x, stored):
    """Contexts, logits, and the gradients of the features and of the parameters."""
    layer.prior.stored = stored
    contexts, logits = layer(x)
    torch.manual_seed(1)
    total = sum((y * torch.randn(y.shape, dtype=y.dtype)).sum() for y in (*contexts, logits.tanh()))
    return [*contexts, logits, *torch.autograd.grad(total, [x, *layer.parameters()])]


@pytest.mark.parametrize("contexts", ["both", "intra", "inter"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_contexts_and_gradients_are_those_of_the_stored_prior(contexts, memory_format, used):
    layer = ContextPrior(6, SIZE, contexts=contexts).double()
    x = torch.randn(2, 6, *SIZE, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    found = passed(layer, x, stored=False)
    assert len(used) == 1
    expected = passed(layer, x, stored=True)
    assert len(used) == 1
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_it_is_for_training_over_the_whole_map_unless_the_prior_is_wanted(used, monkeypatch):
    layer, x = ContextPrior(6, SIZE), torch.randn(1, 6, *SIZE)
    with torch.no_grad():
        layer(x)
    with record_attention(layer) as heard:
        layer(x)
    assert heard["prior"]
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
    layer(x, side=3)
    monkeypatch.setattr(attention_tap, "LEAST", 35 * 35 + 1)
    layer(x)
    assert not used


def test_it_keeps_no_map_but_the_logits(used):
    z, values = torch.randn(2, 35, 35, requires_grad=True), torch.randn(2, 6, 35, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        RecomputedPrior.apply(z, values)
    assert {tensor.data_ptr() for tensor in kept} == {z.data_ptr(), values.data_ptr()}
