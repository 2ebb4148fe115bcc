"""AGLN: its equations pixel by pixel, its two decoders, the ablations of its tables, its parameters."""

import itertools

import pytest
import slow
import torch
from selected import quick
from slow_pyramid import conv_block, convolve, fused
from torch import nn

from contextseg import create_model
from contextseg.commands.compose import compose
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.heads.agln import AGLNHead
from contextseg.layers.context_fusion import ContextFusion
from contextseg.layers.local_refinement import ChannelResampling, LocalRefinement
from contextseg.layers.resize import resize

K, C, N = 3, 5, 4
WIDTHS = (3, 4, 5, 6)
SIZES = ((5, 6), (3, 4), (2, 3), (2, 2))  # fine to coarse, not all of them halves
MINUS = {"channel_resampling": False, "spatial_gating": False, "dense": False}
VARIANTS = {
    "dense": {},
    "straight": {"dense": False},
    "lite": {"lite": True},
    "value_conv": {"value_conv": True},
    "minus": MINUS,
    "gap": {"gathering": "gap", **MINUS},
    "gap_gated": {"gathering": "gap", "value_conv": True},
    "one": {"num_descriptors": 1},
    "more": {"num_descriptors": 7},
    "resampling": {"spatial_gating": False},
    "gating": {"channel_resampling": False},
    "alpha": {"alpha": 1},
    "beta": {"beta": 1},
    "alpha_beta": {"alpha": 1, "beta": 1},
    "lateral": {"lateral_kernel": 3},
}
every_variant = pytest.mark.parametrize("name", VARIANTS)


def variant(name, maps=4):
    return AGLNHead(WIDTHS[-maps:], K, **{"channels": C, "num_descriptors": N} | VARIANTS[name])


def opened(head):
    """With scalars that hide nothing (alpha starts at 0), and attention that is far from uniform."""
    for name, parameter in head.named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.data.fill_(0.7)
        elif name.endswith("scores.weight"):
            nn.init.normal_(parameter, std=2)
    return head


def inputs(batch=2, dtype=torch.float32, maps=4):
    shapes = list(zip(WIDTHS, SIZES, strict=True))[-maps:]
    return [torch.randn(batch, c, *size, dtype=dtype, requires_grad=True) for c, size in shapes]


def pixels(x):
    return [(i, j) for i in range(x.shape[-2]) for j in range(x.shape[-1])]


def norm(x):
    return x.detach().flatten().norm()


# the equations, one image, one pixel, one descriptor and one channel at a time


def slow_sab(sab, x):
    """Eq. 1: X (C, H, W) -> N descriptors, each (C,)."""
    if sab.scores is None:
        maps = [[1 / len(pixels(x))] * len(pixels(x))]
    else:
        maps = [slow.softmax([scores[i, j] for i, j in pixels(x)]) for scores in convolve(sab.scores, x)]
    feat = convolve(sab.value, x) if isinstance(sab.value, nn.Conv2d) else x
    return [sum(w * feat[:, i, j] for w, (i, j) in zip(weights, pixels(x), strict=True)) for weights in maps]


def slow_cfb(cfb, a, b, descriptors):
    """Eq. 2 to 6: up-sampled decoder map A and encoder map B (C, h, w) -> O (C, h, w)."""
    m = torch.zeros_like(a)
    for i, j in pixels(a):  # Eq. 2
        scores = cfb.distribution.scores
        shares = [1.0] if scores is None else slow.softmax(list(slow.linear(scores, a[:, i, j])))
        m[:, i, j] = sum(share * d for share, d in zip(shares, descriptors, strict=True))
    e = conv_block(cfb.psi, a + cfb.alpha * m)  # Eq. 3
    f = b
    if cfb.refinement.resample is not None:  # Eq. 4
        channels = []
        for decoder in e:
            weights = slow.softmax([sum(decoder[i, j] * encoder[i, j] for i, j in pixels(e)) for encoder in b])
            channels.append(sum(w * encoder for w, encoder in zip(weights, b, strict=True)))
        f = torch.stack(channels)
    g = f if cfb.refinement.gate is None else f / (1 + (-m).exp())  # Eq. 5
    return conv_block(cfb.phi, e + cfb.beta * g)  # Eq. 6


