"""Mask R-CNN with a context block in its backbone.

Source: He, Gkioxari, Dollar, Girshick: Mask R-CNN (ICCV 2017), as torchvision has it, with a feature pyramid; CCNet
(Huang et al., TPAMI), Section 4.6 and Table 8: recurrent criss-cross attention, or a non-local block (Wang et al., CVPR
2018), before the last block of res4. Whether CCNet's baseline has a pyramid is not said; its AP is that of one.
"""

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from contextseg.errors import ConfigError
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.non_local import NonLocal

Context = Literal["none", "nonlocal", "rcca"]
Trunk = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
LEVELS = 5  # of the pyramid


class Loops(nn.Module):
    """Apply one block R times: features (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, block: nn.Module, count: int):
        super().__init__()
        self.block, self.count = block, count

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: features (B, C, h, w) -> (B, C, h, w)."""
        for _ in range(self.count):
            x = self.block(x)
        return x


def mask_rcnn(
    num_classes: int,
    *,
    backbone: Trunk = "resnet50",
    context: Context = "none",
    recurrence: int = 2,
    weights: str = "none",
    sides: tuple[int, int] = (800, 1333),
    anchor: int = 32,
    proposals: int = 1000,
) -> MaskRCNN:
    """Build the detector of `num_classes` classes beside the background.

    backbone    a ResNet with a feature pyramid
    context     before the last block of res4: nothing, a non-local block or R criss-cross loops. Both add what they
                found times a factor that starts at 0, so that a trained backbone is not disturbed
    recurrence  R
    weights     of the backbone: "none", "imagenet" or a file with torchvision's names. With weights its norms are
                fixed, and so are its stem and its first stage
    sides       images are resized to this shorter side, or to this longer side if that would be exceeded
    anchor      side of the smallest anchor in pixels; each of the five levels doubles it
    proposals   regions of an image that are looked at, twice as many in training, of which at most 512 are examples

    Raises `ConfigError` for weights that cannot be had.
    """
    if context not in get_args(Context):
        raise ConfigError(f"context={context}: choose {', '.join(get_args(Context))}")
    trained = weights != "none"
    body = resnet_fpn_backbone(
        backbone_name=backbone,
        weights=None,
        norm_layer=FrozenBatchNorm2d if trained else nn.BatchNorm2d,
        trainable_layers=3 if trained else 5,
    )
    if trained:
        load(body.body, weights, backbone)
    if context != "none":
        stage = body.body["layer3"]
        width = stage[0].downsample[1].weight.numel()  # of res4
        block = CrissCrossAttention(width, gate=True) if context == "rcca" else NonLocal(width, gate=True)
        stage[-1] = nn.Sequential(Loops(block, recurrence if context == "rcca" else 1), stage[-1])
    anchors = AnchorGenerator(tuple((anchor * 2**level,) for level in range(LEVELS)), ((0.5, 1.0, 2.0),) * LEVELS)
    shorter, longer = sides
    return MaskRCNN(
        body,
        num_classes + 1,
        min_size=shorter,
        max_size=longer,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=2 * proposals,
        rpn_pre_nms_top_n_test=proposals,
        rpn_post_nms_top_n_train=2 * proposals,
        rpn_post_nms_top_n_test=proposals,
        box_batch_size_per_image=min(proposals, 512),
    )


def load(body: nn.Module, weights: str, backbone: str) -> None:
    """Load the weights of a ResNet, "imagenet" or a file, into a body without a classifier."""
    try:
        if weights == "imagenet":
            state = get_model_weights(backbone).IMAGENET1K_V1.get_state_dict(progress=False)
        else:
            state = torch.load(Path(weights), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"weights={weights}: {error}; give none or a file with torchvision's names") from error
    known = body.state_dict()
    found = {name: value for name, value in state.items() if name in known}
    missing = [name for name in known if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(f"weights={weights}: lacks {len(missing)} tensors of {backbone}, such as {missing[0]}")
    body.load_state_dict(found, strict=False)
