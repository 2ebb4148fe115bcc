"""How far a score can be believed: what other images, and other seeds, would have given. NumPy only.

ImageCounts.load(file)               the counts of every image of an evaluation
interval([counts], how)              between which scores lie 95 % of the resampled sets of images
difference(ours, theirs, how)        the same for two sets of seeds on the same images, with a p-value
Resampling(block=15)                 how images are resampled: one by one, or in blocks of frames of a video

docs/statistics.md says what each number can tell.
"""

from contextseg.statistics.bootstrap import Difference, Interval, difference, interval
from contextseg.statistics.image_counts import ImageCounts
from contextseg.statistics.resampling import Resampling
from contextseg.statistics.scores import SCORES

__all__ = ["SCORES", "Difference", "ImageCounts", "Interval", "Resampling", "difference", "interval"]
