"""Training without a map: when it is used, what it keeps, and that it is what the map gives (test_criss_cross.py)."""

import pytest
import torch

from contextseg.commands.complexity.memory import saved_for_backward
from contextseg.explain.record import record_attention
from contextseg.layers import attention_tap
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.criss_cross_3d import CrissCrossAttention3d
from contextseg.layers.criss_cross_recomputed import RecomputedCrissCross


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    monkeypatch.setattr(attention_tap, "LEAST", 0)


@pytest.fixture
def used(monkeypatch):
    """Counts the passes without a map."""
    calls, apply = [], RecomputedCrissCross.apply
    monkeypatch.setattr(RecomputedCrissCross, "apply", lambda *given: calls.append(1) or apply(*given))
    return calls


@pytest.mark.parametrize("block", [CrissCrossAttention(8), CrissCrossAttention3d(8)])
def test_it_is_for_training_unless_the_map_is_wanted(block, used, monkeypatch):
    x = torch.randn(2, 8, *(3,) * isinstance(block, CrissCrossAttention3d), 4, 5)
    trained = block(x)
    assert len(used) == 1
    with torch.no_grad():
        torch.testing.assert_close(block(x), trained)
    with record_attention(block) as heard:
        torch.testing.assert_close(block(x), trained)
    assert heard["criss_cross"]
    with torch.autocast("cpu", torch.bfloat16):
        block(x)
    monkeypatch.setattr(attention_tap, "LEAST", x[0].numel() + 1)
    block(x)
    assert len(used) == 1


def test_uniform_attention_averages_the_cross(used):
    block = CrissCrossAttention(8)
    block.criss_cross.uniform = True
    x = torch.randn(1, 8, 3, 4)
    found = block(x)
    assert used
    with torch.no_grad():
        torch.testing.assert_close(found, block(x))
    found.sum().backward()
    assert block.query.weight.grad.count_nonzero() == 0


def test_it_keeps_queries_keys_and_a_number_a_position():
    block = CrissCrossAttention(64, 8)
    x = torch.randn(2, 64, 9, 11, requires_grad=True).contiguous(memory_format=torch.channels_last)
    given = {tensor.data_ptr() for tensor in (x, *block.parameters())}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        block(x)
    sizes = {tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept if tensor.data_ptr() not in given}
    assert sum(sizes.values()) == 4 * 2 * 99 * (8 + 8 + 1)
    with_map = saved_for_backward(block, x)[""]  # counts attention as the papers' code stores it
    assert with_map > 4 * 2 * 99 * (8 + 8 + (9 + 11) + 64)
