"""Whole-image, sliding-window and multi-scale prediction, and the resize below them."""

import resource
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from contextseg import parts
from contextseg.classes import ClassSet
from contextseg.errors import ConfigError
from contextseg.inference import PAD_COLOUR, MultiScale, RandomScales, SlidingWindow, WholeImage, padded, windows
from contextseg.inference.predictor import STRIP_SCORES
from contextseg.layers.resize import resize
from contextseg.metrics import SegMetrics

K = 5


def images(batch: int = 2, height: int = 33, width: int = 47) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)


def network(*layers: nn.Module):
    """Callable on uint8 images around float layers, as a segmenter is."""
    chain = nn.Sequential(*layers).eval()
    return lambda image: chain(image.float() / 255 - 0.5)


def contextual():
    """Stride 2, a 5x5 support and zero padding: borders matter."""
    return network(nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(8, K, 1))


def pointwise():
    return network(nn.Conv2d(3, K, 1))


def constant(image):
    return torch.arange(K).float().view(1, K, 1, 1).expand(len(image), K, 4, 4)


def predictors():
    return [WholeImage(), SlidingWindow(16), SlidingWindow([9, 20], stride=0.3), SlidingWindow(1000)]


@pytest.mark.parametrize("predictor", predictors())
@pytest.mark.parametrize("size", [None, (50, 31)])
def test_constant_network_gives_a_constant_map(predictor, size):
    image = images()
    labels = predictor(constant, image, size)
    assert labels.dtype == torch.uint8
    assert labels.shape == (2, *(size or image.shape[-2:]))
    assert (labels == K - 1).all()


@pytest.mark.parametrize("predictor", predictors())
@pytest.mark.parametrize("size", [None, (50, 31)])
def test_labels_are_the_most_probable_classes(predictor, size):
    image, forward = images(), contextual()
    probabilities = predictor.probabilities(forward, image, size)
    assert probabilities.dtype == torch.float32
    assert not probabilities.requires_grad
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, *(size or image.shape[-2:])))
    assert torch.equal(predictor(forward, image, size), probabilities.argmax(1).to(torch.uint8))


def test_whole_image_is_forward_bilinear_argmax():
    image, forward = images(), contextual()
    plain = F.interpolate(forward(image), image.shape[-2:], mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(WholeImage()(forward, image), plain.to(torch.uint8))


@pytest.mark.parametrize("crop", [(33, 47), (64, 64), (33, 100)])
def test_window_as_large_as_the_image_is_the_whole_image(crop):
    image, forward = images(), contextual()
    window, whole = SlidingWindow(crop), WholeImage()
    torch.testing.assert_close(window.probabilities(forward, image), whole.probabilities(forward, image))
    assert torch.equal(window(forward, image), whole(forward, image))


@pytest.mark.parametrize("stride", [0.2, 2 / 3, 1.0])
def test_windows_change_nothing_without_context(stride):
    image, forward = images(), pointwise()
    window, whole = SlidingWindow([16, 12], stride), WholeImage()
    torch.testing.assert_close(window.probabilities(forward, image), whole.probabilities(forward, image))
    assert torch.equal(window(forward, image), whole(forward, image))


def test_windows_average_probabilities():
    image, forward = images(1, 4, 6), contextual()
    parts = [resize(forward(image[..., columns]), (4, 4)).softmax(1) for columns in (slice(0, 4), slice(2, 6))]
    average = SlidingWindow(4, stride=0.5).probabilities(forward, image)
    torch.testing.assert_close(average[..., :2], parts[0][..., :2])
    torch.testing.assert_close(average[..., 2:4], (parts[0][..., 2:] + parts[1][..., :2]) / 2)
    torch.testing.assert_close(average[..., 4:], parts[1][..., 2:])


@pytest.mark.parametrize("predictor", predictors())
def test_batch_size_does_not_matter(predictor):
    image, forward = images(3), contextual()
    single = torch.cat([predictor.probabilities(forward, one[None]) for one in image])
    torch.testing.assert_close(predictor.probabilities(forward, image), single)


@pytest.mark.parametrize("window_batch", [1, 3, 100])
def test_window_batch_bounds_every_pass(window_batch):
    image, forward, passes = images(), contextual(), []

    def watched(crops):
        passes.append(crops.shape)
        return forward(crops)

    result = SlidingWindow(16, window_batch=window_batch).probabilities(watched, image)
    assert {shape[2:] for shape in passes} == {(16, 16)}
    assert max(shape[0] for shape in passes) <= window_batch
    torch.testing.assert_close(result, SlidingWindow(16).probabilities(forward, image))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (17, 31), (100, 33)])
