"""The loss terms that a configuration names: each with its settings, its weight and what it reads of an output.

The mathematics is in the other files of `losses`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Ge, Gt, Le, MinLen
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import LossTerm, SegOutput, read
from contextseg.errors import ConfigError
from contextseg.losses import functional
from contextseg.losses.affinity import affinity_losses
from contextseg.losses.category_consistent import Distance, category_consistency
from contextseg.losses.class_probability import ACTIVATIONS, BATCH_WEIGHTS, TARGETS, class_probability_loss
from contextseg.typed import Natural, NonNegative, Positive


class CrossEntropy(LossTerm):
    """Compute the cross-entropy of pixels.

    reads          "logits", the main loss, or "aux_logits" or "region_logits", auxiliary ones
    weight         factor of the term in the sum
    class_weights  one per class
    label_stride   s: only every s-th label is compared, which is cheaper and, with logits at stride 8, nearly the same
    align_corners  of the resize of logits to labels
    mean_over      "valid" pixels, or "all", of which ignored ones count as 0; released code of CPNet: "all"

    Raises `ConfigError` in the first pass if the number of class weights differs from that of the classes.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        reads: Literal["logits", "aux_logits", "region_logits"] = "logits",
        weight: NonNegative = 1.0,
        class_weights: Annotated[Sequence[Positive], MinLen(1)] | None = None,
        label_stride: Annotated[int, Ge(1), Le(32)] = 1,
        align_corners: bool = False,
        mean_over: Literal["valid", "all"] = "valid",
    ):
        super().__init__(weight)
        if mean_over not in ("valid", "all"):
            raise ConfigError(f"cross-entropy mean_over={mean_over}: choose valid or all")
        self.reads, self.mean_over = reads, mean_over
        self.label_stride, self.align_corners = label_stride, align_corners
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Compute the term: output and mask uint8 (B, H, W) -> scalar."""
        logits = self.logits(output)
        target = functional.labels_at(mask, self.label_stride)
        return functional.cross_entropy(logits, target, self.class_weights, self.mean_over, self.align_corners)

    def logits(self, output: SegOutput) -> Tensor:
        """Return the logits (B, K, h, w) of `reads`. Raises `ConfigError` unless there is one weight per class."""
        logits = read(output, self.reads)
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise ConfigError(f"class_weights has {len(self.class_weights)} entries for {logits.shape[1]} classes")
        return logits


class OHEM(CrossEntropy):
    """Compute the cross-entropy of hard pixels alone ("bootstrapped" in CPNet, Section 4.3).

    threshold  pixels whose true class has a lower probability are hard; the default is that of released CCNet and OCR
    min_kept   number of pixels per device and batch that are hard in any case; the default as above

    The other settings are those of `CrossEntropy`.
    """

    def __init__(
        self,
        *,
        reads: Literal["logits", "aux_logits", "region_logits"] = "logits",
        weight: NonNegative = 1.0,
        class_weights: Annotated[Sequence[Positive], MinLen(1)] | None = None,
        label_stride: Annotated[int, Ge(1), Le(32)] = 1,
        align_corners: bool = False,
        threshold: Annotated[float, Gt(0), Le(1)] = 0.7,
        min_kept: Natural = 100_000,
    ):
        super().__init__(
            reads=reads,
            weight=weight,
            class_weights=class_weights,
            label_stride=label_stride,
            align_corners=align_corners,
        )
        if not 0 < threshold <= 1:
            raise ConfigError(f"ohem threshold={threshold}: give a probability in (0, 1]")
        self.threshold, self.min_kept = threshold, min_kept

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Compute the term: output and mask uint8 (B, H, W) -> scalar."""
        target = functional.labels_at(mask, self.label_stride)
        return functional.ohem_cross_entropy(
            self.logits(output), target, self.threshold, self.min_kept, self.class_weights, self.align_corners
        )


