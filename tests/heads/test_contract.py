"""What every head promises, under every setting of `head_variants`. The equations of each have a file of their own."""

import pytest
import torch
from head_variants import ALL, CHANNELS, HEADS, PLAIN, SIZE_OF, SIZES, VARIANTS, K, inputs, opened, tensors
from selected import quick
from slow import prepare
from torch.testing import assert_close

from contextseg.contract import KNOWN_EXTRAS, SegOutput
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.layers.attention import QueryKey
from contextseg.layers.attention_tap import AttentionTap

every_variant = pytest.mark.parametrize("variant", ALL, ids=str)
every_head = pytest.mark.parametrize("variant", PLAIN, ids=str)
every_other = pytest.mark.parametrize("variant", [variant for variant in ALL if variant not in PLAIN], ids=str)


def test_every_head_is_held_to_the_contract():
    assert [variant.head for variant in PLAIN] == [*HEADS]
    assert VARIANTS.keys() | SIZE_OF.keys() <= HEADS.keys()
    assert len({str(variant) for variant in ALL}) == len(ALL)


def shape_of(name, head, logits):
    """The shape of an extra."""
    batch, _, height, width = logits.shape
    if name == "aux_logits":
        return (batch, K, *SIZES[0 if type(head).__name__ == "CE2PHead" else getattr(head, "region_source", -2)])
    if name == "embedding":
        return (batch, 16, *SIZES[-1])
    if name == "edge_logits":
        return (batch, 2, height, width)
    if name == "region_logits":
        return (batch, K, *SIZES[-2])
    if name.endswith("class_probability"):
        return (batch, K)
    return {"prior_logits": (batch, height * width, height * width)}[name]


@every_variant
def test_output(variant):
    """The same in training and in evaluation: logits of the size of a map, the extras that this instance emits."""
    head = variant.build()
    given = inputs(head)
    for mode in (True, False):
        output = head.train(mode)(*given)
        assert type(output) is SegOutput
        assert output.logits.shape == (2, K, *SIZES[variant.size])
        assert set(output.extras) == head.emits <= head.can_emit <= KNOWN_EXTRAS
        for name, extra in output.extras.items():
            assert extra.shape == shape_of(name, head, output.logits), name
        assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tensors(output))


@every_variant
def test_images_of_a_batch_do_not_mix_in_evaluation(variant):
    head = prepare(variant.build())
    maps, *mask = inputs(head, dtype=torch.float64)
    both = tensors(head(maps, *mask))
    alone = tensors(head([x[head.frames :] for x in maps], *(x[1:] for x in mask)))
    for found, expected in zip(alone, both, strict=True):
        assert_close(found, expected[1:], rtol=1e-5, atol=1e-6)  # our softmax is float32
    assert not torch.allclose(both[0][0], both[0][1])


@every_variant
def test_one_image_of_any_size(variant):
    for sizes, classes in (
        (((1, 1), (1, 1), (1, 1)), K),
        (((4, 9), (2, 5), (1, 6)), 1),
        (((12, 13), (9, 7), (7, 5)), K),
    ):
        crop = {"crop_size": [8 * side for side in sizes[-1]]} if variant.head == "cpnet" else {}
        head = variant.build(classes, **crop).eval()
        output = head(*inputs(head, batch=1, sizes=sizes, classes=classes))
        assert output.logits.shape == (1, classes, *sizes[variant.size])
        assert all(tensor.isfinite().all() for tensor in tensors(output)), sizes


@every_head
def test_a_head_takes_the_last_of_any_number_of_maps(variant):
    """Coarser ones come last; a head that needs two refuses one."""
    channels, sizes = (2, 3, 4, *CHANNELS), ((20, 21), (18, 20), (16, 18), *SIZES)
    for count in (2, 4, 5):
        head = variant.build(channels=channels[-count:]).eval()
        logits = head(*inputs(head, channels=channels[-count:], sizes=sizes[-count:])).logits
        place = -min(count, 4) if variant.size == 0 else -1  # pyramids use four at most
        assert logits.shape == (2, K, *sizes[-count:][place])
    if variant.head in ("agln", "fpn", "label_ensemble", "label_refinement"):
        with pytest.raises((ConfigError, IndexError)):
            variant.build(channels=CHANNELS[-1:])
    else:
        head = variant.build(channels=CHANNELS[-1:]).eval()
        assert head(*inputs(head, channels=CHANNELS[-1:], sizes=SIZES[-1:])).logits.shape == (2, K, *SIZES[-1])


