"""CCNet: the head's options, and the rows of the paper's tables that must differ in what runs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from contextseg import create_model
from contextseg.commands.compose import compose
from contextseg.contract import SegOutput
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import context_maps, record_attention
from contextseg.heads.ccnet import CCNetHead
from contextseg.heads.gcn import GCNHead
from contextseg.heads.psanet import PSANetHead
from contextseg.recipe import head_classes

NonLocalHead = head_classes()["nonlocal"]  # its module's name is a keyword
K = 5
VARIANTS = {
    "r1": (CCNetHead, {"recurrence": 1}),
    "r2": (CCNetHead, {}),
    "r3": (CCNetHead, {"recurrence": 3}),
    "hv": (CCNetHead, {"attention": "hv"}),
    "hv_vh": (CCNetHead, {"attention": "hv_vh"}),
    "released": (CCNetHead, {"gate": True, "refine": True, "dropout": 0.1}),
    "nonlocal": (NonLocalHead, {}),
    "nonlocal_r2": (NonLocalHead, {"recurrence": 2, "gate": True, "concat": False}),
    "gcn": (GCNHead, {"kernel_size": 5, "refine": True}),
    "psanet": (PSANetHead, {"grid": 6}),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def head(variant, channels=16):
    kind, settings = VARIANTS[variant]
    return kind([6, 12], K, channels=channels, **settings)


def features(batch=2, size=(5, 7), dtype=torch.float32):
    return [torch.randn(batch, 6, *size, dtype=dtype), torch.randn(batch, 12, *size, dtype=dtype)]


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@every_variant
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (5, 7), (8, 9)])
def test_any_size_and_a_single_image(variant, size):
    output = head(variant).eval()(features(1, size))
    assert output.logits.shape == (1, K, *size)
    assert torch.isfinite(output.logits).all()
    assert {name: extra.shape for name, extra in output.extras.items()} == (
        {"embedding": (1, 16, *size)} if VARIANTS[variant][0] is CCNetHead else {}
    )


@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"gcn"}))
def test_listening_changes_nothing_in_float64(variant):
    model, given = head(variant).double().eval(), features(dtype=torch.float64)
    for parameter in model.parameters():
        parameter.data = torch.where(parameter == 0, 0.5, parameter)  # gates
    silent = model(given)
    with record_attention(model) as maps:
        heard = model(given)
    close(heard.logits, silent.logits, atol=1e-12)
    entries = [len(calls) for calls in maps.values()]
    assert entries == {"r1": [1], "r3": [3], "hv_vh": [4], "nonlocal": [1], "psanet": [1, 1]}.get(variant, [2])


@every_variant
def test_gradients_reach_every_parameter(variant):
    model = head(variant)
    for step in range(2):
        output = model(features(4))
        total = sum(tensor.square().sum() for tensor in (output.logits, *output.extras.values()))
        model.zero_grad()
        total.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            if step and not name.endswith("key.bias"):  # softmax does not see it
                assert parameter.grad.any(), name
            if name.endswith("gate"):
                parameter.data.fill_(0.5)


@every_variant
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(variant, dtype):
    model, given = head(variant).eval(), features()
    exact = model(given).logits
    with torch.autocast("cpu", dtype):
        found = model(given).logits
    assert found.dtype == dtype
    assert (found - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize(
    "variant", ["r2", *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS if name != "r2")]
)
def test_compile_and_export(variant):
    model, given = head(variant).eval(), features()
    expected = model(given)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)(given)
    exported = torch.export.export(model, (given,)).module()(given)
    for found in (compiled, exported):
        assert type(found) is SegOutput
        close(found.logits, expected.logits)
        assert found.extras.keys() == expected.extras.keys()
    gradients = [
        torch.autograd.grad(output.logits.square().sum(), model.fuse.parameters()) for output in (expected, compiled)
    ]
    for a, b in zip(*gradients, strict=True):
        close(a, b, atol=1e-3)


def test_rows_of_the_tables_differ_with_the_same_weights():
    """Tables 2, 4 and 5: R = 1, 2, 3, HV and HV&VH have the same parameters and give different logits."""
    rows = [head(variant).eval() for variant in ("r1", "r2", "r3", "hv", "hv_vh")]
    given = features()
    for row in rows[1:]:
        row.load_state_dict(rows[0].state_dict())
    logits = [row(given).logits for row in rows]
    for index, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-3 for other in logits[index + 1 :])


def test_hv_is_row_then_column_and_hv_vh_sums_both_orders():
    hv, both = head("hv").eval(), head("hv_vh").eval()
    both.load_state_dict(hv.state_dict())
    h = torch.randn(2, 16, 5, 7)
    row_first = hv.attention(hv.attention(h, "horizontal"), "vertical")
    column_first = hv.attention(hv.attention(h, "vertical"), "horizontal")
    close(sum(hv.loops(h, chain) for chain in hv.chains), row_first)
    close(sum(both.loops(h, chain) for chain in both.chains), row_first + column_first)
    assert not torch.allclose(row_first, column_first)


def test_the_embedding_is_there_when_a_loss_reads_it():
    assert CCNetHead([12], K, channels=16).emits == {"embedding"}
    bare = CCNetHead([12], K, channels=16, embedding_channels=0)
    assert bare.emits == set()
    assert bare(features()).extras == {}
    assert not any(name.startswith("embedding") for name, _ in bare.named_parameters())


@pytest.mark.parametrize("loss", ["ce", "aux", "ohem", "ccl", "ccl+aux"])
def test_head_and_loss_stay_a_pair(loss):
    """`loss=aux` with `head=ccnet` has no parameters that no loss reaches."""
    config = compose(["head=ccnet", f"loss={loss}", "width=16"])
    model = build.instantiate(config.head, "head", in_channels=[6, 12], num_classes=K)
    assert model.emits == ({"embedding"} if "ccl" in loss else set())
    assert compose(["head=ccnet"]).loss == compose(["head=ccnet", "loss=ccl"]).loss


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="choose criss_cross, hv, hv_vh"):
        CCNetHead([12], K, attention="cross")
    for settings in ({"recurrence": 0}, {"attention": "hv", "recurrence": 3}):
        with pytest.raises(ConfigError, match="recurrence"):
            CCNetHead([12], K, **settings)
    with pytest.raises(ConfigError, match="recurrence=0"):
        NonLocalHead([12], K, recurrence=0)
    with pytest.raises(ConfigError, match="kernel_size=4"):
        GCNHead([12], K, kernel_size=4)
    with pytest.raises(ConfigError, match="grid=0"):
        PSANetHead([12], K, grid=0)


def test_parameters_of_the_released_head():
    """OCR Table 4 counts it without classifier (23.9 M by its FLOPs), CTNet Table 3 with one of 21 classes."""
    with torch.device("meta"):
        released = CCNetHead([1024, 2048], 21, gate=True, refine=True, embedding_channels=0)
    assert parameters(released) - parameters(released.classifier) == 23_924_353
    assert parameters(released) == 23_935_126


@pytest.mark.parametrize(
    ("kind", "loops", "published"),
    [(CCNetHead, 1, 8.3), (CCNetHead, 2, 16.5), (CCNetHead, 3, 24.7), (NonLocalHead, 1, 108), (NonLocalHead, 2, 216)],
)
def test_cost_of_the_attention_is_the_published_one(kind, loops, published):
    """GFLOPs of Tables 2 and 5, image 769 x 769: the attention alone, 2 per multiply-add."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        block, h = kind([8], K).attention, torch.empty(1, 512, 97, 97)
        for _ in range(loops):
            h = block(h)
    assert counter.get_total_flops() / 1e9 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("variant", ["r1", "r2", "hv", "hv_vh", "nonlocal", "nonlocal_r2", "psanet"])
def test_context_of_a_pixel_sums_to_one(variant):
    kind, settings = VARIANTS[variant]
    name = kind.__module__.rpartition(".")[2]
    model = create_model(name, backbone="tiny", num_classes=K, channels=16, **settings).eval()
    maps = context_maps(model, torch.randint(0, 256, (3, 40, 72), dtype=torch.uint8), (30, 11))
    assert "gradient" in maps
    del maps["gradient"]
    assert maps.keys() == ({"collect", "distribute"} if variant == "psanet" else {"context"})
    for found in maps.values():
        assert found.shape == ((5, 6) if variant == "psanet" else (5, 9))
        close(found.sum(), torch.ones(()))
        assert (found == 0).sum() == (32 if variant == "r1" else 0)  # outside of the cross
