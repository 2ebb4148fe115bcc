"""Every timm backbone takes images of any size: as they are, padded, or in windows of the size that it is tied to."""

from pathlib import Path

import pytest
import torch
from selected import quick
from torch import nn

from contextseg.backbones import image_sizes
from contextseg.backbones.image_sizes import built_for, covering, fit
from contextseg.backbones.plain_vit import is_plain
from contextseg.backbones.timm_features import TimmBackbone
from contextseg.classes import class_set
from contextseg.commands.complexity import backbones
from contextseg.commands.complexity.backbones import FAMILIES
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.explain import context_maps
from contextseg.heads.ccnet import CCNetHead
from contextseg.heads.fcn import FCNHead
from contextseg.inference import MultiScale, SlidingWindow, WholeImage
from contextseg.layers.resize import resize
from contextseg.necks.none import NoNeck
from contextseg.necks.sfp import SimpleFeaturePyramid
from contextseg.segmenter import Segmenter

MECHANISMS = ("test_vit", "vit_tiny_patch16_dinov3_qkvb", "convnext_atto", "hiera_tiny_224")
WINDOW = (101, 77)  # of those that are tied to one size


def backbone(model, **settings):
    found = fit(model)
    if found.tied:
        settings = {"window": WINDOW} | settings
    return TimmBackbone(model, output_stride=32, **settings)


@pytest.mark.parametrize("model", quick(FAMILIES, MECHANISMS))
def test_every_family_takes_odd_sizes(model):
    """Maps are of ceil(side / stride) places, finite; every parameter learns."""
    body = backbone(model)
    patch = 14 if "patch14" in model else 16
    assert body.strides == ((patch,) * 4 if is_plain(model) else (4, 8, 16, 32))
    for height, width in [body.window] if body.window else [(65, 97), (47, 30)]:
        maps = body(torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8))
        for x, channels, stride in zip(maps, body.channels, body.strides, strict=True):
            assert x.shape[:2] == (2, channels)
            for places, side in zip(x.shape[-2:], (height, width), strict=True):
                assert places == -(-side // stride), (x.shape, stride)
            assert x.isfinite().all()
    sum(x.sum() for x in maps).backward()
    assert [name for name, parameter in body.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("model", quick(FAMILIES, ["test_vit"]))
def test_every_family_is_trained_evaluated_and_asked_at_an_odd_size(model):
    """As a whole and in windows; attention maps are those of the image, or zero outside the window."""
    body = backbone(model)
    neck = SimpleFeaturePyramid(body.channels, body.strides, channels=8) if body.strides[0] == 16 else None
    neck = neck or NoNeck(body.channels, body.strides)
    head = CCNetHead(neck.channels, 11, channels=8)
    network = Segmenter(body, neck, head, classes=class_set("camvid"))
    height, width = body.window or (75, 101)
    image = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    logits = resize(network(image).logits, (height, width))
    nn.functional.cross_entropy(logits, image[:, 0].long() % 11).backward()
    optimizer.step()
    assert any(not torch.equal(x, y) for x, y in zip(before, network.parameters(), strict=True))
    network.eval()
    larger = torch.randint(0, 256, (3, 115, 90), dtype=torch.uint8)
    assert network.predict(larger).shape == (115, 90)
    sliding = network.adapted(SlidingWindow(body.window or (64, 64), pad=True))
    assert sliding(network.logits, larger[None]).shape == (1, 115, 90)
    maps = context_maps(network, larger, (70, 100))
    assert len(maps) > 1
    for x in maps.values():
        assert x.isfinite().all()
        assert x.any()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(360, 480), (375, 501), (769, 769)])
@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_passes_the_trial_at_sizes_of_data_sets(model, size):
    """By shapes alone, as a training does before its first step: as the crop of a tied model, else as the image."""
    window = {}
    if fit(model).tied:
        window = {"window": (224, 224) if fit(model).tied == "fixed" else size}
        size = window["window"]
    build.try_out(segmenter(TimmBackbone(model, output_stride=32, **window)), size)


def segmenter(body):
    return Segmenter(
        body, NoNeck(body.channels, body.strides), FCNHead(body.channels, 11, channels=8), classes=class_set("camvid")
    )


# Padding


