"""Evaluation: our confusion counts, arg-max and multi-scale prediction against the obvious ones.

OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/evaluation.py
"""

import torch
from comparison import compare
from torchmetrics.classification import MulticlassConfusionMatrix

from contextseg.classes import ClassSet
from contextseg.contract import IGNORE_INDEX
from contextseg.inference import MultiScale, Network, SlidingWindow, windows
from contextseg.inference.multi_scale import resized_image
from contextseg.layers.argmax import argmax_resized
from contextseg.layers.resize import resize
from contextseg.metrics import SegMetrics

SIZE, K = (512, 683), 150
VIEW_ROUNDS = 3


def logits_of(classes: int) -> Network:
    """Return a network of stride 8 that costs nothing: smooth logits, the same for every image of a size."""
    base = 3 * torch.randn(1, classes, 16, 22)
    return lambda image: resize(base, [-(-side // 8) for side in image.shape[-2:]]).expand(len(image), -1, -1, -1)


@torch.no_grad()
def plain_views(predictor: MultiScale, network: Network, image: torch.Tensor) -> torch.Tensor:
    """Label an image from probabilities (1, K, H, W) that are computed in full for each view and added."""
    total = torch.zeros(())
    for scale in predictor.scales:
        view = resized_image(image, predictor.size_at(scale, image.shape[-2:]))
        for seen in (network, predictor._mirrored(network)):
            if isinstance(predictor.inner, SlidingWindow):
                scores = plain_windows(predictor.inner, seen, view)
                total = total + resize(scores, image.shape[-2:])
            else:
                total = total + resize(seen(view), image.shape[-2:]).softmax(1)
    return total.argmax(1)


def plain_windows(predictor: SlidingWindow, network: Network, image: torch.Tensor) -> torch.Tensor:
    """Return probabilities (1, K, H, W): one float map of the view, to which each window is added."""
    total = 0
    for rows, columns in windows(image.shape[-2:], predictor.crop, predictor.stride):
        crop = image[..., rows, columns]
        part = resize(network(crop), crop.shape[-2:]).softmax(1)
        if isinstance(total, int):
            total = part.new_zeros(1, part.shape[1], *image.shape[-2:])
        total[..., rows, columns] += part
    return total.div_(total.sum(1, keepdim=True))


def compare_views(classes: int, size: tuple[int, int], crop: int) -> None:
    """Compare multi-scale and flip without a network's time: what the protocol itself costs."""
    network = logits_of(classes)
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    for name, inner in (("whole images", None), (f"windows of {crop}", SlidingWindow(crop))):
        ours = MultiScale(inner, flip=True)
        compare(
            f"6 scales x flip, {name}, K={classes}, {size[0]}x{size[1]}",
            VIEW_ROUNDS,
            ours=lambda ours=ours: ours(network, image),
            plain=lambda ours=ours: plain_views(ours, network, image),
        )
        assert torch.equal(ours(network, image).long(), plain_views(ours, network, image))


def compare_argmax(logits: torch.Tensor, size: tuple[int, int]) -> None:
    """Compare the arg-max at image size, of logits in either memory format."""
    channels_last = logits.contiguous(memory_format=torch.channels_last)
    for name, x in (("planes", logits), ("channels last", channels_last)):
        compare(
            f"arg-max at {size[0]}x{size[1]}, from {tuple(logits.shape)}, {name}",
            ours=lambda x=x: argmax_resized(x, size),
            plain=lambda x=x: resize(x, size).argmax(1),
        )
    assert torch.equal(argmax_resized(logits, size).long(), resize(logits, size).argmax(1))


def main() -> None:
    torch.manual_seed(0)
    logits = resize(3 * torch.randn(1, K, 16, 22), (64, 86))  # smooth, as the logits of a network are
    prediction = argmax_resized(logits, SIZE)
    mask = torch.where(torch.rand(1, *SIZE) < 0.7, prediction, torch.randint(K, (1, *SIZE), dtype=torch.uint8))
    mask[:, :20] = IGNORE_INDEX

    ours = SegMetrics(ClassSet("150", tuple(map(str, range(K))), ((0, 0, 0),) * K))
    checked = MulticlassConfusionMatrix(K, ignore_index=IGNORE_INDEX)
    unchecked = MulticlassConfusionMatrix(K, ignore_index=IGNORE_INDEX, validate_args=False)
    ours.update(prediction, mask)
    checked.update(prediction, mask)
    assert torch.equal(ours.confusion, checked.confmat)
    assert torch.equal(resize(logits, SIZE).argmax(1), prediction.long())

    compare(
        "confusion update",
        ours=lambda: ours.update(prediction, mask),
        torchmetrics=lambda: checked.update(prediction, mask),
        torchmetrics_unchecked=lambda: unchecked.update(prediction, mask),
    )
    compare_argmax(logits, SIZE)
    compare_argmax(resize(3 * torch.randn(1, 19, 32, 64), (128, 256)), (1024, 2048))
    compare_views(150, SIZE, 480)
    compare_views(19, (1024, 2048), 769)


if __name__ == "__main__":
    main()
