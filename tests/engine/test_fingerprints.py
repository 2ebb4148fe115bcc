"""Images that were trained on, known by their content."""

import numpy as np
from trees import plant, save

from contextseg.commands.check_data.faults import across, examine
from contextseg.datamodules.folder import Folder
from contextseg.engine.fingerprints import fingerprints, seen_before


def test_pictures_of_one_colour_are_no_leak(tmp_path):
    plant(tmp_path, train=3, val=3)
    for split in ("train", "val"):
        save(tmp_path / f"images/{split}/{split}0.jpg", np.full((24, 32, 3), 77))
        save(tmp_path / f"masks/{split}/{split}1.png", np.zeros((24, 33)))
    data = Folder(root=str(tmp_path))
    known = fingerprints(data.source("train"))
    assert seen_before(known, data.source("val")) == 0
    assert faults(data) == []
    save(tmp_path / "masks/val/val1.png", np.zeros((24, 33)))
    (tmp_path / "images/val/val1.jpg").write_bytes((tmp_path / "images/train/train1.jpg").read_bytes())
    assert seen_before(known, data.source("val")) == 1
    assert faults(data) == ["in two splits"]


def faults(data):
    pairs = [examine(data.source(split), split, i) for split in ("train", "val") for i in range(3)]
    return [fault.kind for fault in across(pairs)]
