"""COCO's average precision of boxes and masks, with each image counted once over all processes."""

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

FIGURES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


class AveragePrecision:
    """Collect detections, and compute torchmetrics' MeanAveragePrecision on pycocotools.

    The states of all processes are gathered here: torchmetrics waits forever, or drops images, if a process has more
    images than another.
    """

    def __init__(self) -> None:
        self.metric = self.fresh()

    @staticmethod
    def fresh() -> MeanAveragePrecision:
        """Make an empty metric."""
        return MeanAveragePrecision(iou_type=("bbox", "segm"), backend="pycocotools", sync_on_compute=False)

    def update(self, found: list[dict[str, Tensor]], truth: list[dict[str, Tensor]]) -> None:
        """Add images: detections with `boxes`, `labels`, `scores` and `masks` (n, 1, H, W), and targets."""
        binary = [one | {"masks": one["masks"][:, 0] > 0.5} for one in found]
        on_cpu = [[{name: value.cpu() for name, value in one.items()} for one in part] for part in (binary, truth)]
        wanted = [
            {name: value.bool() if name == "masks" else value for name, value in one.items()} for one in on_cpu[1]
        ]
        self.metric.update(on_cpu[0], wanted)

    def compute(self) -> dict[str, float]:
        """Return box_ap, box_ap_50, ..., mask_ap, ... in percent; -1 becomes NaN: there is nothing of that size.

        Starts anew afterwards. Every process returns the same.
        """
        state = self.metric.metric_state
        states = [state]
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            states = [None] * dist.get_world_size()
            dist.all_gather_object(states, state)
        whole = self.fresh()
        for name in state:
            setattr(whole, name, [item for one in states for item in one[name]])
        whole._update_count = 1  # it has seen what was gathered
        found = whole.compute()
        self.metric = self.fresh()
        scores = {}
        for figure in FIGURES:
            for ours, theirs in (("box", "bbox"), ("mask", "segm")):
                value = float(found[f"{theirs}_{figure}"])
                scores[f"{ours}_{figure.replace('map', 'ap')}"] = torch.nan if value < 0 else 100 * value
        return scores
