"""OCR and its variants: the equations pixel by pixel, the coarse-to-fine schemes, the parameters of its tables."""

import inspect
from functools import cache

import pytest
import slow
import torch
from torch import nn
from torch.nn import functional as F

from contextseg.backbones.timm_features import TimmBackbone
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import record_attention
from contextseg.heads.danet import DANetHead
from contextseg.heads.double_attention import DoubleAttentionHead
from contextseg.heads.fcn import FCNHead
from contextseg.heads.label_ensemble import LabelEnsembleHead
from contextseg.heads.label_refinement import LabelRefinementHead
from contextseg.heads.ocr import OCRHead
from contextseg.heads.ocr_ground_truth import OCRGroundTruthHead
from contextseg.layers.resize import resize

K = 5
RELATIONS = ("ocr", "double_attention", "acf")
VARIANTS = {
    "ocr": (OCRHead, {}),
    "many_regions": (OCRHead, {"region_supervision": False, "regions": 7}),
    "da_scheme": (OCRHead, {"relation": "double_attention"}),
    "acf_scheme": (OCRHead, {"relation": "acf"}),
    "aspp": (OCRHead, {"aspp_rates": (1, 2)}),
    "one_map": (OCRHead, {"region_source": -1}),
    "ground_truth": (OCRGroundTruthHead, {}),
}


def variant(name, classes=K):
    kind, settings = VARIANTS[name]
    return kind([6, 7], classes, channels=8, **settings)


def inputs(head, batch=2, size=(3, 4), dtype=torch.float32):
    """Two maps of one size, and for an oracle a mask of 8 times that size with void in it."""
    features = [torch.randn(batch, c, *size, dtype=dtype, requires_grad=True) for c in (6, 7)]
    mask = torch.randint(0, K, (batch, *(8 * length for length in size)), dtype=torch.uint8)
    mask[:, :8, :8] = 255
    return (features, mask) if head.needs_mask else (features,)


def pixels(x):
    return [(i, j) for i in range(x.shape[-2]) for j in range(x.shape[-1])]


# the equations, one image, one pixel and one region at a time


def slow_classes(head, x, regions, relation):
    """Eq. 3 and 6 for one image: x (C, h, w), K vectors, relation[i, j][k] -> logits (K, h, w)."""
    values = [slow.block(head.attention.delta, f) for f in regions]
    logits = torch.zeros(head.classifier.out_channels, *x.shape[-2:], dtype=x.dtype)
    for i, j in pixels(x):
        y = slow.block(head.attention.rho, sum(w * v for w, v in zip(relation[i, j], values, strict=True)))
        z = slow.block(head.fuse, torch.cat([x[:, i, j], y]))
        logits[:, i, j] = slow.linear(head.classifier, z)
    return logits


def slow_relation(head, coarse, x, regions):
    """Eq. 5, or what stands in its place: the relation of each pixel, a list of K numbers."""
    attention, relation = head.attention, {}
    for i, j in pixels(x):
        if hasattr(attention, "phi"):
            query = slow.block(attention.phi, x[:, i, j])
            scores = [query @ slow.block(attention.psi, f) for f in regions]
        elif hasattr(attention, "scores"):
            scores = list(slow.linear(attention.scores, x[:, i, j]))
        else:
            scores = list(coarse[:, i, j])
        relation[i, j] = slow.softmax(scores)
    return relation


def slow_ocr(head, features):
    outputs = []
    for coarse, x in zip(head.coarse(features[head.region_source]), head.reduce(features[-1]), strict=True):
        regions = []
        for scores in coarse:  # Eq. 4
            weights = slow.softmax([scores[i, j] for i, j in pixels(x)])
            regions.append(sum(m * x[:, i, j] for m, (i, j) in zip(weights, pixels(x), strict=True)))
        outputs.append(slow_classes(head, x, regions, slow_relation(head, coarse, x, regions)))
    return torch.stack(outputs)