@every_variant
def test_every_parameter_learns(variant):
    """As it starts, so that DDP, which stops at a parameter without a gradient, trains it; and as it is later on."""
    head = variant.build().train()
    sum(tensor.square().sum() for tensor in tensors(head(*inputs(head)))).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    head = opened(prepare(variant.build()))
    outputs = tensors(head(*inputs(head, dtype=torch.float64)))
    head.zero_grad()
    sum((tensor * torch.randn_like(tensor)).sum() for tensor in outputs).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.abs().max() > 1e-12 or variant.idle(name), name


@pytest.mark.parametrize("variant", quick(ALL, map(str, PLAIN)), ids=str)
def test_half_precision_stays_near(variant):
    """bfloat16 rounds by up to 2^-8 = 0.4 %; ten layers that each do so stay within 5 % of the norm."""
    head = opened(variant.build()).eval()
    given = inputs(head)
    exact = tensors(head(*given))
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            output = head(*given)
        assert output.logits.dtype == dtype
        for found, expected in zip(tensors(output), exact, strict=True):
            assert (found.float() - expected).norm() < 0.05 * expected.norm(), dtype
        head.zero_grad()
        sum(tensor.float().square().sum() for tensor in tensors(output)).backward()
        assert all(parameter.grad.isfinite().all() for parameter in head.parameters()), dtype


@every_variant
def test_recording_changes_nothing(variant):
    """Who listens at a tap takes the head off no fused path, and the map that it hears of is finite."""
    head = opened(prepare(variant.build()))
    given = inputs(head, dtype=torch.float64)
    taps = [part for part in head.modules() if isinstance(part, AttentionTap)]
    if not taps:
        with pytest.raises(ValueError, match="no AttentionTap"), record_attention(head):
            pass
        return
    before = head(*given)
    with record_attention(head) as heard:
        after = head(*given)
    for found, expected in zip(tensors(after), tensors(before), strict=True):
        assert_close(found, expected, rtol=1e-5, atol=1e-6)  # our softmax is float32
    for tap, entries in heard.items():
        assert entries or without_relation(variant), f"{tap} heard nothing"
        entries = [entry.weights() if isinstance(entry, QueryKey) else entry for entry in entries]
        assert all(len(entry) == 2 and entry.isfinite().all() for entry in entries), tap
        if not tap.endswith(("before", "after")):  # these are features
            assert all((entry >= 0).all() for entry in entries), tap
    assert not any(tap._forward_hooks for tap in taps)


def without_relation(variant):
    """The reference head has one tap for all mechanisms, which not all use."""
    settings = variant.settings
    related = settings.get("mechanism", "relation") == "relation" or settings == {"mechanism": "affinity"}
    return variant.head == "reference" and not related


# graphs


def with_gradient(head, given):
    """The tensors of an output, and the gradient of the last map."""
    (*finer, last), *mask = given
    last = last.clone().requires_grad_()
    found = tensors(head([*finer, last], *mask))
    sum(tensor.square().sum() for tensor in found).backward()
    return [*(tensor.detach() for tensor in found), last.grad]


def compiles(variant, backend):
    head = opened(variant.build()).eval()
    given = inputs(head)
    expected = with_gradient(head, given)
    torch._dynamo.reset()
    head.compile(backend=backend, fullgraph=True)
    assert_close(with_gradient(head, given), expected, rtol=1e-4, atol=1e-4)


def exports(variant):
    head = opened(variant.build()).eval()
    given = inputs(head)
    expected, found = head(*given), torch.export.export(head, given).module()(*given)
    assert type(found) is SegOutput
    assert found.extras.keys() == expected.extras.keys()
    assert_close(tensors(found), tensors(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", quick(PLAIN, ["ccnet", "ocr"]), ids=str)
def test_compiled_as_one_graph_it_keeps_its_numbers(variant):
    compiles(variant, "eager")


@pytest.mark.parametrize("variant", quick(PLAIN, ["ctnet", "cpnet"]), ids=str)
def test_exported_it_keeps_its_numbers(variant):
    exports(variant)


@pytest.mark.slow
@every_other
def test_every_variant_compiles_and_exports(variant):
    compiles(variant, "aot_eager")
    exports(variant)


@pytest.mark.slow
@every_head
def test_inductor_keeps_its_numbers(variant):
    compiles(variant, "inductor")
