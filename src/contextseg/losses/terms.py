"""The configured loss terms: what each reads, its settings and its weight. Maths: `losses.functional`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from contextseg.contract import ConfigError, LossTerm, SegOutput, read
from contextseg.losses import functional


class CrossEntropy(LossTerm):
    """Pixel cross-entropy on `reads`: the main loss ("logits") or the auxiliary one ("aux_logits").

    `class_weights`: one per class. `label_stride` s compares with every s-th label only, which is cheaper and, with
    logits at stride 8, nearly the same.
    """

    def __init__(
        self,
        *,
        reads: str = "logits",
        weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        label_stride: int = 1,
    ):
        super().__init__(weight)
        if label_stride < 1:
            raise ConfigError(f"label_stride={label_stride}: give 1 (every label) or a larger step")
        self.reads = reads
        self.label_stride = label_stride
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Output and mask uint8 (B, H, W) -> scalar."""
        logits, target = functional.at_label_size(read(output, self.reads), mask, self.label_stride)
        self.check_weights(logits.shape[1])
        return functional.cross_entropy(logits, target, self.class_weights)

    def check_weights(self, num_classes: int) -> None:
        """Raises `ConfigError` unless there is one weight per class."""
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise ConfigError(f"class_weights has {len(self.class_weights)} entries for {num_classes} classes")


class OHEM(CrossEntropy):
    """Online hard example mining in the place of the main cross-entropy ("bootstrapped" in CPNet, Section 4.3).

    Keeps pixels whose true class has probability below `threshold`, and at least `min_kept` per device and batch (the
    values of the released CCNet and OCR code).
    """

    def __init__(
        self,
        *,
        reads: str = "logits",
        weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        label_stride: int = 1,
        threshold: float = 0.7,
        min_kept: int = 100_000,
    ):
        super().__init__(reads=reads, weight=weight, class_weights=class_weights, label_stride=label_stride)
        if not 0 < threshold <= 1:
            raise ConfigError(f"ohem threshold={threshold}: give a probability in (0, 1]")
        self.threshold, self.min_kept = threshold, min_kept

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Output and mask uint8 (B, H, W) -> scalar."""
        logits, target = functional.at_label_size(read(output, self.reads), mask, self.label_stride)
        self.check_weights(logits.shape[1])
        return functional.ohem_cross_entropy(logits, target, self.threshold, self.min_kept, self.class_weights)
