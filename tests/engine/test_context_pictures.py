"""Context pictures during the training: drawn for every head but an oracle, without a trace in the training."""

from types import SimpleNamespace

import pytest
import torch
from harness import SMALL, curve, last_checkpoint, train

from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.engine.callbacks.context import ContextPictures
from contextseg.errors import ConfigError
from contextseg.recipe import head_classes

WITHOUT = "~callbacks.context"
SHORT = ("trainer.max_steps=4", "trainer.val_every_steps=2")
MORE = ("ccnet", "cpnet", "danet", "ctnet", "psanet")


def pictures(folder):
    return sorted(path.name for path in (folder / "context").glob("*.png"))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["ocr", *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_the_training_is_the_same_with_and_without(tmp_path, head):
    drawn, bare = (train(tmp_path, *SHORT, f"head={head}", *more).folder for more in ([], [WITHOUT]))
    assert "scene_2_00000.png" in pictures(drawn)
    assert not pictures(bare)
    for name, weights in last_checkpoint(drawn)["state_dict"].items():
        assert torch.equal(weights, last_checkpoint(bare)["state_dict"][name]), name
    assert curve(drawn) == curve(bare)


@pytest.mark.slow
@pytest.mark.parametrize("head", sorted(name for name, kind in head_classes().items() if not kind.needs_mask))
def test_every_head_is_drawn(tmp_path, head):
    run = train(tmp_path, "trainer.max_steps=1", f"head={head}", "trainer.precision=bf16")
    assert pictures(run.folder)[0] == "scene_2_00000.png"


def test_an_oracle_draws_nothing(tmp_path):
    assert not pictures(train(tmp_path, "trainer.max_steps=1", "head=ocr_ground_truth").folder)


@pytest.mark.parametrize(
    ("point", "corner", "within"),
    [
        (None, (24, 24), (16, 16)),
        ((0, 0), (0, 0), (0, 0)),
        ((75, 79), (48, 48), (27, 31)),
        ((10, 60), (0, 44), (10, 16)),
    ],
)
def test_the_network_is_shown_what_lies_around_the_point(tmp_path, point, corner, within):
    source = build.datamodule(compose(SMALL)).source("val")
    trainer = SimpleNamespace(datamodule=SimpleNamespace(source=lambda split: source))
    image, mask, name, place = ContextPictures(str(tmp_path), index=1, point=point, side=32).scene(trainer)
    left, top = corner
    whole, truth, expected = source.read(1)
    assert (image == whole[top : top + 32, left : left + 32]).all()
    assert (mask == truth[top : top + 32, left : left + 32]).all()
    assert (name, place) == (expected, within)


@pytest.mark.parametrize(
    ("setting", "said"),
    {
        "index=8": "the validation split has 8 images",
        "point=[80,3]": r"point=\[80, 3\] lies outside scene_2_00000",
    }.items(),
)
def test_bad_questions_are_refused_before_the_training(tmp_path, setting, said):
    with pytest.raises(ConfigError, match=said):
        train(tmp_path, "trainer.max_steps=1", f"callbacks.context.{setting}")
    assert not list(tmp_path.rglob("*.ckpt"))
