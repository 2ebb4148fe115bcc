"""Scores of a data set, in percent.

All counts are sums of integers over the data set, so batch size, order and number of processes change no digit.
"""

from contextseg.metrics.boundary_iou import BoundaryIoU
from contextseg.metrics.confusion import SegMetrics, count, scores
from contextseg.metrics.context_reach import ContextReach
from contextseg.metrics.image_cells import ImageCells
from contextseg.metrics.per_image import PerImageIoU

__all__ = ["BoundaryIoU", "ContextReach", "ImageCells", "PerImageIoU", "SegMetrics", "count", "scores"]
