"""Every metric against plain loops."""

import numpy as np
import pytest
import torch

from contextseg.classes import ClassSet
from contextseg.metrics import BoundaryIoU, ContextReach, ImageCells, PerImageIoU, SegMetrics, count, scores
from contextseg.statistics.scores import scores as scores_of_sets

COLOURS = tuple((40 * i, 0, 0) for i in range(6))
CLASSES = ClassSet("toy", tuple("abcdef"), COLOURS, groups={"first": ("a", "c"), "rare": ("f",)})
K = len(CLASSES)


def labels(seed: int, batch: int = 4, present: int = K) -> tuple[torch.Tensor, torch.Tensor]:
    """Random prediction and mask (with void) that use the first `present` classes."""
    draw = np.random.default_rng(seed)
    mask = draw.integers(0, present, (batch, 9, 7))
    prediction = np.where(draw.random(mask.shape) < 0.5, mask, draw.integers(0, present, mask.shape))
    mask[draw.random(mask.shape) < 0.2] = 255
    return torch.tensor(prediction, dtype=torch.uint8), torch.tensor(mask, dtype=torch.uint8)


def plain_count(prediction: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    matrix = np.zeros((K, K), dtype=np.int64)
    for p, t in zip(prediction.flatten().tolist(), mask.flatten().tolist(), strict=True):
        if t != 255:
            matrix[t, p] += 1
    return matrix


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_confusion_equals_a_plain_loop(dtype):
    prediction, mask = labels(0)
    counts = count(prediction.to(dtype), mask, K)
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts, plain_count(prediction, mask))


def test_confusion_with_as_many_classes_as_uint8_can_hold():
    ids = torch.arange(255, dtype=torch.uint8).view(1, 15, 17)
    assert torch.equal(count(ids, ids, 255), torch.eye(255, dtype=torch.int64))


def test_scores_equal_a_plain_loop():
    prediction, mask = labels(1)
    metric = SegMetrics(CLASSES)
    metric.update(prediction, mask)
    result = metric.compute()

    m = plain_count(prediction, mask)
    iou = [100 * m[k, k] / (m[k].sum() + m[:, k].sum() - m[k, k]) for k in range(K)]
    acc = [100 * m[k, k] / m[k].sum() for k in range(K)]
    np.testing.assert_allclose(result["iou"], iou)
    np.testing.assert_allclose(result["acc"], acc)
    assert result["miou"] == pytest.approx(np.mean(iou))
    assert result["mean_acc"] == pytest.approx(np.mean(acc))
    assert result["pix_acc"] == pytest.approx(100 * np.trace(m) / m.sum())
    assert result["fw_iou"] == pytest.approx(sum(m[k].sum() / m.sum() * iou[k] for k in range(K)))
    assert result["iou_first"] == pytest.approx((iou[0] + iou[2]) / 2)
    assert result["iou_rare"] == pytest.approx(iou[5])
    assert result["classes_used"] == K


def test_perfect_prediction_scores_100():
    _, mask = labels(2)
    result = scores(count(mask.clamp(max=K - 1), mask, K), CLASSES)
    assert result["miou"] == result["pix_acc"] == result["mean_acc"] == result["fw_iou"] == 100


def test_absent_class_is_nan_and_left_out():
    result = scores(count(*labels(3, present=4), K), CLASSES)
    assert result["iou"].isnan().tolist() == [False] * 4 + [True] * 2
    assert result["classes_used"] == 4
    assert result["miou"] == pytest.approx(result["iou"][:4].mean().item())
    assert np.isnan(result["iou_rare"])


def test_class_that_is_only_predicted_counts_as_zero():
    prediction, mask = labels(4, present=4)
    prediction[0, 0, 0], mask[0, 0, 0] = 5, 0
    result = scores(count(prediction, mask, K), CLASSES)
    assert result["iou"][5] == 0
    assert result["classes_used"] == 5
    assert result["miou"] == pytest.approx(result["iou"][:4].sum().item() / 5)
    assert result["acc"].isnan().tolist() == [False] * 4 + [True] * 2


def test_void_only_batch_changes_nothing():
    void = torch.full((2, 9, 7), 255, dtype=torch.uint8)
    metric = SegMetrics(CLASSES)
    metric.update(torch.zeros_like(void), void)
    assert metric.compute()["classes_used"] == 0
    assert np.isnan(metric.compute()["miou"])
    metric.update(*labels(5))
    assert metric.compute()["miou"] == scores(count(*labels(5), K), CLASSES)["miou"]


