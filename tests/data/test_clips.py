"""Clips: which frames are around a labelled one, and how samples of them are read."""

import numpy as np
import pytest
import torch

from contextseg.data.clips import Clips
from contextseg.data.dataset import KeyedDataset, collate
from contextseg.data.holdout import Subset
from contextseg.data.maps import MapDataset, collate_maps
from contextseg.data.neighbours import around, spacing
from contextseg.data.source import Source
from contextseg.data.transforms import TrainTransform
from contextseg.errors import ConfigError


def named(sequence, *numbers):
    return [f"{sequence}_{number:05d}" for number in numbers]


def test_a_clip_has_the_frames_on_both_sides_and_repeats_the_end_frame():
    names = named("A", 30, 60, 90, 120)
    assert around(names, 3) == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert around(names, 5)[0] == [0, 0, 0, 1, 2]
    assert around(names, 4)[1] == [0, 0, 1, 2]
    assert around(names, 3, step=2) == [[0, 0, 2], [0, 1, 3], [0, 2, 3], [1, 3, 3]]
    assert around(names, 1) == [[0], [1], [2], [3]]
    assert (spacing(names, around(names, 3)), spacing(names, around(names, 3, step=2))) == (30, 60)


def test_a_clip_keeps_the_order_of_numbers_not_of_names():
    assert around(["A_10", "A_9", "A_8"], 3) == [[1, 0, 0], [2, 1, 0], [2, 2, 1]]


def test_a_clip_ends_at_a_sequence_and_at_a_gap():
    names = [*named("A", 0, 31, 63), *named("B_f", 0, 1), "no number"]
    assert around(names, 3) == [[0, 0, 1], [0, 1, 1], [2, 2, 2], [3, 3, 4], [3, 4, 4], [5, 5, 5]]
    assert spacing(["A"], [[0, 0, 0]]) == 0


@pytest.mark.parametrize("wall", ["B_f00005", "B_00005", "A_00005"])
def test_a_clip_never_crosses_a_frame_of_another_split(wall):
    """Whether or not that frame is among the names; a frame of another sequence is no wall."""
    free = [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    barred = free if wall.startswith("A") else [[0, 0, 0], [1, 1, 2], [1, 2, 2]]
    assert around(named("B", 4, 6, 7), 3, walls=[wall]) == barred
    if not wall.startswith("A"):
        assert around(named("B", 4, 5, 6), 3, walls=[wall]) == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


class Numbers(Source):
    """Images of one grey level, their index; number 3 is larger."""

    def __len__(self):
        return 4

    def load(self, index):
        size = (6, 9) if index == 3 else (6, 8)
        mask = np.zeros(size, np.uint8)
        mask[:, : size[1] // 2] = 1
        return np.full((*size, 3), index, np.uint8), mask, f"A_{index}"


def clips(*places):
    source = Numbers(2)
    return Clips(Subset(source, [1, 2][: len(places)]), source, places)


def levels(clip):
    return np.asarray(clip).reshape(len(clip), -1)[:, 0].tolist()


def test_a_sample_is_the_clip_with_the_mask_of_its_middle_frame():
    source = clips([0, 1, 2], [1, 2, 2])
    assert (len(source), source.frames, source.name(1)) == (2, 3, "A_2")
    image, mask, name = source.read_clip(1)
    assert (image.shape, mask.shape, name, levels(image)) == ((3, 6, 8, 3), (6, 8), "A_2", [1, 2, 2])
    assert source.read(1)[0].shape == (6, 8, 3)
    held = Subset(source, [1])  # what `holdout` makes of generated clips
    assert (held.frames, held.places(0), levels(held.read_clip(0)[0])) == (3, [1, 2, 2], [1, 2, 2])


def test_frames_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="is a frame of 9x6 beside A_1 of 8x6"):
        clips([0, 1, 3]).read_clip(0)


def test_frames_are_augmented_alike():
    images, transform = Numbers(2), TrainTransform(scale=(0.5, 2), crop_size=(5, 5), brightness=0.5, flip=0.5)
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    images.load = lambda index: (noise, None, "")
    source = Clips(Subset(Numbers(2), [1]), images, [[0, 1, 2]])
    dataset = KeyedDataset(source, transform=transform, seed=1)
    for epoch in range(8):
        clip, mask, _ = dataset[epoch, 0]
        assert clip.shape == (3, 3, 5, 5)
        assert (clip == clip[:1]).all()
        image, alone = transform(noise, source.read_mask(0)[0], (1, epoch, 0))
        assert np.array_equal(clip[0].permute(1, 2, 0), image)
        assert np.array_equal(mask, alone)


def test_a_batch_of_clips():
    dataset = KeyedDataset(clips([0, 1, 2], [1, 2, 2]))
    batch = collate([dataset[0, 0], dataset[0, 1]])
    assert (batch.image.shape, batch.image.dtype, batch.mask.shape) == ((2, 3, 3, 6, 8), torch.uint8, (2, 6, 8))


class Levels:
    """Maps at strides 1 and 2 that hold the grey level of their image."""

    strides = (1, 2)

    def maps(self, images, index, mirrored):
        level = float(images.load(index)[0].mean())
        return [torch.full((2, 6, 8), level), torch.full((4, 3, 4), level)]


def test_maps_of_clips_are_those_of_their_frames():
    dataset = MapDataset(clips([0, 1, 2], [1, 2, 2]), Levels(), crop_size=(4, 4))
    batch = collate_maps([dataset[0, 0], dataset[0, 1]])
    assert [tuple(one.shape) for one in batch.image] == [(2, 3, 2, 4, 4), (2, 3, 4, 2, 2)]
    assert [[levels(clip) for clip in one] for one in batch.image] == [[[0, 1, 2], [1, 2, 2]]] * 2
    assert batch.mask.shape == (2, 4, 4)
