"""The network: backbone -> (neck) -> head, and the auxiliary head if a loss term reads it."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from contextseg.backbones.base import Backbone
from contextseg.classes import ClassSet
from contextseg.contract import Head, Maps, Neck, SegOutput
from contextseg.data.limits import MAX_MEGAPIXELS
from contextseg.data.pixels import Reading
from contextseg.errors import ConfigError
from contextseg.inference import PAD_COLOUR, Predictor, WholeImage
from contextseg.inference.images import Images, as_tensors, is_batch
from contextseg.typed import Colour


class Segmenter(nn.Module):
    """Chain the parts: image uint8 (B, 3, H, W) -> `SegOutput`.

    classes        what it predicts, if they have names
    align_corners  how its logits are resized to the image
    value_range    values that became 0 and 255 in the files of more than 8 bits that it was trained on; `predict` reads
                   such files so
    fill           RGB beside the images that it was trained on, and in windows that reach beyond an image
    """

    def __init__(
        self,
        backbone: Backbone,
        neck: Neck,
        head: Head,
        aux_head: Head | None = None,
        *,
        classes: ClassSet | None = None,
        align_corners: bool = False,
        value_range: tuple[float, float] | None = None,
        fill: Colour = PAD_COLOUR,
    ):
        super().__init__()
        self.backbone, self.neck, self.head, self.aux_head = backbone, neck, head, aux_head
        self.classes, self.align_corners, self.value_range = classes, align_corners, value_range
        self.fill = fill
        self.max_megapixels = MAX_MEGAPIXELS  # `predict` refuses a larger file, unread

        if self.head.window and self.backbone.window and self.head.window != self.backbone.window:
            raise ConfigError(
                f"{type(head).__name__} takes images of {self.head.window} only, but the backbone of "
                f"{self.backbone.window}; leave out backbone.window"
            )

    @property
    def window(self) -> tuple[int, int] | None:
        """Return height and width in pixels of the only image size that head or backbone takes; None: any."""
        return self.head.window or self.backbone.window

    @property
    def named_classes(self) -> ClassSet:
        """Return `classes`. Raises `ConfigError` for a network that was built without them."""
        if self.classes is None:
            raise ConfigError(f"a {type(self.head).__name__} without class names: give Segmenter(..., classes=)")
        return self.classes

    def forward(self, image: Tensor | Maps, mask: Tensor | None = None) -> SegOutput:
        """Turn image uint8 (B, 3, H, W) [and, for an oracle, mask uint8 (B, H, W)] into logits (B, K, h, w), extras.

        A head of clips takes them too: uint8 (B, T, 3, H, W). Instead of the image it takes the maps that the backbone
        makes of it.
        """
        features = self.maps(image)
        output = self._head(features, mask)
        if self.aux_head is not None:
            aux_logits = self.aux_head(self.head.labelled(features)).logits
            output = output._replace(extras={**output.extras, "aux_logits": aux_logits})
        return output

    def logits(self, image: Tensor | Maps, mask: Tensor | None = None) -> Tensor:
        """Return the same logits (B, K, h, w) without the auxiliary head, for prediction and evaluation."""
        return self.logits_of(self.maps(image), mask)

    def logits_of(self, maps: list[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return the same logits (B, K, h, w) from what `maps` has just returned."""
        return self._head(maps, mask).logits

    def maps(self, image: Tensor | Maps) -> list[Tensor]:
        """Make the head's maps [(B T, C_i, h_i, w_i)] of images uint8 (B, 3, H, W) or clips uint8 (B, T, 3, H, W).

        An image stands for all frames that the head takes. Of `Maps` the backbone is spared. Raises `ConfigError` for
        clips of another number of frames.
        """
        frames = self.head.frames
        given = [one.to(self.backbone.mean.dtype) for one in image] if isinstance(image, Maps) else [image]
        if clips := given[0].ndim == 5:
            if given[0].shape[1] != frames:
                raise ConfigError(f"clips of {given[0].shape[1]} frames: {type(self.head).__name__} takes {frames}")
            given = [one.flatten(0, 1) for one in given]
        maps = given if isinstance(image, Maps) else self.backbone(given[0])
        return maps if clips or frames == 1 else [one.repeat_interleave(frames, 0) for one in maps]

    def _head(self, features: list[Tensor], mask: Tensor | None) -> SegOutput:
        features = self.neck(features)
        if not self.head.needs_mask:
            return self.head(features)
        if mask is None:
            raise ValueError(f"{type(self.head).__name__} is an oracle: it needs the ground truth and cannot predict")
        return self.head(features, mask)

    def adapted(self, predictor: Predictor) -> Predictor:
        """Return the predictor with this network's `align_corners` and `fill`, in windows if it takes one size only."""
        predictor = copy.copy(predictor.within(self.window).filling(self.fill))
        predictor.align_corners = self.align_corners
        return predictor

    @torch.no_grad()
    def predict(self, image: Images | Sequence[Images], *, probabilities: bool = False) -> Tensor | list[Tensor]:
        """Label one image or several, each uint8: a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W).

        Returns labels uint8 (H, W), or with `probabilities` float32 (K, H, W). Several are an array (B, H, W, 3) or a
        tensor (B, 3, H, W), whose results are stacked, or a list of images of any sizes, whose results are a list.
        It is one pass over the whole image in evaluation mode; a network that takes one size only (`window`) gets
        windows of that size. Raises `ConfigError` for pixels that are not uint8, saying how to convert them.
        """
        images = as_tensors(image, Reading(self.value_range, self.max_megapixels, upright=True, option="model."))
        predictor = self.adapted(WholeImage())
        answer = predictor.probabilities if probabilities else predictor
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            if isinstance(image, Tensor | np.ndarray):  # of one size: together, as evaluation does
                found = answer(self.logits, torch.stack(images).to(self.backbone.mean.device))
                return found if is_batch(image) else found[0]
            results = [answer(self.logits, one[None].to(self.backbone.mean.device))[0] for one in images]
        finally:
            for module, training in modes.items():
                module.training = training
        return results if is_batch(image) else results[0]
