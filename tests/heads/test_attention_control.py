"""attention=uniform and attention=local: the same parameters without the choice, or without the reach, of attention."""

import json

import pytest
import torch
from harness import train
from head_variants import PLAIN, inputs
from torch import nn

from contextseg.attention_control import SIDE, control
from contextseg.contract import Head
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.explain.context import context_maps
from contextseg.explain.record import taps
from contextseg.heads.agln import AGLNHead
from contextseg.heads.ccnet import CCNetHead
from contextseg.heads.cpnet import CPNetHead
from contextseg.heads.ctnet import CTNetHead
from contextseg.heads.danet import DANetHead
from contextseg.heads.double_attention import DoubleAttentionHead
from contextseg.heads.fcn import FCNHead
from contextseg.heads.ocr import OCRHead
from contextseg.heads.psanet import PSANetHead
from contextseg.layers.attention import QueryKey
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.context_prior import ContextPrior
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.non_local import NonLocal
from contextseg.layers.windows import in_windows
from contextseg.recipe import head_classes

CHANNELS = (6, 8)
ATTEND = {
    "ccnet": CCNetHead,
    "nonlocal": head_classes()["nonlocal"],
    "danet": DANetHead,
    "ocr": OCRHead,
    "ctnet": CTNetHead,
    "double_attention": DoubleAttentionHead,
    "psanet": PSANetHead,
}
LOCAL = [name for name in ATTEND if name != "ctnet"]


def build(name, attention="learned") -> Head:
    torch.manual_seed(0)
    head = ATTEND[name](CHANNELS, 3, channels=16)
    for parameter in head.parameters():  # gates that start at zero would hide the attention
        if not parameter.any():
            nn.init.normal_(parameter)
    control(head, attention)
    return head.eval()


def maps(height=9, width=13):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, channels, height, width, generator=generator) for channels in CHANNELS]


@pytest.mark.parametrize("name", ATTEND)
def test_every_control_has_the_parameters_of_the_head(name):
    learned = build(name)
    for attention in ("uniform", *(["local"] if name in LOCAL else [])):
        other = build(name, attention)
        assert {key: value.shape for key, value in other.state_dict().items()} == {
            key: value.shape for key, value in learned.state_dict().items()
        }
        assert not torch.equal(other(maps()).logits, learned(maps()).logits)
        other.train()(maps2()).logits.square().sum().backward()
        assert all(parameter.grad is not None for key, parameter in other.named_parameters() if "embedding" not in key)


def maps2():
    return [one.repeat(2, 1, 1, 1) for one in maps()]


def test_uniform_non_local_attention_is_the_mean_of_the_map():
    layer, x = NonLocal(8), torch.randn(2, 8, 4, 5)
    for tap in layer.modules():
        if isinstance(tap, AttentionTap):
            tap.uniform = True
    expected = x + layer.value(x).mean((2, 3), keepdim=True)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_uniform_criss_cross_attention_is_the_mean_of_the_cross():
    layer, x = CrissCrossAttention(8).double(), torch.randn(1, 8, 4, 5).double()
    layer.criss_cross.uniform = True
    values = layer.value(x)
    row, column = values.sum(3, keepdim=True), values.sum(2, keepdim=True)
    assert torch.allclose(layer(x), x + (row + column - values) / (4 + 5 - 1))


@pytest.mark.parametrize("name", ["nonlocal", "danet", "ocr", "double_attention", "ccnet", "ctnet"])
def test_uniform_weights_do_not_depend_on_queries_and_keys(name):
    head, features = build(name, "uniform"), maps()
    before = head(features).logits
    for key, parameter in head.named_parameters():
        if any(part in key for part in ("query", "key", "phi", "psi", "gather_scores", "distribute_scores")):
            parameter.data.add_(torch.randn_like(parameter))
    assert torch.allclose(head(features).logits, before, atol=1e-5)


@pytest.mark.parametrize("name", LOCAL)
def test_local_attention_sees_its_window_only(name):
    head, features = build(name, "local"), maps(24, 24)
    far = [one.clone() for one in features]
    for one in far:
        one[..., 18:, 18:] += 1  # the last window; convolutions see up to two places further
    difference = (head(far).logits - head(features).logits).abs().amax(1)[0]
    assert difference[18:, 18:].max() > 0
    assert difference[:10, :10].max() == 0
    assert (build(name)(far).logits - build(name)(features).logits).abs().amax(1)[0, :10, :10].max() > 0


