"""Grey levels of a data set: the range of values beyond 8 bits, and what is left of it in 8."""

from collections.abc import Sequence

import numpy as np

from contextseg.commands.check_data.faults import Fault, Seen
from contextseg.data.depth import MIN_LEVELS, Found
from contextseg.data.pixels import Reading


def found(pairs: Sequence[Seen], reading: Reading) -> list[Fault]:
    """Return what the values of all images together show: a range to give, one that cuts off, few grey levels."""
    return [*_range(pairs, reading), *_few(pairs)]


def _range(pairs: Sequence[Seen], reading: Reading) -> list[Fault]:
    deep = [pair for pair in pairs if pair.values is not None]
    if not deep:
        return []
    lowest, low, high, highest = zip(*(pair.values for pair in deep if pair.values is not None), strict=True)
    values = Found(min(lowest), min(low), max(high), max(highest))
    give = (
        f"data.value_range=[{values.lowest:.6g},{values.highest:.6g}] keeps all of them, "
        f"data.value_range=[{values.low:.6g},{values.high:.6g}] cuts off the outermost"
    )
    said = f"{len(deep)} images of more than 8 bits hold values {values.in_words()}"
    if any(fault.kind == "value range" for pair in deep for fault in pair.faults):
        return [Fault("error", "value range", f"{said}; {give}", [])]
    if reading.value_range is None:
        return []
    black, white = reading.value_range
    if values.low < black or values.high > white:
        text = f"{said}, of which data.value_range=[{black:g},{white:g}] cuts off more than a thousandth; {give}"
        return [Fault("warning", "value range", text, [])]
    if values.levels(reading.value_range) < MIN_LEVELS:
        text = f"{said}, which is little of data.value_range=[{black:g},{white:g}]; {give}"
        return [Fault("warning", "value range", text, [])]
    return []


def _few(pairs: Sequence[Seen]) -> list[Fault]:
    histograms = [pair.histogram for pair in pairs if pair.histogram is not None]
    if not histograms:
        return []
    shares = np.cumsum(sum(histograms)) / np.sum(histograms)
    first, last = (int(np.searchsorted(shares, share)) for share in (0.001, 0.999))
    if first == last or last - first + 1 >= MIN_LEVELS:
        return []
    text = (
        f"the images have {last - first + 1} of 256 grey levels, {first} to {last}; if they were made from others with "
        "more bits, save those, and set data.value_range"
    )
    return [Fault("warning", "few grey levels", text, [])]
