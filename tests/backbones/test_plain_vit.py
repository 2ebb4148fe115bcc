"""Plain ViTs: which blocks give the maps, patches, freezing, and the strides that they do not have."""

import pytest
import torch

from contextseg.backbones.timm_features import TimmBackbone
from contextseg.errors import ConfigError


def test_maps_are_those_of_evenly_spaced_blocks():
    """As timm's own method gives them, without class and register tokens."""
    body = TimmBackbone("vit_tiny_patch16_224", output_stride=32).eval()
    image = torch.randint(0, 256, (1, 3, 32, 48), dtype=torch.uint8)
    vit, taken = body.network.model, []
    hooks = [vit.blocks[number].register_forward_hook(lambda *a: taken.append(a[-1])) for number in (2, 5, 8, 11)]
    with torch.no_grad():
        maps = body(image)
        for x, tokens in zip(maps, taken, strict=True):
            places = vit.norm(tokens)[0, 1:]  # without the class token
            torch.testing.assert_close(x[0], places.T.reshape(192, 2, 3))
    assert len(hooks) == 4


@pytest.mark.parametrize(("blocks", "numbers"), [("even", [5, 11]), ("last", [10, 11])])
def test_which_blocks_give_the_maps(blocks, numbers):
    body = TimmBackbone("vit_tiny_patch16_224", output_stride=16, stages=2, blocks=blocks, norm=False)
    assert (len(body.channels), body.strides) == (2, (16, 16))
    assert body.network.out_indices == numbers
    assert not list(body.network.model.norm.parameters())


def test_freezing_the_first_stages_of_a_vit():
    body = TimmBackbone("test_vit", output_stride=32, stages=2, norm=False, freeze=1)
    blocks = body.network.model.blocks
    frozen = [not any(p.requires_grad for p in block.parameters()) for block in blocks]
    assert frozen == sorted(frozen, reverse=True)
    assert frozen[0]
    assert not frozen[-1]


def test_another_patch():
    body = TimmBackbone("vit_small_patch14_dinov2", output_stride=16, patch=16)
    assert body.strides == (16, 16, 16, 16)
    with pytest.raises(ConfigError, match=r"backbone\.patch=16: resnet18 is no plain ViT"):
        TimmBackbone("resnet18", patch=16)


def test_a_stride_that_a_vit_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"backbone\.output_stride=8: test_vit cannot give it .* neck=sfp"):
        TimmBackbone("test_vit")