def test_uniform_weights_are_a_mean_even_where_a_learnt_softmax_underflows():
    """Weights that are exactly zero, because scores differ by thousands, count like the others."""
    torch.manual_seed(0)
    layer, x = NonLocal(8).double(), torch.randn(1, 8, 6, 6).double()
    layer.query.weight.data *= 1e4
    layer.non_local.uniform = True
    assert torch.allclose(layer(x), x + layer.value(x).mean((2, 3), keepdim=True))


@pytest.mark.parametrize(
    "variant", [variant for variant in PLAIN if variant.head in {*ATTEND, "agln", "cpnet"}], ids=str
)
def test_what_a_uniform_head_attends_to_is_uniform(variant):
    """As recorded, so that pictures of the context show it; zero is CCNet's second slot of the pixel itself."""
    head = variant.build().eval()
    control(head, "uniform")
    with record_attention(head) as maps, torch.no_grad():
        head(*inputs(head))
    levelled = {name: maps[name] for name, tap in taps(head).items() if tap.levels}
    assert levelled
    for name, entries in levelled.items():
        for entry in entries:
            entry = entry.weights() if isinstance(entry, QueryKey) else entry
            assert torch.allclose(entry[entry > 0], entry.max()), name


def test_a_uniform_prior_is_one_half_and_its_logits_still_learn():
    torch.manual_seed(0)
    block, x = ContextPrior(4, (3, 5)).eval(), torch.randn(2, 4, 3, 5)
    _, learnt = block(x)
    block.prior.uniform = True
    (intra, inter), logits = block(x)
    assert torch.equal(logits, learnt)
    assert torch.allclose(intra, x.mean((2, 3), keepdim=True).expand_as(x) / 2, atol=1e-6)
    assert torch.allclose(inter, intra, atol=1e-6)


def test_a_local_prior_sums_over_the_window():
    torch.manual_seed(0)
    block, x = ContextPrior(4, (3, 5)).eval(), torch.randn(2, 4, 3, 5)
    (intra, inter), logits = block(x, side=2)
    prior = logits.sigmoid()[:, 8].view(2, 1, 3, 5)  # of pixel (1, 3), whose window is rows 0, 1 and columns 2, 3
    assert torch.allclose(intra[:, :, 1, 3], (prior * x)[:, :, :2, 2:4].mean((2, 3)), atol=1e-6)
    assert torch.allclose(inter[:, :, 1, 3], ((1 - prior) * x)[:, :, :2, 2:4].mean((2, 3)), atol=1e-6)


def test_windows_are_put_back_in_their_places():
    x = torch.randn(2, 3, 13, 20)
    assert torch.equal(in_windows(lambda one: 2 * one, x, side=SIDE), 2 * x)
    means = in_windows(lambda one: one.mean((2, 3), keepdim=True).expand_as(one), x, side=4)
    assert torch.allclose(means[:, :, 4:8, 12:16], x[:, :, 4:8, 12:16].mean((2, 3), keepdim=True).expand(-1, -1, 4, 4))


@pytest.mark.parametrize(
    ("head", "attention", "message"),
    [
        (
            lambda: FCNHead(CHANNELS, 3, channels=8),
            "uniform",
            "FCNHead has no learnt attention weights; use attention=learned",
        ),
        (lambda: FCNHead(CHANNELS, 3, channels=8), "local", "use attention=learned or uniform"),
        (lambda: CTNetHead(CHANNELS, 3, channels=8), "local", "CTNetHead is not made from places"),
        (lambda: AGLNHead((4, 6, 8, 8), 3, channels=8), "local", "AGLNHead is not made from places"),
    ],
)
def test_what_a_head_cannot_do_is_refused(head, attention, message):
    with pytest.raises(ConfigError, match=message):
        control(head(), attention)


def test_uniform_holds_for_the_heads_that_fix_their_maps():
    for head, features in (
        (
            AGLNHead((4, 6, 8, 8), 3, channels=8),
            [torch.randn(1, c, s, s) for c, s in ((4, 16), (6, 8), (8, 4), (8, 2))],
        ),
        (CPNetHead(CHANNELS, 3, channels=8, crop_size=(32, 32)), maps(4, 4)),
    ):
        before = head.eval()(features).logits
        control(head, "uniform")
        assert not torch.equal(head(features).logits, before)


def test_a_run_keeps_its_control(tmp_path):
    result = train(tmp_path, "head=nonlocal", "attention=local", "trainer.max_steps=2")
    checkpoint = torch.load(result.folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["recipe"]["attention"] == "local"
    assert "attention" in json.dumps(checkpoint["config"])
    assert result.module.segmenter.head.local_side == SIDE
    network = result.module.segmenter.eval()
    assert set(context_maps(network, torch.zeros(3, 80, 80, dtype=torch.uint8), (3, 3))) == {"gradient"}
