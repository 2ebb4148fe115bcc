"""The library's entry points: a network by name, a trained one from its checkpoint, labels for an image."""

import inspect
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from contextseg import necks, parts
from contextseg.backbones.timm_features import TimmBackbone
from contextseg.backbones.tiny import Tiny
from contextseg.checkpoint import load_checkpoint
from contextseg.classes import MAX_CLASSES
from contextseg.contract import Head, Neck
from contextseg.errors import ConfigError
from contextseg.heads.fcn import FCNHead
from contextseg.inference.images import Images
from contextseg.recipe import head_classes, maps_known, only_class
from contextseg.segmenter import Segmenter

FACTS = ("in_channels", "num_classes", "strides")  # of a head, which are not the user's to set


def create_model(
    name: str,
    *,
    num_classes: int,
    backbone: str = "resnet50",
    weights: str = "none",
    output_stride: int | None = None,
    neck: str | None = None,
    aux_head: bool = False,
    align_corners: bool = False,
    **settings: Any,
) -> Segmenter:
    """Build a network without any configuration: `create_model("ocr", backbone="resnet50", num_classes=19)`.

    `name` is a file in `contextseg/heads`, `backbone` "tiny" or a timm name; neck and output stride are the head's own
    companions unless given. `settings` go to the head's constructor. `aux_head` adds an FCN head on the last map but
    one. `align_corners` is how logits, and maps in the neck and the head, are resized. Returns a `Segmenter`: image
    uint8 (B, 3, H, W) -> `SegOutput`. Raises `ConfigError` listing the known names.
    """
    known = head_classes()
    if name not in known:
        raise ConfigError(f"no head {name!r}; known: {', '.join(known)}")
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ConfigError(f"num_classes={num_classes}: give 1 to {MAX_CLASSES}; labels are uint8, and 255 is void")
    kind = known[name]
    stride = output_stride or kind.output_stride
    common: dict[str, Any] = {"output_stride": stride, "weights": weights}
    body = Tiny(**common) if backbone == "tiny" else TimmBackbone(backbone, **common)
    necks_known = [info.name for info in pkgutil.iter_modules(necks.__path__)]
    if neck not in (None, *necks_known):
        raise ConfigError(f"no neck {neck!r}; known: {', '.join(sorted(necks_known))}")
    joint = only_class(f"contextseg.necks.{neck or kind.neck}", Neck)
    between = joint(body.channels, body.strides, **corners_known(joint, align_corners))
    checked = parts.checked({"_target_": kind.__name__, **settings}, "head", FACTS, build=False)
    settings = corners_known(kind, align_corners) | checked
    head = kind(num_classes=num_classes, **maps_known(kind, between), **settings)
    aux = FCNHead(body.channels, num_classes, source=-2) if aux_head else None
    return Segmenter(body, between, head, aux, align_corners=align_corners)


def corners_known(kind: type[Neck] | type[Head], align_corners: bool) -> dict[str, bool]:
    """Return `align_corners` for a part that has such a setting."""
    return {"align_corners": align_corners} if "align_corners" in inspect.signature(kind).parameters else {}


def predict(
    model: Segmenter | str | Path, image: Images | Sequence[Images], *, probabilities: bool = False
) -> Tensor | list[Tensor]:
    """Label images with a network, or with that of a checkpoint file: `predict("last.ckpt", "street.jpg")`.

    `image`, the result and the errors are those of `Segmenter.predict`.
    """
    network = model if isinstance(model, Segmenter) else load_checkpoint(model)
    return network.predict(image, probabilities=probabilities)
