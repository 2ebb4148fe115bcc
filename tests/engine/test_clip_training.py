"""Clips from the data to the scores: training, pictures, evaluation, cached maps, and what is refused before."""

import json

import pytest
import torch
from harness import call
from PIL import Image

from contextseg.checkpoint import load_checkpoint
from contextseg.commands.train.options import checked
from contextseg.engine import build
from contextseg.errors import ConfigError

CLIPS = ("data=context_clips", "backbone.stages=1", "head=ccnet3d", "head.frames=3", "width=8", "data.size=48")


def test_a_training_leaves_pictures_and_a_checkpoint_that_is_scored_alike(tmp_run, tmp_path):
    result = tmp_run(*CLIPS, "callbacks.pictures.count=1", "callbacks.context.point=[40,40]")
    (drawn,) = (result.folder / "predictions").iterdir()
    assert drawn.name == "scene_2_00000.png"
    with Image.open(result.folder / "context/scene_2_00000.png") as sheet:
        assert sheet.width > 4 * 240  # image, labels, and the maps of three frames
    ckpt = f"ckpt={result.folder}/checkpoints/last.ckpt"
    code, said = call("evaluate", ckpt, f"paths.runs={tmp_path}/scored", "callbacks.pictures.count=0")
    assert code == 0, said
    (scored,) = tmp_path.glob("scored/*/*/metrics.json")
    assert json.loads(scored.read_text())["miou"] == pytest.approx(result.metrics["miou"], abs=1e-3)


@pytest.mark.slow
def test_cached_maps_of_frames_change_nothing(tmp_run, tmp_path):
    """A training on clips with their maps from files, from the backbone, and by one frame."""
    frozen = ("data=camvid_clips", "head=ccnet3d", "width=8", "backbone.freeze=true", "features.whole=true")
    plain = [f"data.transform.{name}=0" for name in ("brightness", "contrast", "saturation", "hue")]
    frozen += (*plain, "data.transform.scale=null", "data.transform.rotate=0")
    weights = []
    for more in (["head.frames=3"], ["head.frames=3", f"features.cache={tmp_path}/maps"], ["head.frames=1"]):
        result = tmp_run(*frozen, *more)
        weights.append(load_checkpoint(result.folder / "checkpoints/last.ckpt").state_dict())
    assert all(torch.equal(one, other) for one, other in zip(weights[0].values(), weights[1].values(), strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(weights[0].values(), weights[2].values(), strict=True))
    assert len([*tmp_path.glob("maps/*/*.maps")]) == 8 + 3  # a file for each image, whatever clips it is in


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("head=fcn", "data.frames=3"), "data.frames=3: FCNHead takes 1 of a clip; give 1, or head=ccnet3d"),
        (("head=ccnet3d", "data.frames=3"), "data.frames=3: CCNet3DHead takes 5 of a clip; give 5, or 1"),
    ],
)
def test_clips_that_the_head_does_not_take_are_refused_before_training(small, wrong, message):
    options, _ = checked(small("data=context_clips", "width=8", "data.size=48", *wrong))
    data = build.datamodule(options)
    with pytest.raises(ConfigError, match=message):
        build.refuse_other_clips(build.module(options, data).segmenter, data.source("train"))
