"""Several networks on one backbone, and several protocols, evaluated in one pass over the data."""

from collections.abc import Sequence
from typing import Any

import lightning as L
from torch import Tensor

from contextseg.contract import Batch, Maps
from contextseg.engine.module import SegModule
from contextseg.inference.protocols import by_each


class Together(L.LightningModule):
    """Evaluate `SegModule`s whose backbones are equal: each view passes the backbone once, then all heads.

    Those of one network differ in their predictors, which are the same for every network, in one order. Each keeps its
    own metrics and scores, and counts what it counts alone. A head that takes images of one size only,
    or is trained with another `align_corners` or `fill`, is shown other views, which pass the backbone for it.
    """

    def __init__(self, members: Sequence[SegModule]):
        super().__init__()
        self.members = list(members)
        self.groups: dict[Any, list[SegModule]] = {}  # of those that are shown the same views
        for number, member in enumerate(members):
            network = member.segmenter
            network.backbone = members[0].segmenter.backbone  # in memory once
            self.groups.setdefault((network.window, network.align_corners, network.fill), []).append(member)
            self.add_module(str(number), member)  # a child, which gets the trainer

    def on_validation_epoch_start(self) -> None:
        for member in self.members:
            member.forget()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        for members in self.groups.values():
            for member, labels in zip(members, self.predict_labels(members, batch), strict=True):
                member.count(labels, batch.mask)

    def on_validation_epoch_end(self) -> None:
        for member in self.members:
            member.score()

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def predict_labels(self, members: Sequence[SegModule], batch: Batch) -> list[Tensor]:
        """Label a batch by each of some members that are shown the same views -> of each, uint8 (B, H, W)."""
        image, mask = batch.image, batch.mask
        segmenters = list(dict.fromkeys(member.segmenter for member in members))
        predictors = [member.predictor for member in members if member.segmenter is segmenters[0]]
        if isinstance(image, Maps):  # they passed the backbone before
            return [member.predict_labels(image, mask) for member in members]

        def networks(view: Tensor) -> list[Tensor]:
            maps = members[0].segmenter.maps(view)
            return [segmenter.logits_of(maps, mask) for segmenter in segmenters]

        with self.trainer.precision_plugin.forward_context():
            found = by_each(predictors, networks, image, mask.shape[-2:])
        return [labels[number] for number in range(len(segmenters)) for labels in found]
