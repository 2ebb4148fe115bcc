"""Deletion and insertion: exactly, for a network that reads one patch, and against single passes for a real one."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from contextseg import create_model
from contextseg.errors import ConfigError
from contextseg.explain import Look
from contextseg.explain.faithfulness import Probe, area, sampled
from contextseg.explain.look import Answer, Pass


class Reader:
    """A look of a network whose score at every pixel depends on the brightness of one patch, which its map names."""

    lock = nullcontext()

    def __init__(self):
        self.canvas = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
        self.canvas[..., 24:, 24:] = 255  # the last of 4 x 4 patches
        self.network = SimpleNamespace(logits=self.logits)

    def logits(self, batch):
        bright = batch[:, 0, 24:, 24:].float().mean((1, 2)) / 255  # (B,)
        return torch.stack([bright * 20, 10 * torch.ones_like(bright)], 1)[..., None, None].expand(-1, -1, 4, 4)

    def find(self, point):
        seen = Pass([], {}, self.logits(self.canvas), {})
        return seen, (point[1] // 8, point[0] // 8), (slice(0, 32), slice(0, 32))

    def context(self, point):
        named = torch.zeros(4, 4)
        named[3, 3] = 1
        return Answer({"context": named, "another": 1 - named}, (slice(0, 32), slice(0, 32)))

    def gradient(self, point):
        return Answer({"gradient": torch.arange(16.0, 0, -1).view(4, 4)}, (slice(0, 32), slice(0, 32)))


def test_the_score_falls_where_the_patch_that_decides_is_masked():
    found = Probe(steps=15, patch=8, spare=0, batch=7).curves(Reader(), (2, 3), seed=0)
    assert list(found) == ["attention", "gradient", "nearest", "random"]
    high, low = 100 / (1 + np.exp(-10)), 100 / (1 + np.exp(10 - 20 * 16 / 256))  # a mean of 255 / 16, rounded to 16
    low = 100 / (1 + np.exp(10 - 20 * 16 / 255))
    for order, place in (("attention", 1), ("gradient", 15), ("nearest", 15)):  # where the patch stands in the order
        np.testing.assert_allclose(found[order].deletion, [high] * place + [low] * (16 - place), rtol=1e-4)
        np.testing.assert_allclose(found[order].insertion, [low] * place + [high] * (16 - place), rtol=1e-4)
    assert area(found["attention"].deletion) == pytest.approx((0.5 * (high + low) + 14 * low) / 15, rel=1e-4)


def test_curves_are_those_of_single_masked_images():
    torch.manual_seed(0)
    network = create_model("ocr", backbone="tiny", num_classes=5, channels=16).eval()
    image = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8)
    look = Look(network, image)
    found = Probe(steps=3, patch=8, spare=8, batch=2).curves(look, (30, 12), seed=1)
    gradient = look.gradient((30, 12)).maps["gradient"]  # (5, 7): a number for each patch
    free = [(r, c) for r in range(5) for c in range(7) if not (r <= 2 and 2 <= c <= 4)]
    assert all(max(8 * r - 12, 12 - 8 * r - 7, 8 * c - 30, 30 - 8 * c - 7) > 0 for r, c in free)
    free = [(r, c) for r, c in free if max(8 * r - 12, 12 - 8 * r - 7, 8 * c - 30, 30 - 8 * c - 7) > 8]
    order = sorted(free, key=lambda place: -gradient[place])
    with torch.no_grad():
        predicted = network.logits(image[None])[0, :, 1, 3].argmax()
        for step in range(4):
            copy = image.clone()
            for r, c in order[: round(step * len(order) / 3)]:
                mean = image.float().mean((1, 2)).round().to(torch.uint8)
                copy[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = mean[:, None, None]
            expected = 100 * network.logits(copy[None])[0, :, 1, 3].softmax(0)[predicted]
            assert found["gradient"].deletion[step] == pytest.approx(float(expected), rel=1e-4)
    for one in found.values():  # nothing and everything is masked alike in all orders
        assert one.deletion[0] == one.insertion[-1] == found["random"].deletion[0]
        assert one.deletion[-1] == one.insertion[0] == found["random"].deletion[-1]


def test_a_head_without_attention_has_the_other_orders():
    network = create_model("fcn", backbone="tiny", num_classes=5, channels=16).eval()
    look = Look(network, torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8))
    assert list(Probe(steps=2).curves(look, (3, 3), seed=0)) == ["gradient", "nearest", "random"]
    with pytest.raises(ConfigError, match="spare=99 with patch=16: nothing"):
        Probe(spare=99).curves(look, (3, 3), seed=0)


def test_rare_classes_are_asked_as_often_as_common_ones():
    truth = np.zeros((20, 30), np.uint8)
    truth[3, 4], truth[:, 20:] = 7, 255
    drawn = sampled(truth, (20, 30), 400, seed=0)
    assert drawn == sampled(truth, (20, 30), 400, seed=0)
    labels = [truth[y, x] for x, y in drawn]
    assert set(labels) == {0, 7}
    assert 150 < labels.count(7) < 250  # 5 standard deviations are 50
    assert len(set(sampled(None, (20, 30), 400, seed=0))) > 200
