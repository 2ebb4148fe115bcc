"""A detector in a file: its settings, its classes and its weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN

from contextseg.errors import ConfigError
from contextseg.files import existing_checkpoint, first_damaged, side_file
from contextseg.instances.detector import mask_rcnn

FORMAT = 1


def save(path: Path, detector: MaskRCNN, settings: Mapping[str, Any], names: Sequence[str]) -> None:
    """Write a detector, the `settings` of `mask_rcnn` that rebuild it, and the names of its classes."""
    content = {"instances": FORMAT, "settings": dict(settings), "names": list(names)}
    with side_file(path) as side:
        torch.save(content | {"state_dict": detector.state_dict()}, side)


def load(path: Path) -> tuple[MaskRCNN, list[str]]:
    """Read a detector, in evaluation mode, and the names of its classes. Raises `ConfigError` for another file."""
    existing_checkpoint(path)
    try:
        if damaged := first_damaged(path):
            raise ConfigError(f"ckpt={path}: its part {damaged} is not as it was written")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"ckpt={path}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(content, dict) or content.get("instances") != FORMAT:
        raise ConfigError(
            f"ckpt={path}: no detector of `contextseg instances`; for a segmentation network use evaluate"
        )
    detector = mask_rcnn(len(content["names"]), **content["settings"] | {"weights": "none"})
    detector.load_state_dict(content["state_dict"])
    return detector.eval(), content["names"]