def slow_agln(head, features, dense):
    """Figure 4 for one image of four maps, drawn block by block."""
    e1, e2, e3, x1 = (conv_block(conv, x) for conv, x in zip(head.laterals.convs, features, strict=True))
    sab, cfb = head.aggregations, head.stages

    def up(x, encoder):
        return resize(x[None], encoder.shape[-2:])[0]

    d1 = slow_sab(sab[0], x1)
    x2 = slow_cfb(cfb[0][0], up(x1, e3), e3, d1)
    if dense:
        d2 = slow_sab(sab[1], x2)
        x3 = slow_cfb(cfb[1][0], up(x2, e2), e2, d1)
        x3 = slow_cfb(cfb[1][1], x3, e2, d2)
        d3 = slow_sab(sab[2], x3)
        x4 = slow_cfb(cfb[2][0], up(x3, e1), e1, d1)
        x4 = slow_cfb(cfb[2][1], x4, e1, d2)
        x4 = slow_cfb(cfb[2][2], x4, e1, d3)
    else:
        x3 = slow_cfb(cfb[1][0], up(x2, e2), e2, d1)
        x4 = slow_cfb(cfb[2][0], up(x3, e1), e1, d1)
    return fused(head, [x1, x2, x3, x4])


@pytest.mark.parametrize(
    "name",
    quick(
        sorted(VARIANTS.keys() - {"alpha", "beta", "more", "lateral"}),
        ["dense", "gap", "lite", "value_conv", "alpha_beta"],
    ),
)
def test_agln_is_its_equations(name):
    head = opened(slow.prepare(variant(name)))
    features = inputs(batch=1, dtype=torch.float64)
    expected = slow_agln(head, [x[0] for x in features], VARIANTS[name].get("dense", True))[None]
    slow.assert_same(head(features).logits, expected, [*features, *head.parameters()])


def test_a_resampled_channel_is_the_encoders_that_is_like_the_decoders():
    """Eq. 4: in the order of the decoder's channels, to which they are added."""
    encoder = torch.eye(4).view(1, 4, 2, 2)
    order = torch.tensor([2, 0, 3, 1])
    found = ChannelResampling()(encoder, 50 * encoder[:, order])
    torch.testing.assert_close(found, encoder[:, order])


def test_local_refinement_switched_off_is_the_identity():
    b, e, m = torch.rand(3, 2, C, 3, 4)
    assert LocalRefinement(channel_resampling=False, spatial_gating=False)(b, e, m) is b
    torch.testing.assert_close(LocalRefinement(channel_resampling=False)(b, e, m), b * m.sigmoid())
    resampled = LocalRefinement(spatial_gating=False)(b, e, m)
    torch.testing.assert_close(LocalRefinement()(b, e, m), resampled * m.sigmoid())
    assert not torch.allclose(resampled, b)


# the rows of the tables are different computations


def test_every_option_changes_the_numbers():
    """With the same weights, by name, as far as a variant has them."""
    donor = opened(slow.prepare(variant("dense")))
    features = inputs(dtype=torch.float64)
    found = {"dense": donor(features).logits}
    for name in VARIANTS.keys() - {"dense"}:
        head, known = opened(slow.prepare(variant(name))), donor.state_dict()
        own = head.state_dict()
        head.load_state_dict(own | {k: t for k, t in known.items() if k in own and own[k].shape == t.shape})
        found[name] = head(features).logits
    for (one, a), (other, b) in itertools.combinations(found.items(), 2):
        assert norm(a - b) > 1e-4 * norm(a), (one, other)