def slow_covering(x, stride, height, width):
    """(C, h, w) of a padded image -> (C, ceil(H / s), ceil(W / s)): each place takes what is at its middle."""
    rows, columns = -(-height // stride), -(-width // stride)
    out = torch.zeros(len(x), rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            place = []
            for index, count, side in ((i, rows, height), (j, columns, width)):
                middle = (index + 0.5) * side / count  # in pixels of the image
                at = max(middle / stride - 0.5, 0)  # in places of the padded map
                low = int(at)
                place.append((low, min(low + 1, count - 1), at - low))
            (top, bottom, s), (left, right, t) = place
            upper = (1 - t) * x[:, top, left] + t * x[:, top, right]
            lower = (1 - t) * x[:, bottom, left] + t * x[:, bottom, right]
            out[:, i, j] = (1 - s) * upper + s * lower
    return out


@pytest.mark.parametrize(("height", "width"), [(80, 96), (64, 48), (65, 48), (63, 79), (5, 31), (17, 80)])
def test_a_covering_map_divides_the_image_evenly(height, width):
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    found = covering(x, 16, height, width)
    expected = torch.stack([slow_covering(one, 16, height, width) for one in x])
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_a_position_in_the_image_stays_where_it_is():
    """A map that holds the row of its places, in pixels, says the middle of the place of the image."""
    rows = (torch.arange(24.0) * 16 + 8).view(1, 1, 24, 1).expand(1, 1, 24, 24)
    found = covering(rows, 16, 375, 384)
    expected = (torch.arange(24.0) + 0.5) * 375 / 24
    torch.testing.assert_close(found[0, 0, 1:, 0], expected[1:])  # nothing is before the first


def test_an_image_is_padded_with_the_mean_colour_below_and_to_the_right():
    body = TimmBackbone("test_vit", output_stride=32).eval()
    seen = []
    body.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.randint(0, 256, (1, 3, 37, 50), dtype=torch.uint8)
    with torch.no_grad():
        maps = body(image)
        (padded,) = seen
        assert padded.shape == (1, 3, 48, 64)
        torch.testing.assert_close(padded[..., :37, :50], (image - body.mean) / body.std)
        assert not padded[..., 37:, :].any()
        assert not padded[..., 50:].any()
        for x, whole in zip(maps, body.network(padded), strict=True):
            torch.testing.assert_close(x, covering(whole, 16, 37, 50))


# Models tied to one size


@pytest.mark.parametrize(
    ("model", "window", "built"),
    [
        ("hiera_tiny_224", (101, 77), (128, 96)),
        ("mvitv2_tiny", (101, 77), (128, 128)),
        ("efficientformer_l1", (101, 77), (224, 224)),
        ("coatnet_0_rw_224", None, (224, 224)),
    ],
)
def test_what_a_tied_model_is_built_for(model, window, built):
    assert built_for(model, window, (224, 224)) == (window or (224, 224), built)


def test_a_window_of_a_model_that_takes_any_size_is_refused():
    with pytest.raises(ConfigError, match=r"backbone\.window=\[64, 64\]: test_vit takes images of any size"):
        TimmBackbone("test_vit", output_stride=32, window=(64, 64))


def test_a_window_that_cannot_be_built_is_refused():
    with pytest.raises(ConfigError, match=r"backbone\.window=\[256,256\]: efficientformer_l1 takes .* up to 224x224"):
        TimmBackbone("efficientformer_l1", output_stride=32, window=(256, 256))


def test_a_tied_network_is_shown_windows():
    network = segmenter(TimmBackbone("efficientformerv2_s0", output_stride=32, window=(40, 56))).eval()
    assert network.window == (40, 56)
    image = torch.randint(0, 256, (3, 61, 50), dtype=torch.uint8)
    found = network.predict(image, probabilities=True)
    expected = SlidingWindow((40, 56), pad=True).filling(network.fill).probabilities(network.logits, image[None])[0]
    torch.testing.assert_close(found, expected.to(found.dtype))
    with pytest.raises(ConfigError, match=r"efficientformerv2_s0: built for images of 64x64, got 80x56; .* windows"):
        network.backbone(torch.zeros(1, 3, 80, 56, dtype=torch.uint8))


def test_a_configuration_ties_the_model_to_the_training_crop():
    words = ["head=fcn", "width=8", "backbone=timm", "backbone.output_stride=32", "data.size=90"]
    cfg = compose([*words, "backbone.model=efficientformerv2_s0"])
    classes = build.datamodule(cfg).classes
    network, recipe = build.network(cfg, classes)
    assert recipe["backbone"]["window"] == [90, 90]
    assert network.window == (90, 90)
    assert build.sizes_shown(build.predictor(cfg.eval, network), (120, 120)) == [(90, 90)]
    free = build.recipe(compose([*words, "backbone.model=test_vit"]), classes)
    assert free["backbone"]["window"] is None


# What is refused


def test_one_that_resizes_images_itself_is_refused():
    with pytest.raises(ConfigError, match="so it resizes images itself"):
        build.try_out(segmenter(TimmBackbone("crossvit_9_240", output_stride=32)), (360, 480))


@pytest.mark.parametrize("model", ["nest_tiny", "levit_128s"])
def test_one_without_four_maps_is_refused(model):
    with pytest.raises(ConfigError, match=model):
        TimmBackbone(model, output_stride=32)


def test_one_that_is_not_known_to_be_tied_is_refused_by_its_name(monkeypatch):
    """A model of a later timm, say: it is tried before a training, and refused at another size."""
    monkeypatch.setattr(image_sizes, "FITS", {})
    network = segmenter(TimmBackbone("test_vit", output_stride=32))
    network.backbone.network.model.dynamic_img_size = False
    network.backbone.divisor = 1
    for refused in (build.try_out, lambda network, size: network.predict(torch.zeros(3, *size, dtype=torch.uint8))):
        with pytest.raises(ConfigError, match=r"backbone\.model=test_vit: it takes no images of 200x160"):
            refused(network, (200, 160))


def test_an_error_of_another_kind_stays():
    body = TimmBackbone("resnet18", output_stride=32)
    body.network.conv1.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of luck")))
    body.takes = lambda image: True
    with pytest.raises(RuntimeError, match="out of luck"):
        body(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_the_sizes_that_a_network_is_shown():
    assert build.sizes_shown(WholeImage(), (37, 50)) == [(37, 50)]
    assert build.sizes_shown(SlidingWindow(32), (37, 50)) == [(32, 32)]
    assert build.sizes_shown(MultiScale(scales=(0.5, 1.0), flip=True), (40, 50)) == [(20, 25), (40, 50)]


def test_the_page_has_a_row_of_every_family():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text()
    for model, family in FAMILIES.items():
        assert f"| {family} | `{model}` |" in page
    row, written = backbones.row("test_vit"), page.partition("| ViT, of timm's tests | ")[2].partition("\n")[0]
    assert written.split(" | ")[:-1] == row[1:-1]  # but for the seconds
