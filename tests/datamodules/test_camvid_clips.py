"""CamVid's clips: labelled neighbours or the frames of a video, and what a clip never crosses."""

import logging

import numpy as np
import pytest
from PIL import Image

from contextseg.datamodules.camvid_clips import CamVidClips
from contextseg.errors import ConfigError

FRAMES = {  # labelled, as in SegNet's split: val lies in a hole of train
    "train": ["0001TP_006690", "0001TP_006720", "0016E5_07890", "0016E5_07920", "0016E5_08190"],
    "val": ["0016E5_07959", "0016E5_07961", "0016E5_07963"],
    "test": ["0001TP_006750", "Seq05VD_f00000", "Seq05VD_f00030"],
}


def picture(path, level, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path)


@pytest.fixture
def root(tmp_path):
    for split, names in FRAMES.items():
        for level, name in enumerate(names):
            picture(tmp_path / "camvid" / split / f"{name}.png", level)
            mask = tmp_path / "camvid" / f"{split}annot" / f"{name}.png"
            mask.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((6, 8), level, np.uint8)).save(mask)
    return tmp_path / "camvid"


def numbers(data, split):
    """Of each labelled frame, the numbers of its clip."""
    source = data.source(split)
    names = [[source.images.name(place) for place in source.places(index)] for index in range(len(source))]
    return [[int(name.split("_")[1].lstrip("f")) for name in clip] for clip in names]


def test_the_neighbours_are_the_labelled_frames_of_the_split(root, caplog):
    caplog.set_level(logging.INFO)
    data = CamVidClips(root=str(root), frames=3)
    assert numbers(data, "train") == [
        [6690, 6690, 6720],
        [6690, 6720, 6720],
        [7890, 7890, 7920],
        [7890, 7920, 7920],
        [8190, 8190, 8190],
    ]
    assert numbers(data, "val") == [[7959, 7959, 7961], [7959, 7961, 7963], [7961, 7963, 7963]]
    assert numbers(data, "test") == [[6750, 6750, 6750], [0, 0, 30], [0, 30, 30]]
    assert "train: clips of 3 frames, 30 numbers apart (median); 5 of 5 repeat an end frame" in caplog.text
    assert "val: clips of 3 frames, 2 numbers apart (median); 2 of 3 repeat an end frame" in caplog.text


def test_a_sample_is_a_clip_with_the_mask_of_the_labelled_frame(root):
    source = CamVidClips(root=str(root), frames=3).source("val")
    clip, mask, name = source.read_clip(1)
    assert (clip.shape, clip[:, 0, 0, 0].tolist(), name) == ((3, 6, 8, 3), [0, 1, 2], "0016E5_07961")
    assert (mask == 1).all()


def test_one_frame_is_an_image(root):
    source = CamVidClips(root=str(root), frames=1).source("val")
    assert source.frames == 1
    assert source.read_clip(1)[0].shape == (6, 8, 3)


def test_what_is_held_out_is_no_neighbour(root):
    data = CamVidClips(root=str(root), frames=3)
    data.holdout = 0.4
    assert numbers(data, "train") + numbers(data, "val") == [
        [6690, 6690, 6690],
        [7890, 7890, 7920],
        [7890, 7920, 7920],
        [6720, 6720, 6720],
        [8190, 8190, 8190],
    ]


@pytest.fixture
def video(tmp_path):
    """Every tenth frame, and those around the labelled ones; one sequence has names of another form."""
    folder = tmp_path / "video"
    for sequence, frames in {
        "0001TP": [*range(6680, 6770, 10), 6689, 6691],
        "0016E5": [*range(7880, 8000, 10), 7960, 7962, 8185, 8190],
        "Seq05VD": [*range(0, 40, 10)],
    }.items():
        for number in frames:
            picture(folder / sequence / f"{sequence}_{number:06d}.jpg", 200)
    return folder


def test_the_neighbours_are_the_frames_of_a_video(root, video):
    """Not those on the other side of a frame of another split, or of a gap."""
    data = CamVidClips(root=str(root), frames=3, video=str(video))
    assert numbers(data, "train") == [
        [6689, 6690, 6691],
        [6710, 6720, 6730],
        [7880, 7890, 7900],
        [7910, 7920, 7930],
        [8185, 8190, 8190],
    ]
    assert numbers(data, "val") == [[7950, 7959, 7960], [7960, 7961, 7962], [7962, 7963, 7970]]
    assert numbers(data, "test")[1:] == [[0, 0, 10], [20, 30, 30]]
    wide = CamVidClips(root=str(root), frames=3, video=str(video), step=5)
    assert numbers(wide, "train")[3] == [7880, 7920, 7950]  # 7959 is of val
    assert numbers(wide, "train")[1] == [6689, 6720, 6740]  # 6750 is of test


def test_the_labelled_frame_is_its_own_file_and_the_others_are_the_video_s(root, video):
    clip, mask, _ = CamVidClips(root=str(root), frames=3, video=str(video)).source("train").read_clip(1)
    assert abs(clip[:, 0, 0, 0].astype(int) - [200, 1, 200]).max() <= 2
    assert (mask == 1).all()


def test_a_video_without_a_sequence_is_refused(root, video):
    (video / "Seq05VD").rename(root.parent / "elsewhere")
    data = CamVidClips(root=str(root), video=str(video))
    assert data.source("train").frames == 5
    with pytest.raises(ConfigError, match=r"data\.video=.*: holds no frame of Seq05VD; give a folder"):
        data.source("test")
    with pytest.raises(ConfigError, match=r"data\.video=nowhere: holds no frame of 0001TP, 0016E5"):
        CamVidClips(root=str(root), video="nowhere").source("train")


def test_frames_of_another_size_are_refused_before_training(root, video):
    picture(video / "0016E5" / "0016E5_007962.jpg", 0, (9, 6))
    data = CamVidClips(root=str(root), frames=3, video=str(video))
    with pytest.raises(ConfigError, match=r"0016E5_007962\.jpg is a frame of 9x6 beside 0016E5_07961 of 8x6"):
        data.check(splits=("val",))
