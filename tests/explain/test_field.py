"""Effective receptive fields of networks whose gradients are known by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from contextseg import create_model
from contextseg.errors import ConfigError
from contextseg.explain.field import average, receptive_field
from contextseg.layers.aggregation import AggregationModule


def network(layers, window=None):
    """What a look needs of a network, around layers from an image (1, 3, H, W) to logits."""
    return SimpleNamespace(
        logits=lambda batch: layers(batch),
        backbone=SimpleNamespace(mean=torch.zeros(1)),
        head=SimpleNamespace(needs_mask=False),
        window=window,
        fill=(0, 0, 0),
    )


def conv(rows, columns=None, weights=None, channels=3):
    """A convolution to one map with given weights, by default ones, that keeps the size."""
    size = (rows, columns or rows)
    layer = nn.Conv2d(channels, 1, size, padding=tuple(side // 2 for side in size), bias=False)
    layer.weight.data = torch.ones(1, channels, *size) if weights is None else weights
    return layer


def field_of(layers, point=(8, 6), size=(15, 17), window=None):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return receptive_field(network(layers, window), image, point)


def box(field):
    """Rows and columns of the pixels with any energy: first and last."""
    return [(int(found.min()), int(found.max())) for found in np.nonzero(field.energy)]


def test_the_field_of_a_convolution_is_its_kernel():
    weights = torch.arange(1.0, 76).view(1, 3, 5, 5)
    field = field_of(conv(5, weights=weights))
    expected = np.zeros((15, 17))
    expected[4:9, 6:11] = (weights[0] ** 2).sum(0).numpy()
    np.testing.assert_allclose(field.energy, expected / expected.sum(), rtol=1e-6)
    assert field.centre == (0, 0)


def test_shares_and_radii_by_hand():
    field = field_of(conv(5))  # 25 pixels alike: 1 at distance 0, 4 at 1, 4 at √2, 4 at 2, 8 at √5, 4 at √8
    np.testing.assert_allclose(field.within([0, 1, 1.5, 2, 2.3, 3]), np.array([1, 5, 9, 13, 21, 25]) / 25)
    found = [field.radius(n / 25) for n in (1, 2, 5, 6, 13, 14, 25)]
    assert found == pytest.approx([0, 1, 1, 2**0.5, 2, 5**0.5, 8**0.5])


def test_two_convolutions_see_as_far_as_both():
    field = field_of(nn.Sequential(conv(3), conv(3, channels=1)))
    line = np.array([1.0, 2, 3, 2, 1])
    expected = np.outer(line, line) ** 2
    np.testing.assert_allclose(field.energy[4:9, 6:11], expected / expected.sum(), rtol=1e-6)
    assert box(field) == [(4, 8), (6, 10)]


def test_pooling_over_the_image_sees_all_of_it():
    field = field_of(nn.Sequential(conv(1), nn.AdaptiveAvgPool2d(1)))
    np.testing.assert_allclose(field.energy, 1 / (15 * 17), rtol=1e-6)
    assert field.centre == (7 - 6, 8 - 8)  # one place for the whole image, whatever the pixel
    assert field.radius(1.0) == pytest.approx(np.hypot(7, 8))


@pytest.mark.parametrize("point", [(8, 8), (11, 15)])
def test_distances_are_from_the_place_that_answers(point):
    field = field_of(nn.Sequential(conv(1), nn.AvgPool2d(8)), point, (16, 24))
    assert box(field) == [(8, 15), (8, 15)]
    assert (field.pixel[0] + field.centre[0], field.pixel[1] + field.centre[1]) == (11.5, 11.5)
    assert field.radius(1.0) == pytest.approx(np.hypot(3.5, 3.5))


def test_a_head_of_one_size_sees_its_window():
    field = field_of(nn.Sequential(conv(1), nn.AdaptiveAvgPool2d(1)), (20, 3), (16, 32), window=(8, 8))
    assert box(field) == [(0, 7), (16, 23)]
    padded = field_of(nn.Sequential(conv(1), nn.AdaptiveAvgPool2d(1)), (3, 3), (6, 6), window=(8, 8))
    np.testing.assert_allclose(padded.energy, 1 / 36)  # what lies beyond the image is no pixel of it


@pytest.mark.parametrize("kernel", [3, 11])
def test_the_aggregation_module_sees_as_far_as_a_convolution(kernel):
    """CPNet, Figure 4 (b): separable in both directions, yet k x k pixels."""
    module = AggregationModule(3, 3, kernel_size=kernel, entry=None).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    point, size = (12, 10), (21, 25)
    separable, whole = field_of(module, point, size), field_of(conv(kernel), point, size)
    assert box(separable) == box(whole) == [(10 - kernel // 2, 10 + kernel // 2), (12 - kernel // 2, 12 + kernel // 2)]
    assert box(field_of(conv(kernel, 1), point, size)) == [(10 - kernel // 2, 10 + kernel // 2), (12, 12)]


def test_fields_of_images_of_several_sizes_lie_on_their_pixels():
    one, other = field_of(conv(3), (2, 3), (6, 9)), field_of(conv(1), (8, 6), (15, 17))
    mean = average(iter([one, other]))
    assert mean.energy.shape == (15, 17)
    assert mean.pixel == (6, 8)
    expected = np.zeros((15, 17))
    expected[5:8, 7:10] = 1 / 18
    expected[6, 8] += 1 / 2
    np.testing.assert_allclose(mean.energy, expected, rtol=1e-6)
    assert mean.within([0])[0] == pytest.approx(5 / 9)


def test_it_is_the_gradient_of_the_predicted_class():
    torch.manual_seed(0)
    model = create_model("cpnet", backbone="tiny", num_classes=5, channels=16, crop_size=(32, 32)).eval().double()
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    field = receptive_field(model, image, (17, 9))
    assert field.energy.sum() == pytest.approx(1)
    batch = image[None].double()
    best = model.logits(batch)[0, :, 1, 2].argmax()
    assert model.logits(batch).shape[-2:] == (4, 4)
    slopes = []
    for row, column in ((9, 17), (10, 12)):
        slope = 0.0
        for channel in range(3):
            step = torch.zeros_like(batch)
            step[0, channel, row, column] = 1e-4
            up, down = (model.logits(batch + sign * step)[0, best, 1, 2] for sign in (1, -1))
            slope += ((up - down).item() / 2e-4) ** 2
        slopes.append(slope)
    assert slopes[1] > 0
    assert field.energy[9, 17] / field.energy[10, 12] == pytest.approx(slopes[0] / slopes[1], rel=1e-3)


def test_what_has_no_field():
    assert field_of(conv(1, weights=torch.zeros(1, 3, 1, 1))) is None
    assert average([]) is None
    with pytest.raises(ConfigError, match="outside the image"):
        field_of(conv(1), (17, 3))
