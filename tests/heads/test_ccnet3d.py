"""The head for clips: which frame it labels, what an image is to it, and its place in a network."""

import pytest
import torch

from contextseg import create_model
from contextseg.attention_control import control
from contextseg.contract import Maps
from contextseg.errors import ConfigError
from contextseg.explain import Look, record_attention
from contextseg.heads.ccnet3d import CCNet3DHead

K, T = 4, 3


@pytest.fixture
def network():
    return create_model("ccnet3d", backbone="tiny", num_classes=K, channels=8, frames=T, aux_head=True).eval()


def clips(batch=2, frames=T, size=(40, 48)):
    return torch.randint(0, 256, (batch, frames, 3, *size), dtype=torch.uint8)


def test_the_middle_frame_is_labelled():
    """Without a loop nothing comes from other frames; with one, from all."""
    head, maps = CCNet3DHead([6], K, channels=8, frames=T).eval(), torch.randn(2 * T, 6, 4, 5, requires_grad=True)
    for loops, heard in ((0, [False, True, False]), (1, [True] * 3)):
        head.recurrence = loops
        (gradient,) = torch.autograd.grad(head([maps]).logits[1].sum(), maps)
        assert gradient.flatten(1).any(1).tolist() == [False] * T + heard


def test_a_tap_hears_every_loop(network):
    with record_attention(network.head) as heard:
        network.logits(clips())
    assert [tuple(one.shape) for one in heard["attention.criss_cross"]] == [(2, T, 5, 6, T + 5 + 6)] * 3


def test_a_clip_is_labelled_by_all_of_its_frames(network):
    given = clips()
    logits = network(given).logits
    assert logits.shape == (2, K, 5, 6)
    for frame in range(T):
        other = given.clone()
        other[0, frame] = clips(1)[0, 0]
        changed = (network(other).logits != logits).flatten(1).any(1)
        assert changed.tolist() == [True, False], frame


def test_an_image_stands_for_every_frame(network):
    image = clips(frames=1)[:, 0]
    expected = network(image[:, None].expand(-1, T, -1, -1, -1))
    for given in (image, Maps(network.backbone(image))):
        found = network(given)
        torch.testing.assert_close(found.logits, expected.logits)
        torch.testing.assert_close(found.extras["aux_logits"], expected.extras["aux_logits"])


def test_an_auxiliary_head_gets_the_labelled_frame(network):
    given = clips()
    aux = network(given).extras["aux_logits"]
    torch.testing.assert_close(aux, network.aux_head(network.backbone(given[:, T // 2])).logits)


def test_cached_maps_of_clips_take_the_place_of_frames(network):
    given = clips()
    maps = Maps(one.unflatten(0, (2, T)) for one in network.backbone(given.flatten(0, 1)))
    torch.testing.assert_close(network.logits(maps), network.logits(given))


@pytest.mark.parametrize("head", ["ccnet3d", "fcn"])
def test_clips_of_another_length_are_refused(head):
    network = create_model(head, backbone="tiny", num_classes=K, **({"frames": T} if head == "ccnet3d" else {}))
    with pytest.raises(ConfigError, match=f"clips of 2 frames: .* takes {network.head.frames}"):
        network(clips(frames=2))


def test_the_context_of_a_pixel_is_a_map_for_each_frame(network):
    """What one loop reaches, all frames sum to one; the gradient has a map for each frame too."""
    look = Look(network, clips(1)[0])
    maps, gradient = look.context((20, 11)).maps["context"], look.gradient((20, 11)).maps["gradient"]
    assert maps.shape == gradient.shape == (T, 5, 6)
    torch.testing.assert_close(maps.sum(), torch.ones(()))
    assert (maps > 0).all()
    network.head.recurrence = 1
    maps = Look(network, clips(1)[0]).context((20, 11)).maps["context"]
    assert (maps > 0).sum() == T + 5 + 6 - 2


def test_uniform_attention_is_the_mean_of_the_three_lines(network):
    control(network.head, "uniform")
    with record_attention(network.head) as heard:
        network.logits(clips(1))
    weights = heard["attention.criss_cross"][0]
    expected = weights.new_full(weights.shape[:-1], T + 5 + 6 - 2).reciprocal()
    torch.testing.assert_close(weights.amax(-1), expected)
    with pytest.raises(ConfigError, match="attention=local: the context of CCNet3DHead"):
        control(network.head, "local")
