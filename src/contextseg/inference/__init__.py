"""Prediction over any callable `network(image uint8 (B, 3, H, W)) -> logits (B, K, h, w)`."""

from contextseg.inference.multi_scale import MultiScale, RandomScales
from contextseg.inference.predictor import Network, Predictor
from contextseg.inference.sliding import PAD_COLOUR, SlidingWindow, padded, windows
from contextseg.inference.whole import WholeImage

__all__ = [
    "PAD_COLOUR",
    "MultiScale",
    "Network",
    "Predictor",
    "RandomScales",
    "SlidingWindow",
    "WholeImage",
    "padded",
    "windows",
]
