"""The LightningModule: it joins network, loss, optimizer, schedule, prediction and metrics."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torchmetrics import Metric

from contextseg.contract import Batch, Maps
from contextseg.engine.finite import refuse_non_finite
from contextseg.inference import Predictor
from contextseg.losses.total import LossSum
from contextseg.recipe import upgrade
from contextseg.segmenter import Segmenter


def evaluates_only(*_: Any) -> NoReturn:
    """Raise `ValueError`, in the place of an optimizer or a schedule."""
    raise ValueError("this SegModule was built without optimizer and schedule: it evaluates only")


class SegModule(L.LightningModule):
    """Train and evaluate a `Segmenter`.

    `optimizer(model)` and `schedule(optimizer, max_steps)` are partial functions. `metrics` holds `SegMetrics` under
    "seg" and those that the data set adds. `recipe` (what rebuilds the network), `config` (how it was trained) and
    `train_images` (fingerprints of the training images) go into every checkpoint. `frozen_batch_norm` keeps the batch
    statistics as they are, for fine-tuning with few images per device.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        loss: LossSum,
        predictor: Predictor,
        metrics: dict[str, Metric],
        *,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer] = evaluates_only,
        schedule: Callable[[torch.optim.Optimizer, int], Any] = evaluates_only,
        recipe: dict | None = None,
        config: dict | None = None,
        seed: int = 0,
        frozen_batch_norm: bool = False,
    ):
        super().__init__()
        self.segmenter, self.loss, self.predictor = segmenter, loss, predictor
        self.metrics = nn.ModuleDict(metrics)
        self.optimizer, self.schedule = optimizer, schedule
        self.recipe, self.config = recipe or {}, config or {}
        self.train_images: Tensor | None = None  # uint8 (N, 8), set by `engine.fit`
        self.seed, self.frozen_batch_norm = seed, frozen_batch_norm
        self.scores: dict[str, Any] = {}  # of the last evaluation
        self.scored_step = -1  # optimizer steps done when it ran

    # training

    def configure_optimizers(self) -> dict:
        optimizer = self.optimizer(self.segmenter)
        schedule = self.schedule(optimizer, self.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        self.train()  # Lightning leaves the mode as it finds it

    def train(self, mode: bool = True) -> "SegModule":
        super().train(mode)
        if mode and self.frozen_batch_norm:
            for module in self.modules():
                if isinstance(module, _NormBase):
                    module.eval()
        return self

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # dropout depends on (seed, batch, rank) alone, so a restart needs no saved generator state
        torch.manual_seed(int(np.random.SeedSequence([self.seed, batch_idx, self.global_rank]).generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss of a batch, and each term by name (a callback logs them)."""
        loss, terms = self.loss(self.segmenter(batch.image, batch.mask), batch.mask)
        return {"loss": loss, **terms}

    # evaluation: one path for validation and test

    def _metrics(self) -> Iterable[Metric]:
        return self.metrics.values()

    def forget(self) -> None:
        """Forget what was counted."""
        for metric in self._metrics():
            metric.reset()

    def predict_labels(self, image: Tensor | Maps, mask: Tensor) -> Tensor:
        """Label as evaluation does: image uint8 (B, 3, H, W), mask uint8 (B, H', W') -> labels uint8 (B, H', W').

        `WholeImage` takes the backbone's maps instead of the image too.
        """
        with self.trainer.precision_plugin.forward_context():
            if isinstance(image, Maps):  # of the one view of `WholeImage`
                return self.predictor(lambda _: self.segmenter.logits(image, mask), mask, mask.shape[-2:])
            return self.predictor(lambda view: self.segmenter.logits(view, mask), image, mask.shape[-2:])

    def count(self, prediction: Tensor, mask: Tensor) -> None:
        """Count labels uint8 (B, H, W) against a mask uint8 (B, H, W), in all metrics."""
        for metric in self._metrics():
            metric.update(prediction, mask)

    def score(self) -> None:
        """Compute the scores of what was counted, over all processes."""
        self.scores = {name: value for metric in self._metrics() for name, value in metric.compute().items()}

    def on_validation_epoch_start(self) -> None:
        self.forget()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.count(self.predict_labels(batch.image, batch.mask), batch.mask)

    def on_validation_epoch_end(self) -> None:
        self.score()
        self.scored_step = self.global_step
        self.log("miou", self.scores["miou"], logger=False)  # chooses the best checkpoint

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        refuse_non_finite(self._saved_tensors(checkpoint), checkpoint["global_step"])
        checkpoint["recipe"] = self.recipe
        checkpoint["config"] = self.config
        checkpoint["train_images"] = self.train_images

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        # an older version may have begun this run, and Lightning has read the file as it is
        checkpoint.update(upgrade(checkpoint, "resume", self._optimized(self.optimizer(self.segmenter))))

    def _optimized(self, optimizer: torch.optim.Optimizer) -> list[str]:
        """List the names of an optimizer's parameters, in the order in which it counts them."""
        names = {parameter: name for name, parameter in self.named_parameters()}
        return [names[p] for group in optimizer.param_groups for p in group["params"]]

    def _saved_tensors(self, checkpoint: dict) -> dict[str, Tensor]:
        """Return the weights, and what the optimizer keeps of each, by name."""
        kept = {
            f"{key} of {name}": value
            for optimizer, state in zip(self.trainer.optimizers, checkpoint.get("optimizer_states", []), strict=False)
            for number, name in enumerate(self._optimized(optimizer))
            for key, value in state["state"].get(number, {}).items()
            if isinstance(value, Tensor)
        }
        return checkpoint["state_dict"] | kept