@pytest.mark.parametrize("crop", [(1, 1), (5, 7), (16, 16), (200, 3)])
@pytest.mark.parametrize("stride", [0.01, 0.5, 2 / 3, 1.0])
def test_windows_cover_every_pixel(size, crop, stride):
    seen = torch.zeros(size, dtype=torch.int64)
    places = windows(size, crop, stride)
    for rows, columns in places:
        part = seen[rows, columns]
        assert part.shape == (min(crop[0], size[0]), min(crop[1], size[1]))
        part += 1
    assert seen.min() >= 1
    assert len({(rows.start, columns.start) for rows, columns in places}) == len(places)


def test_windows_of_the_usual_protocol():
    rows = [rows.start for rows, _ in windows((1024, 512), (512, 512), 2 / 3)]
    assert rows == [0, 341, 512]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 0}, r"eval\.predictor\.crop=0: give a whole number, 1 or more"),
        ({"crop": [8]}, r"eval\.predictor\.crop=\[8\]: give"),
        ({"crop": 8, "stride": 0}, r"eval\.predictor\.stride=0"),
        ({"crop": 8, "stride": 1.5}, r"eval\.predictor\.stride=1\.5"),
        ({"crop": 8, "window_batch": 0}, r"eval\.predictor\.window_batch=0"),
    ],
)
def test_impossible_windows_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        parts.make({"_target_": "SlidingWindow", **settings}, "eval.predictor")


def test_resize_to_its_own_size_is_the_same_tensor():
    x = torch.randn(1, 2, 4, 4)
    assert resize(x, x.shape[-2:]) is x
    assert resize(x.bfloat16(), [8, 6]).dtype == torch.bfloat16


# Several views


TOY = {"scales": (0.5, 1.0, 1.5), "flip": True}


def several():
    windows = SlidingWindow(16, stride=0.5)
    return [
        MultiScale(),
        MultiScale(**TOY),
        MultiScale(windows, **TOY),
        MultiScale(SlidingWindow(16, pad="grid"), base_size=40, scores="exp", **TOY),
        MultiScale(base_size=20, base_side="short", **TOY),
        RandomScales(draws=3),
    ]


def plain_windows(forward, image, predictor, score):
    """Scores (1, K, h, w) of one image, window by window, at the size of the image."""
    height, width = image.shape[-2:]
    if predictor.pad:
        image = padded(image, predictor.grid((height, width)) if predictor.pad == "grid" else predictor.crop)
    total = torch.zeros(1, K, *image.shape[-2:])
    for rows, columns in windows(image.shape[-2:], predictor.crop, predictor.stride):
        crop = image[..., rows, columns]
        part = score(F.interpolate(forward(crop), crop.shape[-2:], mode="bilinear", align_corners=False))
        total[..., rows, columns] += torch.cat([part, torch.ones(1, 1, *crop.shape[-2:])], 1)[:, :K]
    seen = torch.zeros(image.shape[-2:])
    for rows, columns in windows(image.shape[-2:], predictor.crop, predictor.stride):
        seen[rows, columns] += 1
    return (total / seen)[..., :height, :width]


def plain_views(forward, image, sizes, size, inner=None, pairs=(), exp=False, logits=False):
    """The mean over sizes and mirror images, each view in full at the size of the labels."""

    def mirrored(view):
        logits = forward(view.flip(-1)).flip(-1).clone()
        for one, other in pairs:
            logits[:, [one, other]] = logits[:, [other, one]]
        return logits

    def both(view):
        return forward(view) + mirrored(view)

    score = torch.exp if exp else (lambda x: x) if logits else lambda x: x.softmax(1)
    total, views = 0, 0
    for target in sizes:
        view = F.interpolate(image.float(), target, mode="bilinear", align_corners=False).round().to(torch.uint8)
        for look in [both] if exp else [forward, mirrored]:
            views += 1
            if inner is None:
                total = total + score(F.interpolate(look(view), size, mode="bilinear", align_corners=False))
            else:
                scores = plain_windows(look, view, inner, score)
                total = total + F.interpolate(scores, size, mode="bilinear", align_corners=False)
    return (total / views).softmax(1) if logits else total / total.sum(1, keepdim=True)


