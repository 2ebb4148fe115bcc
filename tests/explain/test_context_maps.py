"""Where the context of a pixel came from, and what a head shows of its inside: found and drawn for every head."""

import pytest
import torch

from contextseg import create_model
from contextseg.classes import ClassSet
from contextseg.errors import ConfigError
from contextseg.explain import context_maps, inside_maps, inside_picture
from contextseg.explain.draw_inside import chosen
from contextseg.recipe import head_classes

HEADS = sorted(name for name, kind in head_classes().items() if not kind.needs_mask)
SETTINGS = {"cpnet": {"crop_size": (64, 64)}}


def model(name, **settings):
    torch.manual_seed(0)
    return create_model(name, backbone="tiny", num_classes=5, channels=16, **SETTINGS.get(name, {}), **settings)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("size", [(64, 64), (72, 100), (40, 56)])
def test_every_head_answers(name, size):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    network = model(name).eval()
    maps = context_maps(network, image, (size[1] - 1, 3))
    assert "gradient" in maps
    frames = (network.head.frames,) if network.head.frames > 1 else ()
    for values in maps.values():
        assert values.shape[:-2] == frames
        assert values.isfinite().all()
        assert (values >= 0).all()
        assert values.sum() > 0


def test_the_gradient_of_an_fcn_stays_near_the_pixel():
    maps = context_maps(model("fcn").eval(), torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8), (64, 64))
    where = maps["gradient"].nonzero()
    assert ((where - 8).abs() <= 1).all()  # one 3x3 convolution


def test_two_loops_of_criss_cross_reach_the_whole_image_and_one_a_cross():
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    one = context_maps(model("ccnet", recurrence=1).eval(), image, (20, 44))["context"]
    two = context_maps(model("ccnet", recurrence=2).eval(), image, (20, 44))["context"]
    assert (one > 0).sum() == 8 + 8 - 1
    assert (one[5] > 0).all()
    assert (one[:, 2] > 0).all()
    assert (two > 0).all()


def test_bad_questions_are_refused():
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"point=\[64, 3\] lies outside"):
        context_maps(model("fcn"), image, (64, 3))
    with pytest.raises(ConfigError, match="oracle"):
        context_maps(model("ocr_ground_truth"), image, (3, 3))


@pytest.mark.parametrize("name", HEADS)
def test_what_a_head_shows_of_its_inside_can_be_drawn(name):
    image = torch.randint(0, 256, (3, 64, 72), dtype=torch.uint8)
    network = model(name).eval()
    inside = inside_maps(network, image)
    for shown in inside.values():
        assert shown.values.ndim in (1, 3)
        assert shown.values.isfinite().all()
        assert (shown.values >= 0).all()
        assert not shown.by_class or len(shown.values) == 5
        assert shown.peaks is None or len(shown.peaks) == len(shown.values)
        if shown.takers:  # a place takes shares of all regions, and the same of them are drawn
            takers = inside[shown.takers]
            assert torch.allclose(takers.values.sum(0), torch.tensor(1.0), atol=1e-4)
            assert chosen(takers, 2) == chosen(shown, 2)
    if inside:
        classes = ClassSet("five", tuple("abcde"), tuple((i, 0, 0) for i in range(5)))
        picture = inside_picture(inside, classes, image[0].numpy() % 5)
        assert picture.dtype.name == "uint8"
        assert picture.shape[2] == 3
