"""The evaluation protocols of `conf/eval`: what each asks for, and how `build` joins them with a network."""

import dataclasses

import pytest
import torch

from contextseg import recipe as recipes
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.inference import SlidingWindow, WholeImage, windows

STEPS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
SIX, SEVEN = STEPS, (*STEPS, 2.0)

# option -> scales, flip, base size, crop of the windows; docs/evaluation.md has the sources
PROTOCOLS = {
    "ms": (SIX, False, None, None),
    "ms_flip": (SIX, True, None, None),
    "flip": ((1.0,), True, None, None),
    "slide_ms_flip": (SIX, True, None, (96, 96)),
    "encoding": (SIX, True, 520, (480, 480)),
    "agln_ms": (SIX, True, 520, (480, 480)),
    "ctnet_ms": (SIX, False, None, (513, 513)),
    "cpnet_ade20k": ((0.5, 0.75, 1.0, 1.5, 1.75), True, None, None),
    "cpnet_pcontext": ((0.5, 0.75, 1.0, 1.5, 1.75), True, None, None),
    "cpnet_cityscapes": ((0.5, 0.75, 1.0, 1.5), True, None, None),
    "ocr_cityscapes": (SEVEN, True, None, None),
    "ocr_ade20k": (SEVEN, True, None, None),
    "ocr_pcontext": (SEVEN, True, 520, None),
    "ocr_lip": ((1.0,), True, 473, None),
    "ccnet_lip": ((1.0,), False, 473, (473, 473)),
}


def network(head="fcn", *overrides):
    cfg = compose([f"head={head}", "width=16", "data.size=96", *overrides])
    recipe = build.recipe(cfg, class_set("context_scenes"))
    return recipes.network(recipe, {}).eval()


@pytest.mark.parametrize("option", PROTOCOLS)
def test_a_protocol_is_that_of_the_paper(option):
    predictor = build.predictor(compose([f"eval={option}"]).eval, network())
    crop = predictor.inner.crop if isinstance(predictor.inner, SlidingWindow) else None
    assert (predictor.scales, predictor.flip, predictor.base_size, crop) == PROTOCOLS[option]


def test_agln_as_printed_draws_its_scales():
    predictor = build.predictor(compose(["eval=agln_paper"]).eval, network())
    assert (predictor.scale, predictor.draws, predictor.flip) == ((0.5, 2.0), 6, True)


def test_ccnet_slides():
    predictor = build.predictor(compose(["eval=ccnet_cityscapes"]).eval, network())
    assert (predictor.scales, predictor.flip, predictor.scores) == ((1.0,), False, "logits")
    places = windows((1024, 2048), predictor.inner.crop, predictor.inner.stride)
    assert sorted({rows.start for rows, _ in places}) == [0, 255]
    assert sorted({columns.start for _, columns in places}) == [0, 513, 1026, 1279]


def test_flip_pairs_come_from_the_classes_of_the_network():
    model = network()
    model.classes = dataclasses.replace(model.classes, flip_pairs=((1, 2),))
    assert build.predictor(compose(["eval=ms_flip"]).eval, model).flip_pairs == ((1, 2),)


def test_a_head_tied_to_one_size_goes_by_windows_within_scales():
    model = network("cpnet")
    image = torch.randint(0, 256, (1, 3, 70, 120), dtype=torch.uint8)
    predictor = build.predictor(compose(["eval=cpnet_ade20k"]).eval, model)
    assert (predictor.inner.crop, predictor.inner.pad) == ((96, 96), True)
    assert predictor(model.logits, image).shape == (1, 70, 120)


@pytest.mark.parametrize("option", ["ms", "flip", "slide", "agln_paper"])
def test_an_oracle_sees_whole_images_only(option):
    model = network("ocr_ground_truth")
    with pytest.raises(ConfigError, match="needs the mask of the whole image: use eval=ss"):
        build.predictor(compose([f"eval={option}"]).eval, model)
    assert isinstance(build.predictor(compose(["eval=ss"]).eval, model), WholeImage)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["eval=ms", "eval.predictor.scales=[0]"], r"scales=\[0\] .*: give a list .*, each a number, above 0"),
        (["eval=encoding", "eval.predictor.inner.stride=2"], r"inner\.stride=2: give a number, above 0, at most 1"),
        (["eval=ms", "+eval.predictor.colour=red"], r"unknown option eval\.predictor\.colour"),
    ],
)
def test_impossible_protocols_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build.predictor(compose(overrides).eval, network())


def test_extra_metrics_are_asked_for():
    assert compose([]).eval.extra_metrics == []
    cfg = compose(["eval.extra_metrics=[boundary_iou,miou_per_image]", "data.size=96"])
    assert list(build.metrics(cfg.eval, build.datamodule(cfg))) == [
        "seg",
        "images",
        "reach",
        "boundary_iou",
        "miou_per_image",
    ]
    cfg = compose(["eval.extra_metrics=[dice]"])
    with pytest.raises(ConfigError, match=r"extra_metrics=dice: choose from boundary_iou, miou_per_image"):
        build.metrics(cfg.eval, build.datamodule(cfg))