@pytest.mark.parametrize("predictor", several())
@pytest.mark.parametrize("size", [None, (50, 31)])
def test_views_of_a_constant_network_give_a_constant_map(predictor, size):
    labels = predictor(constant, images(), size)
    assert labels.dtype == torch.uint8
    assert labels.shape == (2, *(size or (33, 47)))
    assert (labels == K - 1).all()


@pytest.mark.parametrize(("size", "strip"), [((33, 47), 10**6), ((33, 47), 1500), ((50, 31), 1500), ((9, 60), 1)])
@pytest.mark.parametrize("inner", [None, SlidingWindow([16, 12], stride=0.5), SlidingWindow(30, pad=True)])
def test_multi_scale_equals_the_plain_way(monkeypatch, inner, size, strip):
    monkeypatch.setitem(STRIP_SCORES, "cpu", strip)
    image, forward = images(1), contextual()
    predictor = MultiScale(inner, **TOY)
    predictor.flip_pairs = pairs = ((1, 3),)
    expected = plain_views(forward, image, [(17, 24), (33, 47), (50, 71)], size, inner, pairs)
    torch.testing.assert_close(predictor.probabilities(forward, image, size), expected)
    labels = predictor(forward, image, size)
    assert torch.equal(labels, predictor.probabilities(forward, image, size).argmax(1).to(torch.uint8))
    assert (labels != expected.argmax(1)).float().mean() < 1e-3  # ties


@pytest.mark.parametrize(("height", "width", "sizes"), [(33, 47, [(18, 25), (35, 50)]), (40, 20, [(25, 13), (50, 25)])])
def test_the_encoding_scheme_equals_the_plain_way(height, width, sizes):
    """Long side ceil(base x scale), the other in proportion; exp of the two logits; windows averaged, scales summed."""
    image, forward = images(1, height, width), contextual()
    inner = SlidingWindow(16, stride=2 / 3, pad="grid")
    predictor = MultiScale(inner, scales=(0.5, 1.0), flip=True, base_size=50, scores="exp")
    expected = plain_views(forward, image, sizes, (height, width), inner, exp=True)
    torch.testing.assert_close(predictor.probabilities(forward, image), expected)


@pytest.mark.parametrize(("side", "size"), [("long", (18, 25)), ("short", (25, 36)), ("both", (25, 25))])
def test_the_base_size_is_that_of_the_side_it_names(side, size):
    image, forward = images(1), contextual()
    predictor = MultiScale(scales=(0.5,), flip=True, base_size=50, base_side=side)
    torch.testing.assert_close(predictor.probabilities(forward, image), plain_views(forward, image, [size], (33, 47)))


@pytest.mark.parametrize("inner", [None, SlidingWindow([16, 12], stride=0.5)])
def test_averaged_logits_equal_the_plain_way(inner):
    image, forward = images(1), contextual()
    expected = plain_views(forward, image, [(17, 24), (33, 47), (50, 71)], (33, 47), inner, logits=True)
    predictor = MultiScale(inner, scores="logits", **TOY)
    torch.testing.assert_close(predictor.probabilities(forward, image), expected)
    assert (predictor(forward, image) == expected.argmax(1)).float().mean() > 0.999
    assert not torch.allclose(MultiScale(inner, **TOY).probabilities(forward, image), expected)