def test_batch_size_and_order_do_not_matter():
    prediction, mask = labels(6, batch=6)
    whole, single = SegMetrics(CLASSES), SegMetrics(CLASSES)
    whole.update(prediction, mask)
    for i in (3, 0, 5, 1, 4, 2):
        single.update(prediction[i : i + 1], mask[i : i + 1])
    assert torch.equal(whole.confusion, single.confusion)


def test_merged_states_equal_one_metric():
    parts = [SegMetrics(CLASSES), SegMetrics(CLASSES)]
    together = SegMetrics(CLASSES)
    for part, seed in zip(parts, (7, 8), strict=True):
        part.update(*labels(seed))
        together.update(*labels(seed))
    parts[0].merge_state(parts[1])
    assert torch.equal(parts[0].confusion, together.confusion)
    assert parts[0].compute()["miou"] == together.compute()["miou"]


def test_the_counts_of_every_image():
    """Each image's cells are its own matrix; a void image has none, and a second evaluation starts anew."""
    prediction, mask = labels(6, batch=6)
    mask[2] = 255
    metric = ImageCells(CLASSES)
    for _ in range(2):
        metric.reset()
        for some in (slice(0, 4), slice(4, 6)):
            metric.update(prediction[some], mask[some])
        found = metric.compute()
        assert found["images"].tolist() == [0, 1, 2, 3, 4, 5]
        for i in range(6):
            matrix = torch.zeros(K, K, dtype=torch.int64)
            for image, truth, guess, pixels in found["cells"].tolist():
                matrix[truth, guess] += pixels if image == i else 0
            assert torch.equal(matrix, count(prediction[i : i + 1], mask[i : i + 1], K))
        assert (found["cells"][:, 3] > 0).all()


def test_resamples_leave_out_the_classes_that_the_scores_leave_out():
    """One rule for both: mIoU and pixel accuracy of one set of images, counted by either."""
    prediction, mask = labels(4, present=4)
    matrix = count(prediction, mask, K)
    right, truth, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    found, wanted = scores_of_sets(torch.stack([right, truth, predicted], 1).numpy()), scores(matrix, CLASSES)
    assert wanted["classes_used"] < K
    assert found.tolist() == pytest.approx([wanted["miou"], wanted["pix_acc"]], abs=1e-12)


def test_scores_read_a_saved_matrix(tmp_path):
    confusion = count(*labels(9), K)
    np.savez(tmp_path / "confusion.npz", confusion=confusion.numpy())
    saved = np.load(tmp_path / "confusion.npz")["confusion"]
    assert scores(saved, CLASSES)["miou"] == scores(confusion, CLASSES)["miou"]


def test_mismatches_are_refused():
    prediction, mask = labels(10)
    with pytest.raises(ValueError, match=r"\(4, 9, 6\).*\(4, 9, 7\)"):
        count(prediction[..., 1:], mask, K)
    with pytest.raises(ValueError, match="must be uint8"):
        count(prediction, mask.long(), K)
    mask[0, 0, 0] = K
    with pytest.raises(ValueError, match="neither below 6 nor void 255"):
        count(prediction, mask, K)


RULES = {"ground": ([4], [0, 1]), "slab": ([5, 4], [2])}  # cues, ambiguous


