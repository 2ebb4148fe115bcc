"""Context aggregation in semantic segmentation. Library entry points, loaded when first used:

create_model("ocr", backbone="resnet50", num_classes=19)   a network, without any configuration
load_checkpoint(path)                                       the trained network of a .ckpt
load_run(folder)                                            configuration, network, data module of a run
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {"create_model": "contextseg.build", "load_checkpoint": "contextseg.checkpoint", "load_run": "contextseg.run"}
__all__ = ["create_model", "load_checkpoint", "load_run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