def test_a_small_example_by_hand():
    """Two columns, black and white; the network says how bright a pixel is. Scale 1 and mirror: nothing changes."""
    image = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 3, 2, 2)

    def forward(view):
        bright = view[:, 0].float() / 255
        return torch.stack([bright, 2 - bright], 1)

    plain = torch.tensor([[0.0, 2.0], [1.0, 1.0]]).softmax(1)  # of the black and of the white column
    flip = MultiScale(scales=(1,), flip=True).probabilities(forward, image)
    torch.testing.assert_close(flip[0, :, 0], plain.T)
    half = torch.tensor([128 / 255, 2 - 128 / 255]).softmax(0)  # one pixel, 127.5 rounded to the even 128
    both = MultiScale(scales=(0.5, 1)).probabilities(forward, image)
    torch.testing.assert_close(both[0, :, 0], (plain.T + half[:, None]) / 2)


def test_every_scale_changes_what_the_network_sees():
    shapes, image = [], images(1, 40, 60)

    def watched(view):
        assert view.dtype == torch.uint8
        shapes.append(tuple(view.shape[-2:]))
        return torch.zeros(len(view), K, 2, 2)

    MultiScale()(watched, image)
    assert shapes == [(20, 30), (30, 45), (40, 60), (50, 75), (60, 90), (70, 105)]
    shapes.clear()
    MultiScale(SlidingWindow(30, stride=1.0), scales=(0.5, 2), flip=True)(watched, image)
    assert [shapes.count(size) for size in ((20, 30), (30, 30))] == [2, len(shapes) - 2]


@pytest.mark.parametrize("inner", [None, SlidingWindow(20, stride=0.5)])
def test_flip_pairs_swap_classes(inner):
    """A network that calls the left half class 1 and the right half class 2, whatever it sees."""
    image = images(1, 20, 40)

    def sides(view):
        logits = torch.zeros(len(view), 3, *view.shape[-2:])
        middle = view.shape[-1] // 2
        logits[:, 1, :, :middle] = logits[:, 2, :, middle:] = 9
        return logits

    predictor = MultiScale(inner, scales=(1,), flip=True)
    undecided = predictor.probabilities(sides, image)
    torch.testing.assert_close(undecided[:, 1], undecided[:, 2].flip(-1))
    predictor.flip_pairs = ((1, 2),)
    swapped = predictor.probabilities(sides, image)
    plain = (inner or WholeImage()).probabilities(sides, image)
    torch.testing.assert_close(swapped, plain)


@pytest.mark.parametrize("predictor", [*several(), SlidingWindow(16, window_batch=3)])
def test_batch_size_does_not_change_a_bit(predictor):
    image, forward = images(3), contextual()
    single = torch.cat([predictor.probabilities(forward, one[None]) for one in image])
    assert torch.equal(predictor.probabilities(forward, image), single)
    assert torch.equal(predictor(forward, image), torch.cat([predictor(forward, one[None]) for one in image]))


def test_random_scales_depend_on_seed_and_image_alone():
    image = images(2, 64, 64)
    predictor = RandomScales(draws=50)
    plans = [predictor.plan(one[None]) for one in image]
    assert plans == [RandomScales(draws=50).plan(one[None]) for one in image]
    assert plans[0] != plans[1]
    assert plans[0] != RandomScales(draws=50, seed=1).plan(image[:1])
    heights = [size[0] for size, _ in plans[0]]
    assert min(heights) >= 32
    assert max(heights) <= 128
    assert {mirror for _, mirror in plans[0]} == {(True,), (False,)}
    assert {mirror for _, mirror in RandomScales(flip=False).plan(image[:1])} == {(False,)}


def test_a_head_of_one_size_gets_only_that_within_every_option():
    image, seen = images(1, 20, 50), set()

    def picky(view):
        seen.add(tuple(view.shape[-2:]))
        return contextual()(view)

    options = [WholeImage(), SlidingWindow((16, 24)), MultiScale(**TOY), RandomScales(draws=2)]
    options += [MultiScale(SlidingWindow((16, 24), pad="grid"), scores="exp", base_size=40, **TOY)]
    for predictor in options:
        assert predictor.within(None) is predictor or isinstance(predictor, MultiScale)
        assert predictor.within((16, 24))(picky, image).shape == (1, 20, 50)
    assert seen == {(16, 24)}
    with pytest.raises(ConfigError, match=r"crop=\[9, 9\]: only \[16, 24\] is taken"):
        MultiScale(SlidingWindow(9)).within((16, 24))


