"""TensorBoard's event files, without a second point for a step that a restart did again."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

ADDING = ("add_scalar", "add_image", "add_text")  # methods of the writer


class TensorBoard(TensorBoardLogger):
    """Write `<folder>/tensorboard/`; `settings` go to Lightning's logger."""

    def __init__(self, folder: str, **settings: Any):
        super().__init__(folder, **{"name": "tensorboard", "version": "", "default_hp_metric": False} | settings)

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Have TensorBoard hide what was written of later steps, which are done again.

        An evaluation after the last step may be done again too: of `step`, only what is not there yet is written.
        """
        self._kwargs["purge_step"] = step + 1  # of the writer, which is made at its first use
        there = tags(self.log_dir, step)
        for name in ADDING:
            setattr(self.experiment, name, unless_there(getattr(self.experiment, name), step, there))


def tags(folder: str, step: int) -> set[str]:
    """Return the tags of the numbers, pictures and texts that the event files in a folder hold of a step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    read = {"scalars": events.Scalars, "images": events.Images, "tensors": events.Tensors}
    found = {
        tag for kind, points in read.items() for tag in events.Tags()[kind] if any(p.step == step for p in points(tag))
    }
    return {tag.removesuffix("/text_summary") for tag in found}


def unless_there(add: Callable[..., None], step: int, there: set[str]) -> Callable[..., None]:
    """Wrap a method of the writer so that it adds nothing that is there of a step."""

    def add_once(tag: str, value: Any, global_step: int | None = None, *args: Any, **settings: Any) -> None:
        if global_step != step or tag not in there:
            add(tag, value, global_step, *args, **settings)

    return add_once
