"""`contextseg` without commands: create_model, load_checkpoint, load_run."""

import subprocess
import sys

import pytest
import torch
from harness import train

import contextseg
from contextseg import create_model, load_checkpoint, load_run
from contextseg.contract import SegOutput
from contextseg.datamodules.context_scenes import ContextScenes
from contextseg.errors import ConfigError
from contextseg.recipe import head_classes


def images(size=(64, 64)):
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", head_classes())
def test_any_head_is_a_call_away(name):
    with torch.device("meta"):
        model = create_model(name, backbone="resnet18", num_classes=19)
    kind = head_classes()[name]
    assert type(model.head) is kind
    assert type(model.neck).__module__ == f"contextseg.necks.{kind.neck}"
    assert model.backbone.strides[-1] == kind.output_stride
    assert model.aux_head is None


def test_settings_reach_the_parts():
    model = create_model("ocr", backbone="tiny", num_classes=7, aux_head=True, channels=16, key_channels=4)
    output = model.eval()(images())
    assert type(output) is SegOutput
    assert output.logits.shape == (2, 7, 8, 8)
    assert model.head.fuse[0].out_channels == 16
    assert model.aux_head.classifier.out_channels == 7
    with torch.device("meta"):
        assert create_model("fcn", backbone="resnet18", num_classes=2, output_stride=32).backbone.strides[-1] == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "orc"}, "no head 'orc'; known: .*fcn.*ocr"),
        ({"backbone": "resnet19"}, "resnet19: timm has no such model"),
        ({"backbone": "tiny", "output_stride": 4}, "output_stride=4: choose one of"),
        ({"backbone": "tiny", "weights": "imagenet"}, "tiny has no pretrained weights"),
        ({"backbone": "resnet18", "weights": "none.pth"}, "no such file"),
    ],
)
def test_impossible_models_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        create_model(**{"name": "fcn", "backbone": "tiny", "num_classes": 3, **settings})


def test_a_misspelt_setting_is_refused():
    with pytest.raises(ConfigError, match=r"unknown option head\.chanels=16: FCNHead has no such setting"):
        create_model("fcn", backbone="tiny", num_classes=3, chanels=16)


def test_a_created_model_trains_and_predicts():
    model = create_model("fcn", backbone="tiny", num_classes=3, channels=8)
    model(images()).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    labels = model.predict(images((65, 97)))
    assert (labels.dtype, labels.shape) == (torch.uint8, (2, 65, 97))
    assert labels.max() < 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of OCR, for three tests."""
    return train(tmp_path_factory.mktemp("run"), "head=ocr", "trainer.max_steps=4", "seed=3")


def test_a_run_comes_back_whole(finished):
    cfg, network, data = load_run(finished.folder)
    assert cfg["head"]["_target_"] == "OCRHead"
    assert (cfg["seed"], cfg["trainer"]["max_steps"]) == (3, 4)
    assert not network.training
    assert torch.equal(network.predict(images()), finished.module.segmenter.predict(images()))
    assert torch.equal(
        network.logits(images()), load_checkpoint(finished.folder / "checkpoints/last.ckpt").logits(images())
    )
    assert isinstance(data, ContextScenes)
    batch = next(iter(data.val_dataloader()))
    assert batch.image.shape == (8, 3, 80, 80)
    assert len(list(data.train_dataloader())) == 4
    assert sorted(p.name for p in finished.folder.glob("*.json")) == ["metrics.json"]


def test_the_best_weights_of_a_run(finished):
    (best,) = (finished.folder / "checkpoints").glob("best-*.ckpt")
    _, network, _ = load_run(str(finished.folder), which="best")
    assert torch.equal(network.logits(images()), load_checkpoint(best).logits(images()))


def test_what_is_no_run_is_refused(finished, tmp_path):
    with pytest.raises(ConfigError, match="is not a run folder"):
        load_run(tmp_path)
    with pytest.raises(ConfigError, match=r"has no checkpoints/worst"):
        load_run(finished.folder, which="worst")


def test_the_package_loads_nothing_until_asked():
    code = "import sys, contextseg; print({'torch', 'hydra', 'lightning'} & sys.modules.keys(), contextseg.__all__)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == f"set() {contextseg.__all__}"
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = contextseg.create_modle