def test_grid_padding_moves_no_window_back():
    seen = []
    SlidingWindow(16, stride=0.5, pad="grid")(
        lambda crops: seen.append(crops) or torch.zeros(len(crops), K, 4, 4), torch.full((1, 3, 20, 33), 7).byte()
    )
    crops = torch.cat(seen)  # starts 0, 8 by 0, 8, 16, 24
    assert crops.shape == (8, 3, 16, 16)
    assert (crops[7, :, :12, :9] == 7).all()
    assert (crops[7, :, 12:] == torch.tensor(PAD_COLOUR).view(3, 1, 1)).all()


def test_exp_scores_stay_finite():
    sure = lambda view: 100 * contextual()(view).sign()  # noqa: E731
    assert MultiScale(scores="exp", **TOY).probabilities(sure, images(1)).isfinite().all()


@pytest.mark.slow
def test_labels_never_need_the_full_map(monkeypatch):
    monkeypatch.setitem(STRIP_SCORES, "cpu", 2**16)
    classes, image = 60, images(1, 200, 160)
    forward = lambda view: torch.randn(len(view), classes, view.shape[-2] // 8, view.shape[-1] // 8)  # noqa: E731
    full = classes * 200 * 160 * 4
    for predictor in (MultiScale(flip=True), SlidingWindow(80), MultiScale(SlidingWindow(80), scales=(0.5, 1))):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace, torch.no_grad():
            predictor(forward, image)
        held = peak = 0
        events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
        for event in sorted(events, key=lambda event: event.start_ns()):
            held += event.nbytes()
            peak = max(peak, held)
        assert peak < full, "the plain way holds two and more"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_host_memory_is_flat():
    forward, metric = contextual(), SegMetrics(ClassSet("toy", tuple("abcde"), ((0, 0, 0),) * K))
    predictor = MultiScale(**TOY)
    held = []
    for i in range(60):
        image = images(1, 100 + i % 7, 120)  # 36 kB; its labels 12 kB, its probabilities 240 kB
        metric.update(predictor(forward, image), image[:, 0] % K)
        held.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
    assert held[-1] - held[20] < 4, "MiB; 40 images of probabilities would be 10"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (MultiScale, {"scales": []}, r"scales=\[\]: give factors"),
        (MultiScale, {"scales": [1, 0]}, r"scales=\[1, 0\]: give factors"),
        (MultiScale, {"base_side": "left"}, r"base_side=left: choose long, short or both"),
        (MultiScale, {"scores": "sum"}, r"scores=sum: choose softmax, exp or logits"),
        (RandomScales, {"scale": [2, 1]}, r"scale=\[2, 1\]"),
        (SlidingWindow, {"crop": 8, "pad": "all"}, r"pad=all: choose false, true or grid"),
    ],
)
def test_impossible_views_are_refused(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(**settings)


@pytest.mark.parametrize(
    "predictor", [WholeImage(), SlidingWindow(16), MultiScale(scales=(1.0,))], ids=lambda p: type(p).__name__
)
def test_more_classes_than_labels_hold_are_refused_by_all(predictor):
    image = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    with pytest.raises(ValueError, match="256 classes do not fit into uint8 labels"):
        predictor(lambda images: torch.zeros(len(images), 256, 4, 4), image)
    assert predictor.probabilities(lambda images: torch.zeros(len(images), 256, 4, 4), image).shape == (1, 256, 20, 20)


@pytest.mark.parametrize(
    "predictor",
    [*predictors(), MultiScale(flip=True), MultiScale(SlidingWindow(16), flip=True, scores="exp"), RandomScales()],
)
def test_several_networks_get_each_view_once(predictor):
    """Their labels are those of each alone, whose views the first one asks for."""
    image, networks, seen = images(), [contextual(), pointwise(), contextual()], []
    alone = [predictor(network, image, (50, 31)) for network in networks]
    shown = []
    predictor(lambda view: shown.append(view) or networks[0](view), image, (50, 31))
    found = predictor.together(
        lambda view: seen.append(view) or [network(view) for network in networks], image, (50, 31)
    )
    assert len(seen) == len(shown)
    assert all(torch.equal(one, other) for one, other in zip(seen, shown, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(found, alone, strict=True))
    assert not torch.equal(found[0], found[2])
