"""One look at an image: the network runs once, and what it answers does not depend on what was asked before."""

import pytest
import torch

from contextseg import create_model
from contextseg.explain import Look
from contextseg.explain.look import WINDOWS_KEPT, start
from contextseg.recipe import head_classes

HEADS = sorted(name for name, kind in head_classes().items() if not kind.needs_mask)
SETTINGS = {"cpnet": {"crop_size": (64, 64)}}


def model(name):
    torch.manual_seed(0)
    return create_model(name, backbone="tiny", num_classes=7, channels=16, **SETTINGS.get(name, {})).eval()


@pytest.mark.parametrize("name", HEADS)
def test_one_pass_answers_for_every_pixel(name):
    network, image = model(name), torch.randint(0, 256, (3, 64, 56), dtype=torch.uint8)
    runs = []
    network.backbone.register_forward_hook(lambda *_: runs.append(1))
    look = Look(network, image)
    first = look.context((50, 3)).maps | look.gradient((50, 3)).maps
    values, labels = look.probabilities()
    look.inside()
    look.gradient((1, 60))
    again = look.context((50, 3)).maps | look.gradient((50, 3)).maps
    assert len(runs) == 1
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    expected = network.predict(image, probabilities=True).topk(5, dim=0)
    assert torch.allclose(values, expected.values)
    assert (labels[0] == expected.indices[0]).all()


def test_a_head_of_one_size_sees_few_windows_and_each_holds_its_pixel():
    network, image = model("cpnet"), torch.randint(0, 256, (3, 70, 150), dtype=torch.uint8)
    look = Look(network, image)
    for x in range(0, 150, 7):
        rows, columns = look.context((x, 69)).area
        assert columns.start <= x < columns.stop
        assert rows.stop == 70
        assert columns.stop <= 150
    assert len(look.passes) == WINDOWS_KEPT
    assert {start(place, 64, 150) for place in range(150)} == {0, 16, 32, 48, 64, 80, 86}


def test_the_border_of_a_window_is_that_of_the_training():
    network = model("cpnet")
    network.fill = (1, 2, 3)
    look = Look(network, torch.zeros(3, 40, 64, dtype=torch.uint8))
    assert look.canvas[0, :, 50, 0].tolist() == [1, 2, 3]


def test_what_is_kept_is_answered_while_another_thread_runs_the_network():
    lock = Busy()
    look = Look(model("ocr"), torch.zeros(3, 40, 64, dtype=torch.uint8), lock)
    look.probabilities()
    lock.taken = True
    assert look.context((3, 3)).maps
    assert look.inside()
    assert look.probabilities()
    with pytest.raises(TimeoutError):
        look.gradient((3, 3))


class Busy:
    """A lock for which nobody wants to wait while it is `taken`."""

    taken = False

    def __enter__(self):
        if self.taken:
            raise TimeoutError

    def __exit__(self, *error):
        pass