@pytest.mark.parametrize(("dense", "sabs", "cfbs"), [(True, 3, [1, 2, 3]), (False, 1, [1, 1, 1])])
def test_the_decoders_of_figure_4(dense, sabs, cfbs):
    head = AGLNHead(WIDTHS, K, channels=C, dense=dense)
    assert len(head.aggregations) == sabs
    assert [len(stage) for stage in head.stages] == cfbs
    assert len({id(p) for p in head.parameters()}) == len(list(head.parameters()))
    assert len({id(b.psi) for stage in head.stages for b in stage}) == sum(cfbs)  # weights of their own


def test_two_maps_leave_dense_nothing_to_add():
    dense, straight = (variant(name, maps=2).eval() for name in ("dense", "straight"))
    straight.load_state_dict(dense.state_dict())
    features = inputs(maps=2)
    assert torch.equal(dense(features).logits, straight(features).logits)


def test_alpha_and_beta_are_learnt_from_0_and_1_or_fixed():
    cfb = ContextFusion(C, N)
    assert (cfb.alpha.item(), cfb.beta.item()) == (0, 1)
    assert {"alpha", "beta"} <= dict(cfb.named_parameters()).keys()
    fixed = ContextFusion(C, N, alpha=0.5, beta=0)
    assert (fixed.alpha, fixed.beta) == (0.5, 0)
    assert not {"alpha", "beta"} & fixed.state_dict().keys()


def test_at_the_start_descriptors_only_gate():
    """Section IV-C.4: alpha is 0, so that M does not disturb; without the gate nothing depends on it."""
    features = inputs()
    for name, same in (("resampling", True), ("dense", False)):
        head = variant(name).eval()
        before = head(features).logits
        for sab in head.aggregations:
            nn.init.normal_(sab.scores.weight, std=3)
        assert torch.allclose(head(features).logits, before) is same


# Table VIII


@pytest.mark.parametrize(("option", "count"), [("fpn", 54_324_219), ("agln", 61_707_399), ("agln_lite", 55_739_655)])
def test_it_has_the_parameters_of_table_viii(option, count):
    """54.32 M, 61.71 M and 55.74 M: ResNet-101 with the deep stem, 59 classes, each as its file says."""
    node = compose([f"head={option}", "width=null"]).head
    settings = {key: value for key, value in node.items() if key != "_target_" and value is not None}
    with torch.device("meta"):
        network = create_model(option.partition("_")[0], backbone="resnet101s", num_classes=59, **settings)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


# what is seen inside


def heard_by(name, batch=1):
    head = opened(variant(name)).eval()
    with record_attention(head) as heard:
        head(inputs(batch))
    return head, heard


@every_variant
def test_taps_are_shares_and_maps(name):
    head, heard = heard_by(name, batch=2)
    assert all(len(entries) == 1 for entries in heard.values())
    heard = {tap: entries[0] for tap, entries in heard.items()}
    count = head.aggregations[0].num_descriptors
    for index in range(len(head.aggregations)):
        gather = heard.pop(f"aggregations.{index}.gather")
        assert gather.shape == (2, count, *SIZES[3 - index])
        torch.testing.assert_close(gather.sum((2, 3)), torch.ones(2, count))
    for stage, size in enumerate(SIZES[2::-1]):
        for index, block in enumerate(head.stages[stage]):
            place = f"stages.{stage}.{index}"
            distribute = heard.pop(f"{place}.distribution.distribute")
            assert distribute.shape == (2, count, *size)
            torch.testing.assert_close(distribute.sum(1), torch.ones(2, *size))
            decoder, enhanced = (heard.pop(f"{place}.{tap}") for tap in ("before", "after"))
            assert decoder.shape == enhanced.shape == (2, C, *size)
            assert not torch.equal(decoder, enhanced)
            before, after = (heard.pop(f"{place}.refinement.{tap}") for tap in ("before", "after"))
            assert before.shape == after.shape == (2, C, *size)
            refined = before
            if block.refinement.resample is not None:
                relation = heard.pop(f"{place}.refinement.resample.relation")
                assert relation.shape == (2, C, C)
                torch.testing.assert_close(relation.sum(-1), torch.ones(2, C))
                refined = torch.einsum("bij,bjhw->bihw", relation, before)
            if block.refinement.gate is not None:
                gate = heard.pop(f"{place}.refinement.gate.spatial")
                assert ((gate > 0) & (gate < 1)).all()
                refined = refined * gate
            torch.testing.assert_close(after, refined)
            assert (after >= 0).all()
    assert not heard


