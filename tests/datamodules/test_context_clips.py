"""Generated clips: what the cue changes, that nothing else decides, and how far it is from what it decides."""

import numpy as np
import pytest
import torch

from contextseg.commands.compose import compose
from contextseg.datamodules.context_clips import CLASSES, ContextClips, draw_clip
from contextseg.engine import build
from contextseg.errors import ConfigError

SCENES = range(20)
T, VOID = 5, 255


def cue(clip):
    """The frames and pixels that are as yellow or red as nothing else: bool (T, H, W)."""
    red, green, blue = (clip[..., channel].astype(int) for channel in range(3))
    return (red > 170) & (red - blue > 110) & ((green > 170) | (green < 80))


def test_seed_and_index_decide_the_clip():
    clip, mask = draw_clip(1, 3)
    again, same_mask = draw_clip(1, 3)
    assert (clip.dtype, clip.shape, mask.dtype, mask.shape) == (np.uint8, (T, 48, 48, 3), np.uint8, (48, 48))
    assert np.array_equal(clip, again)
    assert np.array_equal(mask, same_mask)
    assert not np.array_equal(clip, draw_clip(1, 4)[0])
    assert not np.array_equal(clip, draw_clip(2, 3)[0])


@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_the_labelled_frame_is_the_same_for_every_number_of_frames(frames):
    clip, mask = draw_clip(1, 3, frames=frames)
    expected, same_mask = draw_clip(1, 3)
    assert np.array_equal(clip[frames // 2], expected[T // 2])
    assert np.array_equal(mask, same_mask)


def test_a_flip_repaints_the_cue_alone_and_relabels_what_looks_the_same():
    for index in SCENES:
        (clip, mask), (other, flipped) = (draw_clip(1, index, flip=flip) for flip in (False, True))
        changed = (clip != other).any(-1)
        frames = changed.any((1, 2))
        assert frames.sum() == 1
        assert not frames[T // 2]
        assert changed.sum() < 150
        decided = (mask != 0) & (mask != VOID)
        assert decided.mean() > 0.45
        assert np.array_equal((mask[decided] - 1) ^ 1, flipped[decided] - 1)
        assert np.array_equal(mask[~decided], flipped[~decided])


def test_the_cue_is_fair_and_in_every_other_frame_alike():
    seen = [draw_clip(1, index) for index in range(100)]
    scenes = np.array([int(mask.min() if mask.min() else np.unique(mask)[1]) - 1 for _, mask in seen])
    assert set(scenes) == {0, 1}
    assert abs(scenes.mean() - 0.5) < 0.15
    frames = np.bincount([cue(clip).sum((1, 2)).argmax() for clip, _ in seen], minlength=T)
    assert frames[T // 2] == 0
    assert (np.delete(frames, T // 2) > 10).all()


def test_the_cue_differs_in_time_from_the_grain_and_in_more_from_the_other_panes():
    """By the names of the groups: t, tx and txy."""
    for index in SCENES:
        clip, mask = draw_clip(1, index)
        shown = cue(clip)
        frame = shown.sum((1, 2)).argmax()
        rows, columns = shown[frame].any(1), shown[frame].any(0)
        assert frame != T // 2
        shares = {}
        for name in ("t", "tx", "txy"):
            where = np.isin(mask, CLASSES.ids(name))
            shares[name] = bool((where.any(1) & rows).any()), bool((where.any(0) & columns).any())
        assert np.isin(mask[shown[frame]], [*CLASSES.ids("t"), VOID]).all()
        assert shares == {"t": (True, True), "tx": (True, True), "txy": (False, False)}


def test_the_ground_drifts():
    clip, _ = draw_clip(1, 3, noise=0)
    still = [(clip[t] == clip[t + 1]).all() for t in range(T - 1)]
    assert not any(still)


def data(**settings):
    return ContextClips(train_size=6, val_size=3, **settings)


def test_a_sample_is_the_clip_around_the_labelled_frame():
    source = data().source("train")
    clip, mask, name = source.read_clip(2)
    expected, labels = draw_clip(1, 2)
    assert (len(source), source.frames, name) == (6, T, "scene_1_00002")
    assert np.array_equal(clip, expected)
    assert np.array_equal(mask, labels)
    assert np.array_equal(source.read(2)[0], expected[T // 2])
    assert len({source.fingerprint(index) for index in range(6)}) == 6
    assert not np.array_equal(data().source("val").read(2)[0], expected[T // 2])


def test_shuffled_frames_are_those_of_another_scene():
    clip, mask, _ = data(shuffled=True).source("train").read_clip(5)
    own, labels = draw_clip(1, 5)
    other, _ = draw_clip(1, 0)
    other[T // 2] = own[T // 2]
    assert np.array_equal(clip, other)
    assert np.array_equal(mask, labels)


def test_a_loop_too_few_does_not_reach():
    """The gradient of the wood with respect to the pixels of the cue, by the network of the tables."""
    clip, mask = draw_clip(1, 0)
    shown, wood = torch.from_numpy(cue(clip)), torch.from_numpy(np.isin(mask, CLASSES.ids("txy")))
    for loops, reached in ((2, False), (3, True)):
        cfg = compose(
            ["data=context_clips", "backbone.stages=1", "head=ccnet3d", "width=8", f"head.recurrence={loops}"]
        )
        network, _ = build.network(cfg, CLASSES)
        pixels = torch.from_numpy(clip).permute(0, 3, 1, 2).float().requires_grad_()
        maps = network.eval().backbone.features((pixels - 118) / 50)
        logits = torch.nn.functional.interpolate(network.head(maps).logits, size=mask.shape, mode="bilinear")
        (gradient,) = torch.autograd.grad(logits[0][:, wood].square().sum(), pixels)
        assert bool(gradient.movedim(1, -1)[shown].any()) == reached


def test_the_data_follow_the_head():
    def frames(*overrides):
        return build.datamodule(compose(["data=context_clips", "data.train_size=2", *overrides])).source("train").frames

    assert [frames("head=fcn"), frames("head=ccnet3d"), frames("head=ccnet3d", "head.frames=3")] == [1, T, 3]
    assert frames("head=ccnet3d", "data.frames=1") == 1


@pytest.mark.parametrize(
    "wrong", [{"size": 35}, {"hedge": 21}, {"cue_radius": 9}, {"size": 497}, {"size": 48, "hedge": 60}]
)
def test_settings_that_make_no_scene_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"data\.size=\d+ with data\.hedge=\d+ makes panes of -?\d+ pixels; give"):
        data(**wrong)
