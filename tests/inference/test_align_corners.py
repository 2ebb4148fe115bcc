"""One value says how logits are resized: in losses, in every way to predict, in heads and necks, and in checkpoints."""

import inspect

import pytest
import torch
from head_variants import ALL, HEADS, Variant, inputs
from selected import PAPERS, quick
from torch.nn import functional as F

from contextseg import create_model, parts
from contextseg import recipe as recipes
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.conf import options_of
from contextseg.contract import SegOutput
from contextseg.engine import build
from contextseg.inference import MultiScale, SlidingWindow, WholeImage
from contextseg.losses.terms import OHEM, CrossEntropy

K = 4
GIVEN = ["head=ocr", "width=8", "align_corners=true", "experiment=none"]


def corners(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def coarse(image):
    """Stands for a network at stride 4: logits (B, K, h, w) that differ everywhere."""
    small = F.avg_pool2d(image.float(), 4, ceil_mode=True).sum(1, keepdim=True)
    return torch.cat([torch.sin(small / (3 + k)) for k in range(K)], dim=1)


@pytest.fixture
def image():
    return torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8)


def test_whole_image(image):
    predictor = WholeImage()
    plain = predictor(coarse, image)
    predictor.align_corners = True
    large = corners(coarse(image), (40, 56))
    assert torch.equal(predictor(coarse, image), large.argmax(1).to(torch.uint8))
    torch.testing.assert_close(predictor.probabilities(coarse, image), large.softmax(1))
    assert not torch.equal(predictor(coarse, image), plain)


def test_windows(image):
    predictor = SlidingWindow((24, 32), stride=1.0)
    predictor.align_corners = True
    total, seen = torch.zeros(1, K, 40, 56), torch.zeros(40, 56)
    for rows in (slice(0, 24), slice(16, 40)):
        for columns in (slice(0, 32), slice(24, 56)):
            total[..., rows, columns] += corners(coarse(image[..., rows, columns]), (24, 32)).softmax(1)
            seen[rows, columns] += 1
    torch.testing.assert_close(predictor.probabilities(coarse, image), total / seen, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inner", [None, SlidingWindow(100)])
def test_scales(image, inner):
    """What a scaled view says is brought to the image in the same way, also from a window as large as the view."""
    predictor = MultiScale(inner, scales=(0.5,))
    predictor.align_corners = True
    small = corners(image.float(), (20, 28)).round().to(torch.uint8)
    logits = coarse(small)
    expected = (
        corners(logits, (40, 56)).softmax(1)
        if inner is None
        else corners(corners(logits, (20, 28)).softmax(1), (40, 56))
    )
    torch.testing.assert_close(predictor.probabilities(coarse, image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("term", [CrossEntropy(align_corners=True), OHEM(align_corners=True, threshold=1.0)])
def test_losses(term):
    logits, mask = torch.randn(2, K, 5, 6), torch.randint(0, K, (2, 33, 41), dtype=torch.uint8)
    expected = F.cross_entropy(corners(logits, (33, 41)), mask.long())
    torch.testing.assert_close(term(SegOutput(logits, {}), mask), expected)


def test_a_network_predicts_as_it_was_told(image):
    network = create_model("ocr", backbone="tiny", num_classes=K, channels=8, align_corners=True).eval()
    assert network.align_corners is network.head.align_corners is True
    labels = corners(network.logits(image), (40, 56)).argmax(1).to(torch.uint8)
    assert torch.equal(network.predict(image), labels)
    other = create_model("ocr", backbone="tiny", num_classes=K, channels=8).eval()
    assert other.align_corners is other.head.align_corners is False
    other.load_state_dict(network.state_dict())
    assert not torch.equal(other.predict(image), labels)


def test_the_value_reaches_every_part():
    cfg = compose([*GIVEN, "neck=concat", "loss=ohem+aux"])
    criterion = build.loss(cfg)
    assert all(term.align_corners for term in criterion.term.values())
    recipe = build.recipe(cfg, class_set("context_scenes"))
    network = recipes.network(recipe)
    assert all(part.align_corners for part in (network, network.neck, network.head))
    assert build.predictor(cfg.eval, network).align_corners
    assert not recipes.network({k: v for k, v in recipe.items() if k != "align_corners"}).align_corners  # an old one
    plain = compose(GIVEN[:2])
    assert not any(term.align_corners for term in build.loss(plain).term.values())
    assert not recipes.network(build.recipe(plain, class_set("context_scenes"))).align_corners


def test_a_predictor_is_adapted_and_not_changed():
    network = create_model("cpnet", backbone="tiny", num_classes=K, channels=8, crop_size=(32, 32), align_corners=True)
    given = WholeImage()
    adapted = network.adapted(given)
    assert isinstance(adapted, SlidingWindow)
    assert adapted.align_corners
    assert not given.align_corners


def resizes(monkeypatch, run):
    """The `align_corners` of every bilinear resize of more than one cell, which alone it changes."""
    seen, interpolate = [], F.interpolate

    def recorded(x, *args, mode="nearest", align_corners=None, **kwargs):
        if mode == "bilinear" and x.shape[-2:] != (1, 1):
            seen.append(align_corners)
        return interpolate(x, *args, mode=mode, align_corners=align_corners, **kwargs)

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(F, "interpolate", recorded)
        run()
    return seen


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("variant", ALL, ids=str)
def test_every_resize_of_a_head_follows_the_option(monkeypatch, variant, wanted):
    """A head that resizes has the setting, and its option passes it on."""
    has = "align_corners" in inspect.signature(HEADS[variant.head]).parameters
    settings = {name: value for name, value in variant.settings.items() if name != "align_corners"}
    head = Variant(variant.head, settings).build(**{"align_corners": wanted} if has else {}).eval()
    seen = resizes(monkeypatch, lambda: head(*inputs(head)))
    assert set(seen) <= {wanted}
    assert has or not seen


@pytest.mark.parametrize("option", quick(options_of("head"), [*PAPERS, "fpn", "psp", "deeplabv3plus"]))
def test_every_option_of_a_head_passes_it_on(option):
    head = compose([f"head={option}", "experiment=none", "align_corners=true"]).head
    if "align_corners" in inspect.signature(parts.find(head._target_, "head")).parameters:
        assert head.align_corners is True


def test_views_of_several_scales_follow_it(monkeypatch):
    predictor = MultiScale(scales=(0.5, 1.5), flip=True)
    predictor.align_corners = True
    image = torch.randint(256, (1, 3, 20, 30), dtype=torch.uint8)
    seen = resizes(monkeypatch, lambda: predictor(lambda x: x[:, :, ::4, ::4].float(), image))
    assert set(seen) == {True}
