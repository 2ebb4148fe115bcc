"""Instances drawn into their image, by torchvision."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

COLOURS = ((230, 60, 60), (60, 160, 240), (250, 190, 40), (90, 200, 90), (190, 90, 220), (60, 210, 200), (250, 130, 40))


def drawn(image: Tensor, found: dict[str, Tensor], names: list[str], least: float = 0.5) -> NDArray:
    """Draw masks, boxes and names of instances with at least this score: image float (3, H, W) -> uint8 (H, W, 3).

    Targets, which have no scores, are drawn without.
    """
    picture = (255 * image).to(torch.uint8).cpu()
    scores = found.get("scores", torch.ones(len(found["labels"])))
    keep = (scores >= least).cpu()
    if keep.any():
        masks, boxes, labels = (found[key].cpu()[keep] for key in ("masks", "boxes", "labels"))
        masks = (masks[:, 0] if masks.ndim == 4 else masks) > 0.5
        colours = [COLOURS[index % len(COLOURS)] for index in range(len(labels))]
        texts = [names[int(label) - 1] for label in labels]
        if "scores" in found:
            texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores.cpu()[keep].tolist(), strict=True)]
        picture = draw_segmentation_masks(picture, masks, alpha=0.5, colors=colours)
        picture = draw_bounding_boxes(picture, boxes, texts, colors=colours)
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
