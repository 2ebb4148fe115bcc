"""Backbones: channels, strides and support of their maps, weights, and what they refuse."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from selected import quick
from torch import nn

from contextseg.backbones import weights
from contextseg.backbones.timm_features import TimmBackbone
from contextseg.backbones.tiny import Tiny
from contextseg.commands.compose import compose
from contextseg.conf import CONF
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.heads.fcn import FCNHead

OPTIONS = sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))

UNDILATED = {"hrnet_w18": 32, "hrnet_w48": 32, "swin_tiny": 32} | {  # option -> stride of the last map
    **{"vit_tiny": 16, "deit_small": 16, "dinov2_small": 14, "dinov3_small": 16},
}
QUICK = ("tiny", "test_resnet", "resnet50s", "efficientnet_lite0")


def backbone(*overrides):
    """As configured, beside the plainest head."""
    return build.instantiate(compose(["head=fcn", *overrides]).backbone, "backbone")


@pytest.mark.parametrize("option", quick([option for option in OPTIONS if option != "timm"], QUICK))
def test_maps_have_the_channels_and_strides_they_claim(option):
    with torch.device("meta"):
        stride = 32 if option in UNDILATED else 8
        model = backbone(f"backbone={option}", f"backbone.output_stride={stride}").eval()
        maps = model(torch.zeros(1, 3, 97, 128, dtype=torch.uint8))
    assert len(maps) == len(model.channels) == len(model.strides) >= 2
    for x, channels, stride in zip(maps, model.channels, model.strides, strict=True):
        assert x.shape == (1, channels, -(-97 // stride), -(-128 // stride))
    assert list(model.strides) == sorted(model.strides)
    assert model.strides[-1] == UNDILATED.get(option, 8)


@pytest.mark.parametrize("stride", [16, 32])
def test_a_resnet_gives_every_output_stride(stride):
    with torch.device("meta"):
        model = backbone("backbone=resnet50", f"backbone.output_stride={stride}")
        last = model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))[-1]
    assert last.shape == (1, 2048, 64 // stride, 64 // stride)


def test_the_stem_is_the_named_one():
    stems = {}
    for name in ("resnet50", "resnet50c", "resnet50d"):
        with torch.device("meta"):
            network = backbone(f"backbone={name}").network
        convolutions = [m.kernel_size for m in network.conv1.modules() if isinstance(m, nn.Conv2d)]
        shortcut = [type(m).__name__ for m in network.layer2[0].downsample]
        stems[name] = convolutions, "AvgPool2d" in shortcut
    assert stems == {
        "resnet50": ([(7, 7)], False),
        "resnet50c": ([(3, 3)] * 3, False),
        "resnet50d": ([(3, 3)] * 3, True),
    }


@pytest.mark.parametrize(
    ("model", "stride", "channels"),
    [
        ("convnext_atto", 8, (40, 80, 160, 320)),
        ("mobilenetv2_100", 16, (24, 32, 96, 320)),
        ("swin_tiny_patch4_window7_224", 32, (96, 192, 384, 768)),  # answers channels last
    ],
)
def test_other_timm_models_by_name(model, stride, channels):
    with torch.device("meta"):
        body = backbone("backbone=timm", f"backbone.model={model}", f"backbone.output_stride={stride}")
        maps = body(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    assert tuple(x.shape[1] for x in maps) == body.channels == channels
    assert maps[-1].shape[-1] == 224 // stride


@pytest.mark.parametrize(
    ("make", "mean", "std"),
    [
        (Tiny, [118] * 3, [50] * 3),
        (
            lambda: TimmBackbone("resnet18"),
            [0.485 * 255, 0.456 * 255, 0.406 * 255],
            [0.229 * 255, 0.224 * 255, 0.225 * 255],
        ),
    ],
)
def test_uint8_images_are_normalised(make, mean, std):
    body, seen = make(), []
    body.features = lambda image: seen.append(image)
    image = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    body(image)
    for channel in range(3):
        expected = (image[:, channel].double() - mean[channel]) / std[channel]
        torch.testing.assert_close(seen[0][:, channel].double(), expected, rtol=1e-5, atol=1e-5)
    assert {"mean", "std"} <= body.state_dict().keys()  # a checkpoint knows its own input convention


def support(body, head=None, size=161):
    """Side of the square of input pixels on which the middle of the last map depends, in evaluation mode."""
    chain = nn.Sequential(body, head).eval() if head else body.eval()
    for parameter in chain.parameters():  # every branch takes part, no ReLU is shut, nothing cancels
        nn.init.uniform_(parameter, 0.1, 0.2)
    image = torch.rand(1, 3, size, size, requires_grad=True)
    maps = body.features(image)
    top = head(maps).logits if head else maps[-1]
    top[0, :, top.shape[2] // 2, top.shape[3] // 2].sum().backward()
    touched = image.grad[0].abs().sum(0) > 0
    rows, columns = touched.any(1).nonzero(), touched.any(0).nonzero()
    sides = {int(line[-1] - line[0]) + 1 for line in (rows, columns)}
    assert len(sides) == 1
    return sides.pop()


@pytest.mark.parametrize(("option", "alone", "with_head"), [("tiny", 39, 55), ("test_resnet", 71, 87)])
def test_the_support_is_what_the_data_set_was_made_for(option, alone, with_head):
    body = backbone(f"backbone={option}")
    assert support(body) == alone
    head = FCNHead(body.channels, 12, channels=4)
    nn.init.constant_(head.classifier.bias, 0)
    assert support(body, head) == with_head


def test_the_images_of_a_batch_do_not_see_each_other_in_evaluation():
    body = Tiny().eval()
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    body.features(image)[-1][0].sum().backward()
    assert image.grad[0].any()
    assert not image.grad[1].any()


# Weights


@pytest.fixture
def full(tmp_path):
    """A whole classifier and the file of its weights."""
    network = timm.create_model("test_resnet")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return network, tmp_path / "weights.pth"


@pytest.mark.parametrize("stages", [3, 4])
def test_weights_from_a_file(full, stages):
    network, path = full
    body = backbone("backbone=test_resnet", f"backbone.stages={stages}", f"backbone.weights={path}")
    loaded, expected = body.network.state_dict(), network.state_dict()
    assert len(loaded) > 60
    for name, tensor in loaded.items():
        assert torch.equal(tensor, expected[name]), name


def test_a_file_of_other_weights_is_refused(full, tmp_path):
    state = full[0].state_dict()
    files = {
        "nothing.pth": {"foo": torch.zeros(1)},
        "prefixed.pth": {f"model.backbone.{name}": tensor for name, tensor in state.items()},
        "partial.pth": {name: tensor for name, tensor in state.items() if not name.startswith("layer2")},
        "resnet18.pth": timm.create_model("resnet18").state_dict(),
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(ConfigError, match=r"weights of (that|another) model"):
            TimmBackbone("test_resnet", weights=str(tmp_path / name))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ConfigError, match=r"backbone\.weights=.*text\.pth: not a file of weights"):
        TimmBackbone("test_resnet", weights=str(tmp_path / "text.pth"))
    with pytest.raises(ConfigError, match="no such file; give none, imagenet or an existing file"):
        TimmBackbone("test_resnet", weights=str(tmp_path / "absent.pth"))


def test_loading_a_file_does_not_change_the_random_stream(full):
    torch.manual_seed(3)
    TimmBackbone("test_resnet")
    expected = torch.rand(3)
    torch.manual_seed(3)
    TimmBackbone("test_resnet", weights=str(full[1]))
    assert torch.equal(torch.rand(3), expected)


def test_imagenet_without_a_connection_names_the_other_two(monkeypatch):
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(weights, "online", lambda _: False)
    with pytest.raises(ConfigError, match=r"weights=imagenet.*weights=none .*weights=FILE"):
        backbone("backbone=resnet18", "backbone.weights=imagenet")


def test_imagenet_takes_the_cached_file(monkeypatch, full):
    network, path = full
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_: str(path))
    monkeypatch.setattr(weights, "online", lambda _: pytest.fail("asked the network"))
    body = TimmBackbone("test_resnet", weights="imagenet")
    assert torch.equal(body.network.conv1[0].weight, network.conv1[0].weight)


def test_offline_is_found_out_at_once(monkeypatch):
    def no_route(*_, **settings):
        assert settings["timeout"] <= 5
        raise OSError("no route")

    monkeypatch.setattr(weights.hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights, "get_session", lambda: type("Session", (), {"head": staticmethod(no_route)}))
    assert not weights.online("timm/resnet18.a1_in1k")


@pytest.mark.parametrize(
    ("codes", "found"), [([200], True), ([404, 302], True), ([404, 404], False), ([403] * 2, False)]
)
def test_the_hub_is_asked_for_the_file_itself(monkeypatch, codes, found):
    asked = []

    def head(url, **_):
        asked.append(url)
        return SimpleNamespace(status_code=codes[len(asked) - 1])

    monkeypatch.setattr(weights.hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(weights, "get_session", lambda: SimpleNamespace(head=head))
    assert weights.online("timm/resnet18.a1_in1k") is found
    assert len(asked) == len(codes)
    assert all("timm/resnet18.a1_in1k" in url for url in asked)


@pytest.mark.parametrize(
    ("overrides", "strides"),
    [
        (["backbone=tiny"], (2, 4, 8)),
        (["backbone=resnet18", "backbone.stages=3"], (4, 8, 16)),
        (["backbone=test_resnet"], (4, 8, 16)),
    ],
)
def test_a_network_without_that_many_strides_keeps_its_own(overrides, strides):
    with torch.device("meta"):
        assert backbone(*overrides, "backbone.output_stride=32").strides == strides


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone=timm", "backbone.model=resnet19"], "model=resnet19: timm has no such model; near it: .*resnet"),
        (["backbone=timm", "backbone.model=resnet18.none_such"], "no weight tag 'none_such'; resnet18 has .*tv_in1k"),
        (["backbone=timm", "backbone.model=no_net", "backbone.weights=imagenet"], "timm has no such model"),
        (["backbone=timm", "backbone.model=vgg11"], r"output_stride=8: vgg11 cannot give it .*resnet18/34"),
        (["backbone=resnet18", "backbone.output_stride=4"], "output_stride=4: give one of 8, 16, 32"),
        (["backbone=resnet18", "backbone.stages=5"], "stages=5: give one of 2, 3, 4"),
        (["backbone=timm", "backbone.model=resnetblur18", "backbone.weights=imagenet"], "timm has no weights for"),
        (["backbone=timm", "backbone.model=legacy_seresnet18", "backbone.weights=imagenet"], "no weights .*its hub"),
        (["backbone=tiny", "backbone.output_stride=4"], "output_stride=4: give one of 8, 16, 32"),
        (["backbone=tiny", "backbone.weights=imagenet"], "weights=imagenet: give none"),
        (["backbone=tiny", "+backbone.depth=3"], "unknown option backbone.depth=3"),
    ],
)
def test_what_cannot_be_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        backbone(*overrides)


def test_every_option_says_where_it_comes_from():
    for option in OPTIONS:
        assert Path(CONF / "backbone" / f"{option}.yaml").read_text().startswith("#"), option


def test_a_file_of_weights_that_are_damaged_or_no_numbers_is_refused(tmp_path):
    """torch looks at no checksum."""
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": torch.full((8,), 1.25)}, path)
    path.write_bytes(path.read_bytes().replace(torch.full((1,), 1.25).numpy().tobytes(), b"\0\0\0\0", 1))
    with pytest.raises(ConfigError, match=r"weights\.pth: its part .* is not as it was written"):
        TimmBackbone("test_resnet", weights=str(path))
    torch.save({"conv1.weight": torch.full((8,), torch.nan)}, path)
    with pytest.raises(ConfigError, match=r"weights\.pth: conv1\.weight holds NaN"):
        TimmBackbone("test_resnet", weights=str(path))