def plain_reach(prediction: np.ndarray, mask: np.ndarray, radius: int) -> dict[str, float]:
    """Accuracy by rule and place, pixel by pixel."""
    right: dict[str, list[bool]] = {}
    for b, y, x in np.ndindex(mask.shape):
        for rule, (cues, ambiguous) in RULES.items():
            if mask[b, y, x] in ambiguous:
                around = mask[b, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
                place = "near" if np.isin(around, cues).any() else "far"
                for name in (f"{place}_acc", f"{place}_acc_{rule}"):
                    right.setdefault(name, []).append(bool(prediction[b, y, x] == mask[b, y, x]))
    return {name: 100 * np.mean(values) for name, values in right.items()}


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_context_reach_equals_a_plain_loop(radius):
    draw = np.random.default_rng(radius)
    mask = draw.choice([0, 1, 2, 3, 255], (3, 17, 13))
    cues = draw.random(mask.shape)
    mask[cues < 0.02], mask[cues > 0.98] = 4, 5
    prediction = np.where(draw.random(mask.shape) < 0.7, mask, 3) % 255
    metric = ContextReach(rules=RULES, radius=radius)
    for p, t in zip(prediction, mask, strict=True):
        metric.update(torch.tensor(p[None], dtype=torch.uint8), torch.tensor(t[None], dtype=torch.uint8))
    expected = plain_reach(prediction, mask, radius)
    result = metric.compute()
    assert {name for name, value in result.items() if not np.isnan(value)} == expected.keys()
    assert {name: result[name] for name in expected} == pytest.approx(expected)


def test_context_reach_without_a_cue_has_no_near_pixel():
    mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
    metric = ContextReach(rules=RULES)
    metric.update(mask, mask)
    result = metric.compute()
    assert result["far_acc"] == result["far_acc_ground"] == 100
    assert np.isnan(result["near_acc"])
    assert np.isnan(result["far_acc_slab"])


# Those of eval.extra_metrics


def plain_bands(labels: np.ndarray, radius: int) -> np.ndarray:
    """Where the square around a pixel of one image (H, W) holds another label or leaves the image."""
    near = np.zeros(labels.shape, dtype=bool)
    for y, x in np.ndindex(labels.shape):
        inside = min(y, x) >= radius and max(y - labels.shape[0], x - labels.shape[1]) < -radius
        around = labels[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        near[y, x] = not inside or (around != labels[y, x]).any()
    return near


def blocks(seed: int, size: tuple[int, int] = (40, 52)) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and mask (3, H, W) of rectangles, some of them void, which differ in one rectangle."""
    draw = np.random.default_rng(seed)
    masks = np.zeros((3, *size), dtype=np.uint8)
    for mask in masks:
        for label in [*draw.integers(0, K - 1, 8), 255]:
            top, left = draw.integers(0, size[0] - 8), draw.integers(0, size[1] - 8)
            mask[top : top + draw.integers(3, 20), left : left + draw.integers(3, 20)] = label
    predictions = np.where(masks == 255, 1, masks)
    predictions[:, 10:25, 12:30] = 2
    return torch.tensor(predictions), torch.tensor(masks)


@pytest.mark.parametrize(("width", "radius"), [(0.001, 1), (0.02, 1), (0.05, 3), (0.2, 13), (0.9, 59)])
def test_boundary_iou_equals_a_plain_loop(width, radius):
    prediction, mask = blocks(0)
    assert max(1, round(width * np.hypot(40, 52))) == radius
    metric = BoundaryIoU(CLASSES, width)
    metric.update(prediction[:2], mask[:2])
    metric.update(prediction[2:], mask[2:])
    both, union = np.zeros(K), np.zeros(K)
    for guess, truth in zip(prediction.numpy(), mask.numpy(), strict=True):
        guess = np.where(truth == 255, 255, guess)
        in_truth, in_guess = plain_bands(truth, radius), plain_bands(guess, radius)
        for k in range(K):
            a, b = (truth == k) & in_truth, (guess == k) & in_guess
            both[k] += (a & b).sum()
            union[k] += (a | b).sum()
    expected = np.mean(100 * both[union > 0] / union[union > 0])
    assert metric.compute()["boundary_iou"] == pytest.approx(expected)
    if radius == 59:  # the band is the whole image
        assert expected == pytest.approx(scores(count(prediction, mask, K), CLASSES)["miou"])


def test_boundary_iou_sees_what_miou_hardly_does():
    mask = torch.zeros(1, 200, 200, dtype=torch.uint8)
    mask[:, 50:150, 50:150] = 1
    shifted = mask.roll(3, 1)
    metric = BoundaryIoU(CLASSES)  # bands of 6 pixels
    metric.update(shifted, mask)
    assert scores(count(shifted, mask, K), CLASSES)["miou"] > 93
    assert metric.compute()["boundary_iou"] < 75


@pytest.mark.parametrize("kind", [BoundaryIoU, PerImageIoU])
def test_extra_metrics_of_perfect_and_of_no_pixels(kind):
    _, mask = blocks(1)
    metric = kind(CLASSES)
    void = torch.full_like(mask, 255)
    metric.update(torch.zeros_like(mask), void)
    (name,) = metric.compute()
    assert np.isnan(metric.compute()[name])
    metric.update(torch.where(mask == 255, 3, mask), mask)
    assert metric.compute()[name] == 100


def test_miou_per_image_equals_a_plain_loop():
    prediction, mask = blocks(2)
    mask[2] = 255
    metric = PerImageIoU(CLASSES)
    metric.update(prediction, mask)
    each = [scores(count(prediction[i : i + 1], mask[i : i + 1], K), CLASSES)["miou"] for i in range(2)]
    assert metric.compute()["miou_per_image"] == pytest.approx(np.mean(each), abs=1e-8)
    assert metric.images == 2


@pytest.mark.parametrize("kind", [BoundaryIoU, PerImageIoU])
def test_extra_metrics_do_not_depend_on_batch_order_or_process(kind):
    prediction, mask = blocks(3)
    together, parts = kind(CLASSES), [kind(CLASSES), kind(CLASSES)]
    together.update(prediction, mask)
    for i in (2, 0, 1):
        parts[i % 2].update(prediction[i : i + 1], mask[i : i + 1])
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == together.compute()
