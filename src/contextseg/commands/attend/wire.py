"""The form in which maps travel to the page: a header in JSON, then their numbers."""

import json
from typing import Any

import numpy as np

from contextseg.errors import ConfigError
from contextseg.explain.draw_context import by_frame
from contextseg.explain.look import Answer


def packed(answer: Answer, **more: Any) -> bytes:
    """Pack maps: length of the header (uint32, little-endian), header, then float32 (h, w) of each map in turn.

    The header is JSON, padded with spaces so that the numbers begin at a multiple of 4 bytes. It holds `more`, the area
    in pixels of the image [left, top, width, height], and name, height, width and range of each map. Raises
    `ConfigError` for numbers that are not finite.
    """
    rows, columns = answer.area
    area = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    maps, numbers = [], []
    for name, values in by_frame(answer.maps).items():
        array = np.ascontiguousarray(values.numpy(), dtype="<f4")
        if not np.isfinite(array).all():
            raise ConfigError(f"the map {name} of this model holds numbers that are not finite: its training diverged")
        height, width = array.shape
        extent = {"low": float(array.min()), "high": float(array.max())}
        maps.append({"name": name, "height": height, "width": width, **extent})
        numbers.append(array.tobytes())
    header = json.dumps({**more, "area": area, "maps": maps}).encode()
    header += b" " * (-len(header) % 4)
    return len(header).to_bytes(4, "little") + header + b"".join(numbers)
