"""The category-consistent loss by hand, and against loops over classes and pixels."""

import math

import pytest
import torch

from contextseg.contract import SegOutput
from contextseg.errors import ConfigError
from contextseg.losses.category_consistent import category_consistency, variance_penalty
from contextseg.losses.terms import CategoryConsistent

K, VOID = 6, 255


def close(a, b):
    torch.testing.assert_close(torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64))


def slow(embedding, target, distance):
    """Eq. 3-7, one class and one pixel at a time, from the definitions."""
    pixels = embedding.movedim(1, -1).reshape(-1, embedding.shape[1])
    members = {c: pixels[target.flatten() == c] for c in range(K)}
    members = {c: found for c, found in members.items() if len(found)}
    if not members:
        return [embedding.sum() * 0] * 3
    mean = {c: sum(found) / len(found) for c, found in members.items()}
    variance = 0
    for c, found in members.items():
        for h in found:
            d = (mean[c] - h).square().sum().clamp(min=1e-30).sqrt()
            if d > 1.5 and distance == "piecewise":
                variance += (d - 1.5 + (1.5 - 0.5) ** 2) / len(found)
            elif d > 0.5:
                variance += (d - 0.5) ** 2 / len(found)
    apart = 0
    for a in mean:
        for b in mean:
            d = (mean[a] - mean[b]).square().sum().clamp(min=1e-30).sqrt()
            if a != b and d <= 3:
                apart += (3 - d) ** 2
    n = len(mean)
    length = sum(m.square().sum().sqrt() for m in mean.values())
    return [embedding.sum() * 0 + part for part in (variance / n, apart / max(n * (n - 1), 1), length / n)]


@pytest.mark.parametrize("distance", ["piecewise", "quadratic"])
@pytest.mark.parametrize("classes", [(0, 1, 2, 5, VOID), (3, VOID), (2, 4), (VOID,)])
@pytest.mark.parametrize("batch", [1, 2])
def test_loss_is_the_slow_loss_forward_and_backward(distance, classes, batch):
    target = torch.tensor(classes)[torch.randint(0, len(classes), (batch, 4, 5))]
    embedding = torch.randn(batch, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    found = category_consistency(embedding, target, K, distance=distance)
    expected = slow(embedding, target, distance)
    for part, other in zip(found, expected, strict=True):
        close(part, other)
        (a,) = torch.autograd.grad(part, embedding, retain_graph=True)
        (b,) = torch.autograd.grad(other, embedding, retain_graph=True)
        close(a, b)


def test_numbers_by_hand():
    """Class 0 at -2 and 2 (mean 0), class 1 at 1 (one pixel), one void pixel far away."""
    embedding = torch.tensor([[[[-2.0, 2.0, 1.0, 99.0]]]])
    target = torch.tensor([[[0, 0, 1, VOID]]])
    piecewise = category_consistency(embedding, target, K)
    close(piecewise.variance, (2 - 1.5 + 1) / 2)  # both pixels of class 0 are 2 away; class 1 adds nothing
    close(piecewise.distance, (3 - 1) ** 2)
    close(piecewise.regularisation, (0 + 1) / 2)
    close(category_consistency(embedding, target, K, distance="quadratic").variance, 1.5**2 / 2)
    output = SegOutput(torch.zeros(1, K, 1, 4), {"embedding": embedding})
    close(CategoryConsistent()(output, target.to(torch.uint8)), 0.75 + 4 + 0.001 * 0.5)
    close(CategoryConsistent(alpha=2, beta=0, gamma=10)(output, target.to(torch.uint8)), 1.5 + 5)


def test_penalty_of_equation_6():
    spread = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 5.0])
    close(variance_penalty(spread, 0.5, 1.5), [0, 0, 0.25, 1, 1.5, 4.5])
    close(variance_penalty(spread, 0.5, 1.5, "quadratic"), [0, 0, 0.25, 1, 2.25, 20.25])


def test_the_two_functions_differ_beyond_the_margin_only():
    far, near = 5 * torch.randn(1, 4, 5, 5), 0.1 * torch.randn(1, 4, 5, 5)
    target = torch.randint(0, 3, (1, 5, 5))
    for embedding, differ in ((far, True), (near, False)):
        values = [
            category_consistency(embedding, target, K, distance=name).variance for name in ("piecewise", "quadratic")
        ]
        assert (values[0] != values[1]) == differ


def test_finite_differences():
    embedding = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 2, 4, VOID])[torch.randint(0, 4, (2, 3, 4))]
    assert torch.autograd.gradcheck(lambda given: tuple(category_consistency(given, target, K)), embedding)


def output(size=(4, 6), dtype=torch.float32):
    embedding = torch.randn(2, 16, *size).to(dtype).requires_grad_()
    return SegOutput(torch.zeros(2, K, *size), {"embedding": embedding})


def test_nothing_but_void_gives_zero_and_zero_gradient():
    given = output()
    loss = CategoryConsistent()(given, torch.full((2, 32, 48), VOID, dtype=torch.uint8))
    loss.backward()
    assert loss == 0
    assert torch.equal(given.extras["embedding"].grad, torch.zeros(2, 16, 4, 6))


def test_void_pixels_and_equal_features_have_no_gradient():
    given = output()
    mask = torch.randint(0, 3, (2, 4, 6), dtype=torch.uint8)
    mask[:, 0] = VOID
    CategoryConsistent()(given, mask).backward()
    assert not given.extras["embedding"].grad[:, :, 0].any()
    equal = SegOutput(given.logits, {"embedding": torch.ones(2, 16, 4, 6, requires_grad=True)})
    loss = CategoryConsistent()(equal, mask)  # every distance is zero, where the norm has no derivative
    loss.backward()
    assert math.isclose(loss.item(), 9 + 0.001 * 4, rel_tol=1e-6)
    assert torch.isfinite(equal.extras["embedding"].grad).all()


def test_labels_are_the_nearest_to_the_cells():
    """Cells of 8 x 8 pixels: only their centres count, as for the other terms on coarse maps."""
    labels = torch.randint(0, K, (2, 4, 6), dtype=torch.uint8)
    mask = torch.full((2, 32, 48), VOID, dtype=torch.uint8)
    mask[:, 4::8, 4::8] = labels
    given = output()
    assert CategoryConsistent()(given, mask) == CategoryConsistent()(given, labels)


def test_float32_whatever_the_features_are():
    mask = torch.randint(0, K, (2, 32, 48), dtype=torch.uint8)
    for dtype in (torch.bfloat16, torch.float16):
        given = output(dtype=dtype)
        loss = CategoryConsistent()(given, mask)
        loss.backward()
        assert loss.dtype == torch.float32
        assert given.extras["embedding"].grad.dtype == dtype


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="choose piecewise or quadratic"):
        CategoryConsistent(distance="cubic")
    with pytest.raises(ConfigError, match="delta_var <= delta_dis"):
        CategoryConsistent(delta_var=2)
