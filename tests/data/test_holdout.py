"""A part of the training split kept back to choose settings by."""

import json

import numpy as np
import pytest
from harness import train
from trees import plant

from contextseg.data.holdout import split_off
from contextseg.data.source import Source
from contextseg.datamodules.folder import Folder
from contextseg.errors import ConfigError


class Named(Source):
    """Samples that have only names."""

    def __init__(self, *names):
        super().__init__(2)
        self.names = names

    def __len__(self):
        return len(self.names)

    def load(self, index):
        return np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), self.names[index]


def names(source):
    return [source.name(index) for index in range(len(source))]


def test_of_frames_the_last_of_each_sequence_are_kept_back():
    frames = [f"b_{i}" for i in (30, 4, 5)] + [f"a_{i:03}" for i in range(8)]  # in no order
    rest, kept = split_off(Named(*frames), 0.25, frames=True)
    assert names(kept) == ["b_30", "a_006", "a_007"]
    assert sorted(names(rest) + names(kept)) == sorted(frames)


def test_of_other_images_every_nth_is_kept_back():
    rest, kept = split_off(Named(*"abcdefghij"), 0.2, frames=False)
    assert names(kept) == ["e", "j"]
    assert names(rest) == list("abcdfghi")


def test_the_parts_take_the_places_of_train_and_val(tmp_path):
    plant(tmp_path, train=10, val=2)
    data = Folder(root=str(tmp_path))
    data.holdout = 0.3
    train_part, val_part = data.source("train"), data.source("val")
    whole = Folder(root=str(tmp_path)).source("train")
    assert (len(train_part), len(val_part)) == (7, 3)
    for part in (train_part, val_part):
        for index, name in enumerate(names(part)):
            there = names(whole).index(name)
            assert part.fingerprint(index) == whole.fingerprint(there)
            assert part.files(index) == whole.files(there)
            assert part.size(index) == whole.size(there)
            assert part.where(index) == whole.where(there)
            assert np.array_equal(part.read_mask(index)[0], whole.read_mask(there)[0])
            assert np.array_equal(part.read(index)[0], whole.read(there)[0])


def test_a_share_that_leaves_nothing_is_refused(tmp_path):
    data = Folder(root=str(plant(tmp_path)))
    data.holdout = 0.05
    with pytest.raises(ConfigError, match=r"holdout=0\.05: of the 4 images .* 0 would be kept back"):
        data.source("train")


def test_a_run_says_that_its_score_is_of_the_part_kept_back(tmp_path):
    run = train(tmp_path, "holdout=0.5", "trainer.max_steps=2")
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["split"] == "holdout"
    assert (run.folder / "per_image/holdout_ss.npz").exists()
    assert not (run.folder / "per_image/val_ss.npz").exists()
    assert len(run.datamodule.source("val")) == len(run.datamodule.source("train"))
