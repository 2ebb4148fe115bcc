"""Whole-image and sliding-window prediction, and the resize below them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from contextseg.contract import ConfigError
from contextseg.inference import SlidingWindow, WholeImage, windows
from contextseg.layers.resize import argmax_resized, resize

K = 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


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
        ({"crop": 0}, r"eval\.predictor\.crop=\[0, 0\]"),
        ({"crop": [8]}, r"eval\.predictor\.crop=\[8\]"),
        ({"crop": 8, "stride": 0}, r"eval\.predictor\.stride=0"),
        ({"crop": 8, "stride": 1.5}, r"eval\.predictor\.stride=1\.5"),
        ({"crop": 8, "window_batch": 0}, r"eval\.predictor\.window_batch=0"),
    ],
)
def test_impossible_windows_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SlidingWindow(**settings)


@pytest.mark.parametrize("classes", [1, 5, 16, 40, 255])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_argmax_resized_differs_in_no_pixel(classes, memory_format):
    logits = torch.randn(2, classes, 6, 9).to(memory_format=memory_format)
    for size in [(6, 9), (23, 31), (4, 4), (99, 130)]:
        labels = argmax_resized(logits, size, chunk=7)
        assert labels.dtype == torch.uint8
        assert torch.equal(labels.long(), resize(logits.contiguous(), size).argmax(1))


def test_argmax_resized_gives_a_tie_to_the_lowest_class():
    logits = torch.randint(0, 2, (2, 40, 5, 5)).float()
    for size in [(5, 5), (10, 10)]:
        assert torch.equal(argmax_resized(logits, size, chunk=3).long(), resize(logits, size).argmax(1))


def test_argmax_resized_refuses_more_classes_than_uint8_labels_hold():
    with pytest.raises(ValueError, match="256 classes"):
        argmax_resized(torch.zeros(1, 256, 2, 2), (4, 4))


def test_resize_to_its_own_size_is_the_same_tensor():
    x = torch.randn(1, 2, 4, 4)
    assert resize(x, x.shape[-2:]) is x
    assert resize(x.bfloat16(), [8, 6]).dtype == torch.bfloat16
