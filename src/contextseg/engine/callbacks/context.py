"""Pictures of the context of one pixel during training."""

import logging
from pathlib import Path

import lightning as L
import numpy as np
import torch

from contextseg import viz
from contextseg.engine.callbacks.loggers import send_pictures
from contextseg.errors import ConfigError
from contextseg.explain import Look, context_picture, inside_picture
from contextseg.explain.context import maps_of
from contextseg.typed import Count, Natural

log = logging.getLogger(__name__)


class ContextPictures(L.Callback):
    """Draw the context maps of a fixed pixel of a validation image, and the head's inside, after each evaluation.

    Rank 0 draws; nothing is drawn for an oracle. `index`: of the image in its split; `point`: (x, y), null: its middle.
    An attention map has a number for each pair of places, so the network gets only the `side` x `side` pixels around
    the point. The files are replaced each time: `<folder>/<name>.png` and `<name>_inside.png` show the final weights.
    """

    def __init__(
        self, folder: str, index: Natural = 0, point: tuple[Natural, Natural] | None = None, side: Count = 512
    ):
        self.folder, self.index, self.point, self.side = Path(folder), index, point, side

    def on_fit_start(self, trainer, module):
        self.scene(trainer)  # refuse before anything is trained

    def on_validation_end(self, trainer, module):
        network = module.segmenter
        if not trainer.is_global_zero or network.head.needs_mask:
            return
        image, mask, name, point = self.scene(trainer)
        pixels = torch.from_numpy(np.moveaxis(image, -1, -3))
        try:
            with torch.inference_mode(False), torch.enable_grad():  # Lightning's evaluation takes no gradients
                look = Look(network, pixels)
                maps, inside = maps_of(look, point), look.inside()
                labels = look.probabilities()[1][0].numpy()
        except ConfigError as error:  # a backbone that takes images of some sizes only
            log.warning("no context pictures at step %d: %s", module.scored_step, error)
            return
        except torch.OutOfMemoryError:
            log.warning(
                "no memory left for context pictures at step %d: lower callbacks.context.side", module.scored_step
            )
            return
        self.show(trainer, "context", context_picture(image, labels, maps, point, network.classes), name)
        if inside:
            self.show(trainer, "inside", inside_picture(inside, network.classes, mask), name)

    def show(self, trainer: L.Trainer, kind: str, picture: np.ndarray, name: str) -> None:
        """Write a picture to its file and send it to the loggers."""
        viz.save(picture, self.folder / f"{name}{'' if kind == 'context' else f'_{kind}'}.png")
        send_pictures(trainer, f"val/{kind}", [picture], [name])

    def scene(self, trainer: L.Trainer) -> tuple[np.ndarray, np.ndarray, str, tuple[int, int]]:
        """Return image (H, W, 3), mask (H, W) and name of what the network gets, and the pixel (x, y) within it.

        Of a source of clips: (T, H, W, 3).

        Raises `ConfigError` if the validation split has no such image or the image no such pixel.
        """
        source = trainer.datamodule.source("val")
        if not 0 <= self.index < len(source):
            raise ConfigError(f"callbacks.context.index={self.index}: the validation split has {len(source)} images")
        image, mask, name = source.read_clip(self.index)
        height, width = mask.shape
        x, y = (width // 2, height // 2) if self.point is None else self.point
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(f"callbacks.context.point={[x, y]} lies outside {name}, which is {width} x {height}")
        left, top = (
            min(max(place - self.side // 2, 0), max(full - self.side, 0)) for place, full in ((x, width), (y, height))
        )
        rows, columns = slice(top, top + self.side), slice(left, left + self.side)
        return image[..., rows, columns, :], mask[rows, columns], name, (x - left, y - top)
