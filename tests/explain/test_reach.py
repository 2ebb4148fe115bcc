"""Distance, entropy and exchange between classes: place by place, and for attention whose answer is known."""

import math

import numpy as np
import pytest
import torch

from contextseg import create_model
from contextseg.explain import Look
from contextseg.explain.reach import by_class, reach
from contextseg.layers import attention as operators
from contextseg.layers.attention import Dense

LABELS = np.repeat(np.repeat(np.array([[0, 0, 1], [2, 255, 1]], np.uint8), 8, 0), 8, 1)  # 16 x 24


def slow(matrix, labels, classes):
    """The same by loops, for a grid of 2 x 3 places of 8 x 8 pixels."""
    centres = [(8 * row + 4, 8 * column + 4) for row in range(2) for column in range(3)]
    label = [labels[place] for place in centres]
    distance, uniform, entropy, exchange = [], [], [], np.zeros((classes, classes))
    for i, row in enumerate(matrix.tolist()):
        shares = [weight / sum(row) for weight in row]
        far = [math.dist(centres[i], other) for other in centres]
        distance.append(sum(share * each for share, each in zip(shares, far, strict=True)))
        uniform.append(sum(far) / 6)
        entropy.append(-sum(share * math.log(share) for share in shares if share) / math.log(6))
        for share, other in zip(shares, label, strict=True):
            if 255 not in (label[i], other):
                exchange[label[i], other] += share
    return np.mean(distance), np.mean(uniform), 100 * np.mean(entropy), exchange


@pytest.mark.parametrize("chunk", [2**24, 12])
def test_numbers_are_those_of_loops(chunk, monkeypatch):
    monkeypatch.setattr(operators, "CHUNK", chunk)
    matrix = torch.rand(6, 6) ** 3
    found = reach(Dense(matrix, (2, 3), (2, 3)), LABELS, 4)
    distance, uniform, entropy, exchange = slow(matrix, LABELS, 4)
    assert found.distance == pytest.approx(distance, rel=1e-5)
    assert found.uniform == pytest.approx(uniform, rel=1e-5)
    assert found.entropy == pytest.approx(entropy, rel=1e-5)
    np.testing.assert_allclose(found.exchange, exchange, rtol=1e-5)
    assert found.places.tolist() == [2, 2, 1, 0]
    assert found.available.tolist() == pytest.approx([0.4, 0.4, 0.2, 0])


def test_places_that_look_at_themselves_and_at_all():
    alone = reach(Dense(torch.eye(6), (2, 3), (2, 3)), LABELS, 3)
    assert (alone.distance, alone.entropy) == (0, 0)
    np.testing.assert_allclose(by_class(alone.exchange, alone.places), 100 * np.eye(3))
    even = reach(Dense(torch.full((6, 6), 0.1), (2, 3), (2, 3)), LABELS, 3)
    assert even.distance == pytest.approx(even.uniform)
    assert even.entropy == pytest.approx(100)
    np.testing.assert_allclose(by_class(even.exchange, even.places), np.full((3, 3), 100 / 6) * [[2, 2, 1]], rtol=1e-5)


def test_two_maps_of_different_sizes():
    matrix = torch.zeros(6, 1)
    matrix += 1  # all take from the one place of a coarse map, in the middle
    found = reach(Dense(matrix, (2, 3), (1, 1)), np.zeros((16, 24), np.uint8), 2)
    assert found.distance == pytest.approx((4 * math.dist((4, 4), (8, 12)) + 2 * 4) / 6)
    assert found.entropy == 0


def test_a_head_looks_no_further_than_its_criss_cross():
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    found = []
    for loops in (1, 2):
        network = create_model("ccnet", backbone="tiny", num_classes=5, channels=16, recurrence=loops).eval()
        look = Look(network, image)
        found.append(reach(look.attention()["context"], look.probabilities()[1][0].numpy(), 5))
        assert found[-1].exchange.sum() == pytest.approx(64, rel=1e-5)
    assert found[0].entropy < 100 * math.log(15) / math.log(64) < found[1].entropy
