"""Clips on their way through prediction: around each frame of a video, in views, windows and batches."""

import numpy as np
import pytest
import torch

from contextseg import create_model
from contextseg.inference import MultiScale, SlidingWindow, WholeImage
from contextseg.inference.clips import sliding
from contextseg.inference.labeller import Labeller
from contextseg.inference.multi_scale import resized_image

T = 3


def video(count, size=(4, 6)):
    return [np.full((*size, 3), number, np.uint8) for number in range(count)]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 4, 20])
def test_a_clip_around_every_frame_repeats_the_end_frames(count, step, length):
    clips = list(sliding(iter(video(length)), count, step))
    wanted = [[at + step * (t - count // 2) for t in range(count)] for at in range(length)]
    assert [[int(frame[0, 0, 0]) for frame in clip] for clip in clips] == np.clip(wanted, 0, length - 1).tolist()
    assert all(clip.shape == (count, 4, 6, 3) for clip in clips)


def test_without_clips_frames_stay_as_they_are():
    frames = video(3)
    assert all(one is other for one, other in zip(sliding(frames, 1), frames, strict=True))
    assert list(sliding([], 5)) == []


def test_a_video_is_held_in_part_only():
    given = (frame for frame in video(100))
    clips = sliding(given, 5, 2)
    next(clips)
    assert next(given)[0, 0, 0] == 5  # two steps of two frames ahead


@pytest.fixture
def network():
    return create_model("ccnet3d", backbone="tiny", num_classes=4, channels=8, frames=T).eval()


@pytest.mark.parametrize(
    "predictor",
    [WholeImage(), SlidingWindow(32, pad=True), MultiScale(scales=[0.5, 1.0], flip=True)],
    ids=lambda p: type(p).__name__,
)
def test_an_image_and_a_clip_of_it_are_labelled_alike(network, predictor):
    image = torch.randint(0, 256, (2, 3, 24, 40), dtype=torch.uint8)
    clip = image[:, None].expand(-1, T, -1, -1, -1)
    found, expected = (predictor.probabilities(network.logits, shown) for shown in (clip, image))
    assert found.shape == (2, 4, 24, 40)
    torch.testing.assert_close(found, expected)


def test_frames_are_resized_one_by_one():
    clip = torch.randint(0, 256, (1, T, 3, 8, 10), dtype=torch.uint8)
    found = resized_image(clip, (5, 7))
    assert found.shape == (1, T, 3, 5, 7)
    assert all(torch.equal(found[:, t], resized_image(clip[:, t], (5, 7))) for t in range(T))


@pytest.mark.parametrize("tile", ["none", 128])
def test_the_labeller_labels_the_middle_frame(network, tile):
    network.classes = [*"abcd"]
    clip = np.random.default_rng(0).integers(0, 256, (T, 40, 136, 3), np.uint8)
    labeller = Labeller(network, WholeImage(), batch_size=2, tile=tile, probabilities=False)
    (done,) = labeller([("one", clip)])
    assert np.array_equal(done.image, clip[1])
    assert done.labels.shape == (40, 136)
    if tile == "none":
        whole = WholeImage()(network.logits, torch.from_numpy(clip).permute(0, 3, 1, 2)[None])
        assert np.array_equal(done.labels, whole[0].numpy())
