"""The file of the counts of every image: read as it was written, or refused by name."""

from contextlib import suppress

import numpy as np
import pytest

from contextseg.errors import ConfigError
from contextseg.statistics import ImageCounts


def test_a_damaged_file_is_refused_whatever_breaks(tmp_path):
    path = tmp_path / "val_ss.npz"
    counts = ImageCounts(("a", "b"), 2, np.array([[0, 0, 0, 5], [1, 1, 0, 3]]))
    counts.save(path)
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 0b100101
        path.write_bytes(changed)
        with suppress(ConfigError):
            found = ImageCounts.load(path)
            assert found.names == counts.names  # a date was changed, or the like
            assert np.array_equal(found.cells, counts.cells)
    path.write_bytes(data[:-1])
    with pytest.raises(ConfigError, match=r"val_ss\.npz cannot be read"):
        ImageCounts.load(path)
