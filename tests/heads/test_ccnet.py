"""CCNet: the head's options, and the rows of the paper's tables that must differ in what runs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from contextseg import create_model
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import context_maps, record_attention
from contextseg.heads.ccnet import CCNetHead
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
    "nonlocal": (NonLocalHead, {}),
    "nonlocal_r2": (NonLocalHead, {"recurrence": 2, "gate": True, "concat": False}),
    "psanet": (PSANetHead, {"grid": 6}),
}


def head(variant, channels=16):
    kind, settings = VARIANTS[variant]
    return kind([6, 12], K, channels=channels, **settings)


def features(batch=2, size=(5, 7), dtype=torch.float32):
    return [torch.randn(batch, 6, *size, dtype=dtype), torch.randn(batch, 12, *size, dtype=dtype)]


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_a_tap_hears_every_loop():
    heard = {"r1": [1], "r2": [2], "r3": [3], "hv": [2], "hv_vh": [4], "nonlocal": [1], "nonlocal_r2": [2]}
    for variant, loops in (heard | {"psanet": [1, 1]}).items():
        model = head(variant).eval()
        with record_attention(model) as maps:
            model(features())
        assert [len(calls) for calls in maps.values()] == loops, variant


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


def test_the_embedding_is_of_what_the_loops_gave():
    """Section 3.4 pulls H'' together by class, not what is classified."""
    model, given = head("r2").eval(), features()
    h = model.reduce(given[-1])
    close(model(given).extras["embedding"], model.embedding(model.attention(model.attention(h))))


@pytest.mark.parametrize("loss", ["ce", "aux", "ohem", "ccl", "ccl+aux"])
def test_head_and_loss_stay_a_pair(loss):
    """`loss=aux` with `head=ccnet` has no parameters that no loss reaches."""
    config = compose(["head=ccnet", f"loss={loss}", "width=16"])
    model = build.instantiate(config.head, "head", in_channels=[6, 12], num_classes=K)
    assert model.emits == ({"embedding"} if "ccl" in loss else set())
    assert compose(["head=ccnet"]).loss == compose(["head=ccnet", "loss=ccl"]).loss


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ccnet", {"attention": "cross"}, "attention=cross: give one of criss_cross, hv, hv_vh"),
        ("ccnet", {"recurrence": 0}, "recurrence=0"),
        ("ccnet", {"attention": "hv", "recurrence": 3}, "recurrence"),
        ("nonlocal", {"recurrence": 0}, "recurrence=0"),
        ("gcn", {"kernel_size": 4}, "kernel_size=4"),
        ("psanet", {"grid": 0}, "grid=0"),
    ],
)
def test_nonsense_is_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        create_model(name, backbone="tiny", num_classes=K, **settings)


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