@every_variant
def test_context_is_where_descriptors_were_gathered(name):
    head, heard = heard_by(name)
    row, column = 3, 4
    found = head.context(heard, (row, column), SIZES[0])
    assert list(found) == ["context", "context_2", "context_3"][: len(head.aggregations)]
    for index, values in enumerate(found.values()):
        (gather,), (distribute,) = (
            heard[tap] for tap in (f"aggregations.{index}.gather", f"stages.2.{index}.distribution.distribute")
        )
        expected = sum(share * where for share, where in zip(distribute[0, :, row, column], gather[0], strict=True))
        torch.testing.assert_close(values, expected)
        torch.testing.assert_close(values.sum(), torch.tensor(1.0))
    other = head.context(heard, (0, 0), SIZES[0])["context"]
    assert torch.equal(other, found["context"]) == (head.aggregations[0].num_descriptors == 1)


def test_what_is_inside():
    head, heard = heard_by("dense")
    inside = head.inside(heard, SIZES[0])
    assert {name: tuple(shown.values.shape) for name, shown in inside.items()} == {
        "gather": (N, *SIZES[3]),
        "distribute": (N, *SIZES[0]),
        "decoder_before": (C, *SIZES[0]),
        "decoder_after": (C, *SIZES[0]),
        "gate": (C, *SIZES[0]),
        "encoder_before": (C, *SIZES[0]),
        "encoder_after": (C, *SIZES[0]),
    }
    assert torch.equal(inside["encoder_before"].values, heard["stages.2.0.refinement.before"][0][0])
    for name in ("gather", "distribute"):  # the same descriptors in both
        assert torch.equal(inside[name].peaks, inside["distribute"].values.amax((1, 2)))
    alike = {name for name, shown in inside.items() if (shown.white, shown.chosen) == ("each", "even")}
    assert alike == {"decoder_before", "decoder_after", "encoder_before", "encoder_after"}
    head, heard = heard_by("minus")
    inside = head.inside(heard, SIZES[0])
    assert "gate" not in inside
    assert torch.equal(inside["encoder_before"].values, inside["encoder_after"].values)


# every combination has gradients; what is refused


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("gathering", ["attention", "gap"])
def test_no_parameter_is_dead(gathering, dense):
    """As they start, hence with alpha at 0: DDP stops at a parameter without a gradient."""
    switches = itertools.product((True, False), (True, False), (None, 0.0), (None, 0.0))
    for resampling, gating, alpha, beta in switches:
        head = AGLNHead(
            WIDTHS[1:],
            K,
            channels=C,
            num_descriptors=N,
            gathering=gathering,
            channel_resampling=resampling,
            spatial_gating=gating,
            alpha=alpha,
            beta=beta,
            dense=dense,
        )
        head(inputs(maps=3)).logits.square().sum().backward()
        assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gathering": "mean"}, "head.gathering=mean: choose attention or gap"),
        ({"lateral_kernel": 2}, "head.lateral_kernel=2: give an odd number"),
        ({"in_channels": (8,)}, "needs two maps or more and gets 1; use neck=none"),
    ],
)
def test_what_it_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AGLNHead(**{"in_channels": WIDTHS, "num_classes": K} | settings)
