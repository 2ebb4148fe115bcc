"""A backbone that is tied to an image size is refused before it is trained, and by its name at any other size."""

import pytest
import torch
from harness import train
from selected import quick

from contextseg.backbones.timm_features import TimmBackbone
from contextseg.classes import class_set
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.inference import MultiScale, SlidingWindow, WholeImage

TIED = {  # model -> the size that it takes
    "vit_tiny_patch16_224": 224,
    "vit_small_patch16_dinov3": 96,  # any multiple of 16
    "swin_tiny_patch4_window7_224": 224,
    "maxvit_tiny_rw_224": 224,
    "coatnet_0_rw_224": 224,
    "hiera_tiny_224": 224,
    "efficientformer_l1": 224,
    "gcvit_xxtiny": 224,
    "dla34": 96,  # any multiple of 32
}


WORDS = ["head=fcn", "width=8", "data=camvid", "experiment=none", "backbone=timm", "backbone.output_stride=32"]


def tied(model):
    cfg = compose([*WORDS, f"backbone.model={model}"])
    return build.network(cfg, class_set("camvid"), pretrained=False)[0]


@pytest.mark.parametrize("model", quick(TIED, ["vit_tiny_patch16_224"]))
def test_another_size_is_refused_by_its_name(model):
    network, side = tied(model), TIED[model]
    build.try_out(network, (side, side))
    for refused in (build.try_out, lambda network, size: network.predict(torch.zeros(3, *size, dtype=torch.uint8))):
        with pytest.raises(ConfigError, match=rf"backbone\.model={model}: it takes no images of {side + 40}x{side}"):
            refused(network, (side + 40, side))


@pytest.mark.slow
def test_one_that_resizes_images_itself_is_refused():
    with pytest.raises(ConfigError, match="so it resizes images itself"):
        build.try_out(tied("crossvit_9_240"), (360, 480))


@pytest.mark.parametrize("model", ["nest_tiny", "levit_128s"])
def test_one_without_four_maps_is_refused(model):
    with pytest.raises(ConfigError, match=model):
        TimmBackbone(model, output_stride=32)


def test_an_error_of_another_kind_stays():
    backbone = TimmBackbone("resnet18", output_stride=32)
    backbone.network.conv1.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of luck")))
    backbone.takes = lambda image: True
    with pytest.raises(RuntimeError, match="out of luck"):
        backbone(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_the_sizes_that_a_network_is_shown():
    assert build.sizes_shown(WholeImage(), (37, 50)) == [(37, 50)]
    assert build.sizes_shown(SlidingWindow(32), (37, 50)) == [(32, 32)]
    assert build.sizes_shown(MultiScale(scales=(0.5, 1.0), flip=True), (40, 50)) == [(20, 25), (40, 50)]


def test_a_training_is_refused_before_its_first_step(tmp_path):
    """The crop fits, an image of the validation does not."""
    with pytest.raises(ConfigError, match="vit_tiny_patch16_224: it takes no images of 80x80"):
        train(tmp_path, "backbone=timm", "backbone.model=vit_tiny_patch16_224", "backbone.output_stride=32")
    assert not list(tmp_path.rglob("config.yaml"))
