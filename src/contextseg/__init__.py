"""Context aggregation in semantic segmentation. The library's entry points, loaded when first used:

create_model("ocr", backbone="resnet50", num_classes=19)   a network, without any configuration
load_checkpoint(path)                                       the trained network of a .ckpt
predict(path, image)                                        labels of an image
load_run(folder)                                            configuration, network, data module of a run
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextseg.checkpoint import load_checkpoint
    from contextseg.engine.load_run import load_run
    from contextseg.library import create_model, predict

__version__ = "0.2.0"
__all__ = ["create_model", "load_checkpoint", "load_run", "predict"]

_HOME = {"load_checkpoint": "contextseg.checkpoint", "load_run": "contextseg.engine.load_run"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "contextseg.library")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
