"""The curves of a run: losses, learning rates, speed and memory during training, scores after each evaluation."""

import logging
import resource
import sys
import time

import lightning as L
import torch

from contextseg.engine.callbacks.loggers import send_numbers
from contextseg.typed import Count

log = logging.getLogger(__name__)


class Record(L.Callback):
    """Send numbers to every logger, by optimizer step; the same step means the same weights in every curve.

    `train/...`: loss, each term, learning rate per parameter group, images per second, share of the time spent waiting
    for data, the most memory so far. `val/...`: all scalar scores and the IoU of each class. `images_per_second` and
    `seconds` are of the whole run without evaluation, `elapsed` (seconds) of all of it. A checkpoint keeps them, so a
    restart adds to them.
    """

    def __init__(self, every_steps: Count = 10):
        self.every_steps = every_steps
        self.images, self.seconds, self.waited = 0, 0.0, 0.0
        self.window = (0, 0.0, 0.0)  # the three above when the last row was written
        self.before, self.began = 0.0, time.perf_counter()

    @property
    def images_per_second(self) -> float:
        """Return the images of all processes per second of training."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def elapsed(self) -> float:
        """Return the seconds since the run began, without the time between a stop and a restart."""
        return self.before + time.perf_counter() - self.began

    def state_dict(self):
        return {"images": self.images, "seconds": self.seconds, "waited": self.waited, "elapsed": self.elapsed}

    def load_state_dict(self, state_dict):
        self.images, self.seconds, self.waited = (state_dict[name] for name in ("images", "seconds", "waited"))
        self.window = (self.images, self.seconds, self.waited)
        self.before, self.began = state_dict["elapsed"], time.perf_counter()

    def on_fit_start(self, trainer, module):
        self.began = time.perf_counter()

    def on_train_start(self, trainer, module):
        self.clock = time.perf_counter()

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.waited += time.perf_counter() - self.clock

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        now = time.perf_counter()
        self.seconds += now - self.clock
        self.clock = now
        self.images += len(batch.mask) * trainer.world_size
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and (trainer.global_step % self.every_steps == 0 or trainer.global_step == trainer.max_steps):
            self._write_training(trainer, outputs)

    def _write_training(self, trainer, outputs):
        images, seconds, waited = (
            now - before for now, before in zip((self.images, self.seconds, self.waited), self.window, strict=True)
        )
        self.window = (self.images, self.seconds, self.waited)
        row = {}
        for name, value in outputs.items():  # each process has its share of a term: the mean is that of the whole batch
            mean = trainer.strategy.reduce(value.detach().clone(), reduce_op="mean")
            row[f"train/{name if name == 'loss' else f'loss_{name}'}"] = float(mean)
        for group in trainer.optimizers[0].param_groups:
            row[f"train/lr_{group['name']}"] = float(group["lr"])
        row["train/images_per_second"] = images / seconds
        row["train/waiting_for_data"] = waited / seconds
        row |= peak_memory(trainer.strategy.root_device)
        send_numbers(trainer, row)

    def on_validation_end(self, trainer, module):
        scores = module.scores
        row = {f"val/{name}": value for name, value in scores.items() if isinstance(value, int | float)}
        names = module.segmenter.classes.names
        row |= {f"val/iou/{name}": float(value) for name, value in zip(names, scores["iou"], strict=True)}
        send_numbers(trainer, row)
        if trainer.is_global_zero:
            log.info(
                "step %d/%d  miou %.2f  pix_acc %.2f  (%.0f images/s)",
                module.scored_step,
                trainer.max_steps,
                scores["miou"],
                scores["pix_acc"],
                self.images_per_second,
            )
        self.clock = time.perf_counter()


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory (GiB) of rank 0: RAM without that of its data workers, and on a GPU that of tensors."""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
    row = {"train/peak_ram_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30}
    if device.type == "cuda":
        row["train/peak_gpu_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return row
