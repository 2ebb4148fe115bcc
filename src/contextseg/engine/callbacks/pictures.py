"""Pictures of fixed images (image | truth | prediction | error), for the run folder and the loggers."""

from pathlib import Path

import lightning as L
import numpy as np
import torch
from PIL import Image

from contextseg.classes import ClassSet
from contextseg.contract import IGNORE_INDEX
from contextseg.engine.callbacks.loggers import send_masks, send_pictures
from contextseg.typed import Natural
from contextseg.viz import panel


class Pictures(L.Callback):
    """Draw `count` evenly spaced images of the evaluated split after each evaluation, on rank 0.

    The files are replaced each time: `<folder>/<name>.png` shows the final weights. Loggers get them as
    `val/predictions`. Those that take masks get `val/masks`: the images, both masks, and the names of their classes.
    """

    def __init__(self, folder: str, count: Natural = 6):
        self.folder, self.count = Path(folder), count
        self.module: L.LightningModule | None = None  # of several that are evaluated together, the one to draw

    def on_validation_end(self, trainer, module):
        self._draw(trainer, module, "val")

    def on_test_end(self, trainer, module):
        self._draw(trainer, module, "test")

    def _draw(self, trainer, module, split):
        if not trainer.is_global_zero or self.count == 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        source = trainer.datamodule.source(split)
        module = self.module or module
        classes = module.segmenter.classes
        names, panels, images, masks = [], [], [], []
        for index in np.linspace(0, len(source) - 1, min(self.count, len(source))).astype(int):
            shown, mask, name = source.read_clip(int(index))
            image = shown if source.frames == 1 else shown[source.frames // 2]
            batch = torch.from_numpy(np.moveaxis(shown, -1, -3))[None].to(module.device)
            truth = torch.from_numpy(mask)[None].to(module.device)
            prediction = module.predict_labels(batch, truth)[0].cpu().numpy()
            names.append(name)
            images.append(image)
            masks.append({"truth": mask, "prediction": prediction})
            panels.append(panel(image, mask, prediction, classes))
            Image.fromarray(panels[-1]).save(self.folder / f"{name}.png")
        send_pictures(trainer, f"{split}/predictions", panels, names)
        send_masks(trainer, f"{split}/masks", images, names, masks, labels(classes))


def labels(classes: ClassSet) -> dict[int, str]:
    """Return the name of every value of a mask, void included."""
    return dict(enumerate(classes.names)) | {IGNORE_INDEX: "void"}
