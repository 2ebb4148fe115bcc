"""init_from: what is taken from a run on other classes, and what is said of it."""

from dataclasses import replace

import pytest
import torch
from selected import quick

from contextseg.classes import ClassSet, class_set
from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.warm_start import class_weights, renamed, start_from

HEADS = sorted(path.stem for path in (CONF / "head").glob("*.yaml"))
SCENES = class_set("context_scenes")
FIVE = SCENES.subset(SCENES.names[:5])


def network(classes, head="ocr", *more):
    return build.network(compose([f"head={head}", "width=16", "loss=aux", "data.size=64", *more]), classes)


def saved(classes, head="ocr", *more):
    """A network and the contents of its checkpoint."""
    one, recipe = network(classes, head, *more)
    return one, {"recipe": recipe, "state_dict": {f"segmenter.{name}": v for name, v in one.state_dict().items()}}


def taken(ours, fresh, theirs):
    """Which weights are those of the start, and which those before it; a weight that all three share is neither."""
    now = ours.state_dict()
    told = {
        n for n in now if n not in theirs or now[n].shape != theirs[n].shape or not torch.equal(fresh[n], theirs[n])
    }
    return {n for n in told if n in theirs and torch.equal(now[n], theirs[n])}, {
        n for n in told if torch.equal(now[n], fresh[n])
    }


# By hand: the last convolution, and those of object regions and of the auxiliary head.
@pytest.mark.parametrize(("head", "other"), [("ocr", "head.coarse"), ("fcn", "aux_head.classifier")])
def test_all_is_taken_but_what_depends_on_the_classes(head, other):
    there, checkpoint = saved(SCENES, head)
    ours, _ = network(FIVE, head)
    fresh = {name: value.clone() for name, value in ours.state_dict().items()}
    words = start_from(ours, checkpoint, "RUN")
    from_start, as_before = taken(ours, fresh, there.state_dict())
    assert {name.rpartition(".")[0] for name in as_before} == {"head.classifier", other}
    assert from_start | as_before >= {name for name, p in ours.named_parameters() if p.ndim > 1}
    assert words.startswith("all weights but the 4 that depend on the classes, which are others (12 of ")
    assert f"(12 of context_scenes there, 5 of context_scenes here): {min(as_before)}, " in words


@pytest.mark.parametrize("head", quick(HEADS, ["ocr", "label_refinement"]))
def test_every_head_knows_what_depends_on_its_classes(head):
    """Those of the weights that differ in shape between two networks, built in full."""
    more = ["data.size=96"] if head in ("cpnet", "psanet") else []
    there, checkpoint = saved(SCENES, head, *more)
    ours, _ = network(FIVE, head, *more)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (there, ours)]
    assert class_weights(checkpoint["recipe"], "RUN") == {n for n in shapes[0] if shapes[0][n] != shapes[1].get(n)}
    start_from(ours, checkpoint, "RUN")


def test_as_many_other_classes_are_other_classes():
    there, checkpoint = saved(SCENES)
    ours, _ = network(replace(SCENES, names=SCENES.names[::-1]))
    fresh = {name: value.clone() for name, value in ours.state_dict().items()}
    assert "which are others" in start_from(ours, checkpoint, "RUN")
    assert len(taken(ours, fresh, there.state_dict())[1]) == 4


def test_renamed_classes_are_the_same_classes():
    there, checkpoint = saved(SCENES)
    ours, _ = network(replace(SCENES, names=(*SCENES.names[:-1], "mast")))
    words = start_from(ours, checkpoint, "RUN")
    assert words == f"all weights; classes that have other names here: {SCENES.names[-1]} -> mast"
    assert all(torch.equal(value, there.state_dict()[name]) for name, value in ours.state_dict().items())
    assert start_from(network(SCENES)[0], checkpoint, "RUN") == "all weights"


def kinds(*names, palette=((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))):
    return ClassSet("folder", names, palette[: len(names)])


OWN = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12))


@pytest.mark.parametrize(
    ("there", "here", "names"),
    [
        (kinds("sky", "road"), kinds("sky", "road"), {}),
        (
            kinds("sky", "traffic light"),
            kinds("Sky", "traffic_light"),
            {"sky": "Sky", "traffic light": "traffic_light"},
        ),
        (kinds("sky", "cafe\u0301"), kinds("sky", "caf\u00e9"), {"cafe\u0301": "caf\u00e9"}),
        (kinds("sky", "road", "car"), kinds("sky", "road", "auto"), {"car": "auto"}),
        (kinds("sky", "road", "car"), kinds("ciel", "route", "car"), None),  # the colours are anybody's
        (kinds("sky", "road", palette=OWN), kinds("ciel", "route", palette=OWN), {"sky": "ciel", "road": "route"}),
        (kinds("sky", "road", "car"), kinds("sky", "car", "road"), None),
        (kinds("sky", "road", "car", "bus"), kinds("sky", "road", "bus", "tram"), None),  # bus has moved
        (kinds("sky", "road", palette=OWN), kinds("road", "sky", palette=OWN), None),
        (kinds("sky", "road"), kinds("sky", "road", "car"), None),
    ],
)
def test_classes_are_renamed_or_others(there, here, names):
    assert renamed(there, here) == names


def test_another_network_is_refused_whatever_the_classes():
    _, checkpoint = saved(SCENES)
    for more in (["width=8"], ["head=fcn"], ["backbone=test_resnet"]):
        with pytest.raises(ConfigError, match=r"init_from=RUN: its network differs in .* choose head, backbone, neck"):
            start_from(network(FIVE, "ocr", *more)[0], checkpoint, "RUN")


def test_nothing_of_a_file_s_choosing_is_built():
    _, checkpoint = saved(SCENES)
    checkpoint["recipe"]["head"]["_target_"] = "subprocess.Popen"
    with pytest.raises(ConfigError, match="init_from=RUN"):
        start_from(network(FIVE)[0], checkpoint, "RUN")
