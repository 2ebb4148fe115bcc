"""The colour beside an image: that of the training, unless the protocol has one."""

import json

import pytest
import torch

from contextseg import create_model
from contextseg import recipe as recipes
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.inference import PAD_COLOUR, MultiScale, SlidingWindow

K = 4


def borders(predictor):
    """The colours that a black network is shown beside a white image of 5x7."""
    seen = []

    def network(images):
        seen.extend(images.unbind())
        return images.new_zeros(len(images), K, 4, 4, dtype=torch.float32)

    predictor(network, torch.full((1, 3, 5, 7), 255, dtype=torch.uint8))
    colours = torch.cat([image.flatten(1).T for image in seen]).unique(dim=0)
    return {tuple(colour) for colour in colours.tolist()} - {(255, 255, 255)}


@pytest.mark.parametrize("scaled", [False, True])
def test_borders_have_the_colour_of_the_training_unless_the_protocol_has_one(scaled):
    network = create_model("fcn", backbone="tiny", num_classes=K, channels=8)
    for trained, own, shown in [
        (PAD_COLOUR, None, PAD_COLOUR),
        ((0, 0, 0), None, (0, 0, 0)),
        ((0, 0, 0), (9, 8, 7), (9, 8, 7)),
    ]:
        network.fill = trained
        window = SlidingWindow(16, pad=True, fill=own)
        assert borders(network.adapted(MultiScale(window, scales=(1.0,)) if scaled else window)) == {shown}


@pytest.mark.parametrize(
    ("given", "protocol", "shown"), [("[0,0,0]", "slide", (0, 0, 0)), ("[1,2,3]", "encoding", (0, 0, 0))]
)
def test_a_checkpoint_keeps_the_colour(given, protocol, shown):
    cfg = compose(
        [
            "head=fcn",
            "width=8",
            "data=camvid",
            "experiment=none",
            "backbone=tiny",
            f"eval={protocol}",
            f"+data.transform.fill={given}",
        ]
    )
    _, recipe = build.network(cfg, class_set("camvid"))
    assert recipe["fill"] == json.loads(given)
    again = recipes.network(recipe)
    assert again.fill == tuple(recipe["fill"])
    predictor = build.predictor(cfg.eval, again)
    assert (predictor.inner if protocol == "encoding" else predictor).fill == shown
