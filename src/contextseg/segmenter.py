"""The network: backbone -> (neck) -> head, and the auxiliary head when a loss term asks for it."""

import copy

import torch
from torch import Tensor, nn

from contextseg.backbones.base import Backbone
from contextseg.classes import ClassSet
from contextseg.contract import Head, Neck, SegOutput
from contextseg.inference import Predictor, WholeImage


class Segmenter(nn.Module):
    """Chains the parts; an `nn.Module` like any other, with the `classes` it predicts.

    `align_corners`: how its logits are brought to the size of an image.
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
    ):
        super().__init__()
        self.backbone, self.neck, self.head, self.aux_head = backbone, neck, head, aux_head
        self.classes, self.align_corners = classes, align_corners

    def forward(self, image: Tensor, mask: Tensor | None = None) -> SegOutput:
        """Image uint8 (B, 3, H, W) [and mask uint8 (B, H, W) for an oracle] -> logits (B, K, h, w) and all extras."""
        features = self.backbone(image)
        output = self._head(features, mask)
        if self.aux_head is not None:
            output = output._replace(extras={**output.extras, "aux_logits": self.aux_head(features).logits})
        return output

    def logits(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same logits (B, K, h, w) without the auxiliary head: what prediction and evaluation need."""
        return self._head(self.backbone(image), mask).logits

    def _head(self, features: list[Tensor], mask: Tensor | None) -> SegOutput:
        features = self.neck(features)
        if not self.head.needs_mask:
            return self.head(features)
        if mask is None:
            raise ValueError(f"{type(self.head).__name__} is an oracle: it needs the ground truth and cannot predict")
        return self.head(features, mask)

    def adapted(self, predictor: Predictor) -> Predictor:
        """The predictor as this network needs it: in windows of the one size it takes, with its way of resizing."""
        predictor = copy.copy(predictor.within(self.head.window))
        predictor.align_corners = self.align_corners
        return predictor

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """Image uint8 (3, H, W) or (B, 3, H, W) -> labels uint8 (H, W) or (B, H, W), in evaluation mode.

        One pass over the whole image; a head that takes one size only (`Head.window`) gets windows of that size.
        """
        modes = {module: module.training for module in self.modules()}
        self.eval()
        images = image if image.ndim == 4 else image[None]
        try:
            labels = self.adapted(WholeImage())(self.logits, images.to(self.backbone.mean.device))
        finally:
            for module, training in modes.items():
                module.training = training
        return labels if image.ndim == 4 else labels[0]