@pytest.mark.parametrize("name", ["ocr", "many_regions", "da_scheme", "acf_scheme", "aspp", "one_map"])
def test_ocr_is_its_equations(name):
    head = slow.prepare(variant(name))
    (features,) = inputs(head, dtype=torch.float64)
    slow.assert_same(head(features).logits, slow_ocr(head, features), [*features, *head.parameters()])


@pytest.mark.parametrize("align_corners", [False, True])
def test_coarse_maps_of_another_size_are_resized_as_the_option_says(align_corners):
    head = OCRHead([6, 7], K, channels=8, align_corners=align_corners).eval()
    with record_attention(head) as maps:
        coarse = head([torch.randn(2, 6, 6, 9), torch.randn(2, 7, 4, 5)]).extras["aux_logits"]
    resized = F.interpolate(coarse, (4, 5), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(maps["regions"][0], resized.flatten(2).softmax(-1))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_rho_before_the_sum_trains_as_rho_after_it(memory_format):
    """Batch statistics and their running means too: the paper applies rho to every pixel, the code to K vectors."""
    block = slow.prepare(variant("ocr")).attention.train()
    features, vectors = (torch.randn(2, 8, *size, dtype=torch.float64) for size in ((3, 4), (K,)))
    features = features.to(memory_format=memory_format)
    before = {key: value.clone() for key, value in block.state_dict().items()}
    fast, after = block(features, vectors), {key: value.clone() for key, value in block.state_dict().items()}
    block.load_state_dict(before)
    relation = block.relation(features, vectors, None)
    assert fast.is_contiguous(memory_format=memory_format)
    summed = block.delta(vectors[..., None]).flatten(2) @ relation.mT  # (B, C', hw)
    torch.testing.assert_close(fast, block.rho(summed.unflatten(-1, (3, 4))), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after, dict(block.state_dict()), rtol=1e-5, atol=1e-6)


def slow_oracle(head, features, mask):
    outputs = []
    for x, labels in zip(head.reduce(features[-1]), mask[:, 4::8, 4::8], strict=True):  # the label nearest to a pixel
        regions, relation = [], {(i, j): [float(labels[i, j] == k) for k in range(K)] for i, j in pixels(x)}
        for k in range(K):
            members = [x[:, i, j] for i, j in pixels(x) if labels[i, j] == k]
            regions.append(sum(members) / len(members) if members else torch.zeros_like(x[:, 0, 0]))
        outputs.append(slow_classes(head, x, regions, relation))
    return torch.stack(outputs)


def test_the_oracle_is_section_3_4():
    head = slow.prepare(variant("ground_truth"))
    features, mask = inputs(head, dtype=torch.float64)
    mask[0][mask[0] == 3] = 2  # a class that is absent
    leaves = [features[-1], *head.parameters()]
    slow.assert_same(head(features, mask).logits, slow_oracle(head, features, mask), leaves)


def test_the_oracle_takes_the_nearest_label_of_any_mask():
    mask = torch.randint(0, K, (1, 37, 50), dtype=torch.uint8)
    maps = variant("ground_truth").membership(mask, (5, 7))
    for i in range(5):
        for j in range(7):
            label = mask[0, int((i + 0.5) * 37 / 5), int((j + 0.5) * 50 / 7)]
            assert maps[0, :, i, j].tolist() == [float(k == label) for k in range(K)]


def test_an_oracle_of_void_alone_has_no_context():
    head = variant("ground_truth").eval()
    features, mask = inputs(head)
    with record_attention(head) as heard:
        logits = head(features, torch.full_like(mask, 255)).logits
    assert torch.isfinite(logits).all()
    assert not any(entry.any() for entries in heard.values() for entry in entries)


# Table 6: the coarse-to-fine schemes against the baseline


def fcn_with(head):
    """The FCN baseline with the weights of a head, by name; channels that it does not have are left out."""
    fcn = FCNHead([6, 7], K, channels=8).eval()
    weights = {key: value for key, value in head.state_dict().items() if not key.startswith("coarse")}
    fcn.load_state_dict(weights | {"reduce.0.weight": weights["reduce.0.weight"][:, :7]})
    return fcn


def test_the_ensemble_is_a_weighted_sum():
    head = LabelEnsembleHead([6, 7], K, channels=8, coarse_weight=0.3).eval()
    features = [torch.randn(2, 6, 6, 8), torch.randn(2, 7, 3, 4)]
    output = head(features)
    expected = fcn_with(head)(features).logits + 0.3 * resize(head.coarse(features[0]), (3, 4))
    torch.testing.assert_close(output.logits, expected)
    assert output.extras["aux_logits"].shape == (2, K, 6, 8)


def test_refinement_classifies_features_and_coarse_maps_together():
    head = LabelRefinementHead([6, 7], K, channels=8).eval()
    features = [torch.randn(2, 6, 6, 8), torch.randn(2, 7, 3, 4)]
    alone = fcn_with(head)(features).logits
    assert not torch.allclose(head(features).logits, alone)
    head.reduce[0].weight.data[:, 7:] = 0  # deaf to the coarse maps
    torch.testing.assert_close(head(features).logits, alone)


# what there is to see, and what is refused


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_maps_of_ocr_are_shares_and_tell_where_context_is_from(relation):
    head = OCRHead([6, 7], K, channels=8, relation=relation).eval()
    (features,) = inputs(head, batch=1)
    with record_attention(head) as heard:
        head(features)
    (regions,), (pixel_region,) = heard["regions"], heard["attention.pixel_region"]
    assert (regions.shape, pixel_region.shape) == ((1, K, 12), (1, 12, K))
    for rows in (regions, pixel_region):
        torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
    context = head.context(heard, (2, 1), (3, 4))["context"]
    expected = sum(pixel_region[0, 2 * 4 + 1, k] * regions[0, k].view(3, 4) for k in range(K))
    torch.testing.assert_close(context, expected)


def test_an_unknown_relation_is_refused():
    with pytest.raises(ConfigError, match=r"head\.relation=da.*double_attention"):
        OCRHead([6, 7], K, relation="da")


def test_a_number_of_regions_that_cannot_be_supervised_is_refused():
    with pytest.raises(ConfigError, match=r"head\.regions=7 have no labels: give head\.region_supervision=false"):
        OCRHead([6, 7], K, regions=7)


@pytest.mark.parametrize("relation", RELATIONS)
def test_more_regions_than_classes(relation):
    head = OCRHead([6, 7], K, channels=8, relation=relation, region_supervision=False, regions=9).eval()
    (features,) = inputs(head, batch=1)
    with record_attention(head) as heard:
        output = head(features)
    assert output.logits.shape == (1, K, 3, 4)
    assert (heard["regions"][0].shape, heard["attention.pixel_region"][0].shape) == ((1, 9, 12), (1, 12, 9))


@pytest.mark.parametrize("supervised", [True, False])
def test_regions_are_shown_as_classes_if_they_are_supervised(supervised):
    head = OCRHead([6, 7], K, channels=8, region_supervision=supervised).eval()
    (features,) = inputs(head, batch=1)
    with record_attention(head) as heard:
        head(features)
    inside = head.inside(heard, (3, 4))
    assert {name: (tuple(shown.values.shape), shown.by_class) for name, shown in inside.items()} == {
        "regions": ((K, 3, 4), supervised),
        "relations": ((K, 3, 4), supervised),
    }
    torch.testing.assert_close(inside["relations"].values[:, 2, 1], heard["attention.pixel_region"][0][0, 2 * 4 + 1])


def test_without_supervision_the_auxiliary_loss_goes_to_stage_3():
    """Table 1: it no longer reaches the coarse classifier, which learns from the main loss alone."""
    for supervised in (True, False):
        cfg = compose(["head=ocr", f"head.region_supervision={supervised}", "width=16"])
        network, _ = build.network(cfg, build.datamodule(cfg).classes)
        output = network.train()(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
        coarse = network.head.coarse.weight
        (by_aux,) = torch.autograd.grad(output.extras["aux_logits"].sum(), coarse, retain_graph=True, allow_unused=True)
        (by_main,) = torch.autograd.grad(output.logits.square().sum(), coarse)
        assert (by_aux is not None) == supervised == (network.aux_head is None) == bool(network.head.emits)
        assert by_main.any()


# parameters, on the meta device


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def built(kind, in_channels=(256, 512, 1024, 2048), classes=19, **settings):
    with torch.device("meta"):
        return kind(in_channels, classes, **settings)


@cache
def built_backbone(name):
    with torch.device("meta"):
        return TimmBackbone(name)


def without_classifiers(head):
    return count(head) - sum(count(part) for name, part in head.named_children() if name in ("classifier", "coarse"))


def test_parameters_of_table_4():
    """With the 3x3 convolution, without classifiers; theirs have a bias in each convolution before a batch norm."""
    ocr = built(OCRHead)
    biases = 512 + 3 * 256 + 512 + 512  # 3x3; phi, psi, delta; rho; g
    assert without_classifiers(ocr) == 10_490_368 == 10_492_672 - biases
    assert without_classifiers(built(OCRHead, relation="double_attention")) == 10_490_368 - 2 * 131_584 + 513 * 19
    assert without_classifiers(built(OCRHead, relation="acf")) == 10_490_368 - 2 * (512 * 256 + 512)
    assert without_classifiers(built(DANetHead)) == 23_925_378
    assert without_classifiers(built(DANetHead, slim=True)) == 10_553_986 == 10_555_010 - (512 + 512)
    double = built(DoubleAttentionHead)
    biases = 512 + 64 + 256 + 512 + 512  # 3x3; gather; down; up; g
    norms = 2 * 2 * 64  # what is left over: as much as batch norms on the gather and distribute maps
    assert without_classifiers(double) == 10_291_264 == 10_293_376 - biases - norms
    assert without_classifiers(built(DoubleAttentionHead, regions=8)) == 10_291_264 - 56 * (512 + 512 + 1)


@pytest.mark.parametrize("classes", [19, 59, 150])
def test_parameters_of_whole_networks(classes):
    """Against the counts of complexity.md for deeper coarse heads: 3x3 1024 -> 512, on HRNet 1x1 720 -> 720."""
    resnet, hrnet = built_backbone("resnet101"), built_backbone("hrnet_w48")
    extra = classes - 19
    whole = count(resnet) + count(built(OCRHead, resnet.channels, classes))
    deeper_coarse = 9 * 1024 * 512 + 512 + 1024 + (512 - 1024) * classes
    assert count(resnet) == 42_500_160
    assert whole == 57_856_230 + 1026 * extra - 123_776 - deeper_coarse - (512 + 3 * 256 + 512 + 512)
    whole = count(hrnet) + count(built(OCRHead, (720,), classes))
    second_layers, coarse, bias = 2 * (256 * 256 + 512), 720 * 720 + 720 + 2 * 720, 512  # of phi and psi; 1x1; 3x3
    assert count(hrnet) == 65_325_120
    assert whole == 70_372_678 + 1234 * extra - second_layers - coarse - bias


def test_defaults_are_the_papers():
    settings = {name: p.default for name, p in inspect.signature(OCRHead).parameters.items()}
    assert (settings["channels"], settings["relation"], settings["region_supervision"]) == (512, "ocr", True)
    head = built(OCRHead)
    assert isinstance(head.coarse, nn.Conv2d)
    assert (head.coarse.in_channels, head.attention.phi[0].out_channels) == (1024, 256)
    assert inspect.signature(DoubleAttentionHead).parameters["regions"].default == 64