class Affinity(LossTerm):
    """Compute CPNet's affinity loss of the prior: `unary_weight` x Eq. 1 + `global_weight` x Eq. 5 (Eq. 6).

    weight         factor of the term in the sum
    unary_weight   of the pairs
    global_weight  of precision, recall and specificity; 0: the "BCE" of Table 1
    sums           a reading of the paper, as are `exclude_self`, `ignored_class` and `empty`; see `affinity_losses`
    labels         of the prior's cells: those nearest to the "centre", or in the upper left "corner" (released code)
    """

    reads = "prior_logits"

    def __init__(
        self,
        *,
        weight: NonNegative = 1.0,
        unary_weight: NonNegative = 1.0,
        global_weight: NonNegative = 1.0,
        sums: Literal["row", "column"] = "row",
        exclude_self: bool = False,
        ignored_class: bool = False,
        empty: Literal["one", "zero"] = "one",
        labels: Literal["centre", "corner"] = "centre",
    ):
        super().__init__(weight)
        if min(unary_weight, global_weight) < 0:
            raise ConfigError(f"affinity unary_weight={unary_weight}, global_weight={global_weight}: give 0 or more")
        if sums not in ("row", "column"):
            raise ConfigError(f"affinity sums={sums}: choose row or column")
        if empty not in ("one", "zero"):
            raise ConfigError(f"affinity empty={empty}: choose one or zero")
        if labels not in ("centre", "corner"):
            raise ConfigError(f"affinity labels={labels}: choose centre or corner")
        self.unary_weight, self.global_weight = unary_weight, global_weight
        self.losses = partial(
            affinity_losses, sums=sums, exclude_self=exclude_self, ignored_class=ignored_class, empty=empty
        )
        self.nearest = "nearest-exact" if labels == "centre" else "nearest"  # torch's names

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Compute the term: logits (B, K, h, w) with prior_logits (B, hw, hw), and mask uint8 (B, H, W) -> scalar."""
        _, num_classes, *size = output.logits.shape
        labels = F.interpolate(mask[:, None], size, mode=self.nearest).flatten(1)  # (B, hw)
        unary, glob = self.losses(read(output, self.reads), labels, num_classes)
        return self.unary_weight * unary + self.global_weight * glob


class CategoryConsistent(LossTerm):
    """Compute CCNet's category-consistent loss (Eq. 3-8) of the embedding, with the nearest label at its stride.

    weight     factor of the term in the sum
    alpha      of the variance (Eq. 8)
    beta       of the distance
    gamma      of the regularisation
    delta_var  distance to the class mean below which there is no variance (Eq. 6)
    delta_dis  distance beyond which the variance is linear; class means are kept twice as far apart (Eq. 7)
    distance   "piecewise", or "quadratic" throughout (Table 3)

    Class means are those of the batch on one device, not of all ranks.
    """

    reads = "embedding"

    def __init__(
        self,
        *,
        weight: NonNegative = 1.0,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 1.0,
        gamma: NonNegative = 0.001,
        delta_var: NonNegative = 0.5,
        delta_dis: NonNegative = 1.5,
        distance: Literal["piecewise", "quadratic"] = "piecewise",
    ):
        super().__init__(weight)
        if distance not in get_args(Distance):
            raise ConfigError(f"loss.term.ccl.distance={distance}: choose {' or '.join(get_args(Distance))}")
        if not 0 <= delta_var <= delta_dis:
            raise ConfigError(
                f"loss.term.ccl: delta_var={delta_var}, delta_dis={delta_dis}; give 0 <= delta_var <= delta_dis"
            )
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.delta_var, self.delta_dis, self.distance = delta_var, delta_dis, distance

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Compute the term: output and mask uint8 (B, H, W) -> scalar."""
        embedding = read(output, self.reads).float()
        size = embedding.shape[-2:]
        target = F.interpolate(mask.unsqueeze(1), size, mode="nearest-exact").squeeze(1)  # (B, h, w)
        parts = category_consistency(
            embedding,
            target.long(),
            num_classes=output.logits.shape[1],
            delta_var=self.delta_var,
            delta_dis=self.delta_dis,
            distance=self.distance,
        )
        return self.alpha * parts.variance + self.beta * parts.distance + self.gamma * parts.regularisation


class ClassProbability(LossTerm):
    """Compute CTNet's class-probability loss (Eq. 4): the classes of an image against their shares of its pixels.

    With `target` "presence" it is EncNet's semantic encoding loss (the terms `se`, `aux_se`).

    reads         whose scores: "class_probability", or "aux_class_probability" of an earlier stage
    weight        factor of the term in the sum
    activation    makes probabilities of the scores, as in the head: "softmax" or "sigmoid"
    batch_weight  reading of omega_n: "none" or "valid"; see `losses.class_probability`
    target        reading of P_gt: "share", "rescaled" or "presence" (sigmoid only); see there
    """

    def __init__(
        self,
        *,
        reads: Literal["class_probability", "aux_class_probability"] = "class_probability",
        weight: NonNegative = 1.0,
        activation: Literal["softmax", "sigmoid"] = "softmax",
        batch_weight: Literal["none", "valid"] = "none",
        target: Literal["share", "rescaled", "presence"] = "share",
    ):
        super().__init__(weight)
        if activation not in ACTIVATIONS:
            raise ConfigError(
                f"head.class_activation (loss.term.cp.activation)={activation}: choose {' or '.join(ACTIVATIONS)}"
            )
        if batch_weight not in BATCH_WEIGHTS:
            raise ConfigError(f"loss.term.cp.batch_weight={batch_weight}: choose {' or '.join(BATCH_WEIGHTS)}")
        if target not in TARGETS:
            raise ConfigError(f"loss.term.cp.target={target}: choose {' or '.join(TARGETS)}")
        if target == "presence" and activation != "sigmoid":
            raise ConfigError(
                f"loss.term.cp.target=presence (loss.term.se has no other) with head.class_activation "
                f"(loss.term.cp.activation)={activation}: a softmax cannot be 1 for several classes; choose sigmoid"
            )
        self.reads = reads
        self.activation, self.readings = activation, {"batch_weight": batch_weight, "target": target}

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Compute the term: output with scores (B, K), and mask uint8 (B, H, W) -> scalar."""
        scores = read(output, self.reads).float()
        return class_probability_loss(scores, mask, activation=self.activation, **self.readings)
