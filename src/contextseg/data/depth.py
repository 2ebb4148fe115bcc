"""Values beyond 8 bits: which of them become black and white."""

from typing import NamedTuple

import numpy as np

from contextseg.data.limits import ValueRange, way_out
from contextseg.errors import ConfigError

WHOLE: ValueRange = (0, 65535)
MIN_LEVELS = 64  # of 256: a file that would keep fewer is refused without a range
MAX_SAMPLES = 2**18  # values by which the range of a picture is found
ROWS = 256  # that are scaled at a time, to save memory


class Found(NamedTuple):
    """The range of the values of a picture: of all of them, and without a thousandth at each end."""

    lowest: float
    low: float
    high: float
    highest: float

    def levels(self, value_range: ValueRange) -> float:
        """Return how many of 256 grey levels lie between `low` and `high`."""
        first, last = np.clip([self.low, self.high], *value_range)
        return float(256 * (last - first) / (value_range[1] - value_range[0]))

    def in_words(self) -> str:
        """Write both ranges."""
        return f"{self.lowest:.6g} to {self.highest:.6g} (99.8 % of them {self.low:.6g} to {self.high:.6g})"


def found(values: np.ndarray) -> Found:
    """Find the range of values of any shape; its inner part by a sample of large pictures."""
    some = values.reshape(-1)[:: max(1, values.size // MAX_SAMPLES)]
    low, high = np.percentile(some, [0.1, 99.9], method="nearest")
    return Found(float(values.min()), float(low), float(high), float(values.max()))


def to_bytes(values: np.ndarray, value_range: ValueRange | None, name: object, option: str | None = "") -> np.ndarray:
    """Scale values (H, W) or (H, W, 3) so that `value_range` becomes 0 to 255, and cut off what lies beyond.

    Returns uint8 (H, W, 3). Without a range 16 bits are divided by 257. Raises `ConfigError`, naming the range found,
    for other values, and where fewer than `MIN_LEVELS` grey levels would be left; and for values that are no numbers.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ConfigError(f"{name} holds values that are not finite (NaN or infinite); replace them by numbers")
    if value_range is None:
        refuse_unscaled(found(values), values.dtype, name, option)
    low, high = value_range or WHOLE
    exact = np.float32 if values.dtype.itemsize <= 2 else np.float64
    image = np.empty((*values.shape[:2], 3), np.uint8)
    for top in range(0, len(values), ROWS):
        rows: np.ndarray = values[top : top + ROWS].astype(exact)
        rows = ((rows - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)
        image[top : top + ROWS] = rows if rows.ndim == 3 else rows[..., None]
    return image


def refuse_unscaled(seen: Found, dtype: np.dtype, name: object, option: str | None) -> None:
    """Raise `ConfigError` for values that need a range: no 16 bits, or few grey levels left."""
    give = way_out(option, f"value_range=[black,white], such as [{seen.lowest:.6g},{seen.highest:.6g}]")
    if dtype.kind == "f" or seen.lowest < 0 or seen.highest > WHOLE[1]:
        raise ConfigError(f"{name} has values beyond 16 bits or with fractions, {seen.in_words()}; {give}")
    levels = seen.levels(WHOLE)
    if levels < MIN_LEVELS and seen.lowest < seen.highest:  # a picture of one colour loses nothing
        raise ConfigError(
            f"{name} has 16 bits but values {seen.in_words()}, so {max(1, round(levels))} of 256 grey levels would be "
            f"left; {give}, or [0,65535] if that is meant"
        )


def colours(data: bytes) -> np.ndarray:
    """Decode a file of 16 bits per channel, of which PIL reads the upper 8: uint16 (H, W, 3) RGB.

    Raises `OSError` if OpenCV cannot.
    """
    import cv2  # here, because hardly anyone needs it

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16:
        raise OSError("16 bits per channel of a kind that OpenCV does not read")
    return np.repeat(image[..., None], 3, -1) if image.ndim == 2 else np.ascontiguousarray(image[..., 2::-1])
