"""A checkpoint is enough: alone, elsewhere, without a network."""

import shutil
import socket
import zipfile

import pytest
import torch
import yaml
from selected import slow

from contextseg import load_checkpoint
from contextseg.checkpoint import read_checkpoint, restore
from contextseg.errors import ConfigError
from contextseg.warm_start import read_start


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("asked the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def images():
    return torch.randint(0, 256, (2, 3, 65, 97), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def logits_of(result):
    """Before anything is saved: those of the trained network itself."""
    with torch.no_grad():
        return result.module.segmenter.eval()(images())


def plain(value):
    """Whether a value is made of what `weights_only=True` and JSON know."""
    if isinstance(value, dict):
        return type(value) is dict and all(type(k) in (str, int) and plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize(
    "overrides", [["head=ocr"], slow(["head=fcn", "loss=aux"]), slow(["head=fcn", "backbone=test_resnet"])]
)
def test_a_checkpoint_alone_gives_the_same_logits(overrides, tmp_run, tmp_path, no_network):
    result = tmp_run(*overrides)
    expected = logits_of(result)
    alone = tmp_path / "elsewhere" / "a=b, (c).ckpt"
    alone.parent.mkdir()
    shutil.copy(result.folder / "checkpoints/last.ckpt", alone)
    shutil.rmtree(result.folder)
    network = load_checkpoint(alone)
    found = network(images())
    assert torch.equal(found.logits, expected.logits)
    assert found.extras.keys() == expected.extras.keys()
    assert all(torch.equal(found.extras[name], expected.extras[name]) for name in found.extras)
    assert network.classes == result.datamodule.classes
    assert not any(module.training for module in network.modules())
    assert network.state_dict().keys() == result.module.segmenter.state_dict().keys()


def test_a_checkpoint_that_started_from_a_file_of_weights_needs_it_no_more(tmp_run, tmp_path, no_network):
    import timm

    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "start.pth")
    result = tmp_run("head=fcn", "backbone=test_resnet", f"backbone.weights={tmp_path}/start.pth")
    expected = logits_of(result)
    (tmp_path / "start.pth").unlink()
    checkpoint = read_checkpoint(result.folder / "checkpoints/last.ckpt")
    assert checkpoint["recipe"]["backbone"]["weights"].endswith("start.pth")  # it says how it was made
    assert torch.equal(restore(checkpoint, "").logits(images()), expected.logits)
    checkpoint["recipe"]["backbone"]["weights"] = "imagenet"
    assert torch.equal(restore(checkpoint, "").logits(images()), expected.logits)


@pytest.fixture
def saved(trained):
    return trained, trained.folder / "checkpoints/last.ckpt"


def test_the_file_holds_plain_containers(saved):
    result, path = saved
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    assert plain(checkpoint["recipe"])
    assert plain(checkpoint["config"])
    assert checkpoint["config"] == yaml.safe_load((result.folder / "config.yaml").read_text())
    assert checkpoint["global_step"] == 4
    parts = {"backbone", "neck", "head", "aux_head", "align_corners", "attention"}
    assert checkpoint["recipe"].keys() == parts | {"format", "classes", "versions"}
    assert "${" not in str(checkpoint["recipe"])


def test_the_best_checkpoint_loads_too(saved):
    (best,) = saved[1].parent.glob("best-*.ckpt")
    assert torch.equal(load_checkpoint(best).logits(images()), load_checkpoint(saved[1]).logits(images()))


def test_files_that_are_no_checkpoint_are_refused(saved, tmp_path):
    path = saved[1]
    truncated, text, foreign, tensor = (tmp_path / name for name in ("cut.ckpt", "text.ckpt", "r.pth", "t.pth"))
    truncated.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text.write_text("not a checkpoint")
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, foreign)
    torch.save(torch.zeros(3), tensor)
    for file, message in {
        tmp_path / "absent.ckpt": "no such file",
        tmp_path: "no such file",
        truncated: "cannot be read",
        text: "cannot be read",
        foreign: "holds no recipe",
        tensor: "holds no recipe",
    }.items():
        with pytest.raises(ConfigError, match=message) as refusal:
            load_checkpoint(file)
        assert str(file) in str(refusal.value)
        assert "\n" not in str(refusal.value)


def flipped(path, to):
    """A copy of a checkpoint with one bit changed, in the numbers of its largest tensor."""
    with zipfile.ZipFile(path) as parts:
        largest = max(parts.infolist(), key=lambda part: part.file_size)
        content = parts.read(largest)
    data = bytearray(path.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 1
    to.write_bytes(data)


def test_a_changed_byte_is_noticed(saved, tmp_path):
    """`torch.load` alone loads such weights, and says nothing."""
    whole, broken = saved[1], tmp_path / "last.ckpt"
    flipped(whole, broken)
    torch.load(broken, weights_only=True)
    for read in (load_checkpoint, read_start):
        with pytest.raises(ConfigError, match=r"last\.ckpt: is damaged, its part .*/data/\d+ is not as it was writ"):
            read(broken)
    best = tmp_path / "best-000004-1.00.ckpt"
    best.touch()
    with pytest.raises(ConfigError, match=f"; use {best}, or copy it to last.ckpt to go on from its step"):
        load_checkpoint(broken)


class Harm:
    def __reduce__(self):
        return (open, ("harm.txt", "w"))


def test_nothing_in_the_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"recipe": Harm(), "state_dict": {}}, tmp_path / "bad.ckpt")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "harm.txt").exists()


def test_weights_and_recipe_of_different_models_are_refused(saved, tmp_path):
    changes = {
        "width": lambda c: c["recipe"]["head"].update(channels=8),
        "head": lambda c: c["recipe"]["head"].update(_target_="contextseg.heads.ocr.OCRHead"),
        "weights": lambda c: c["state_dict"].pop("segmenter.head.classifier.bias"),
        "option": lambda c: c["recipe"]["head"].update(no_such_option=1),
    }
    for name, change in changes.items():
        checkpoint = read_checkpoint(saved[1])
        change(checkpoint)
        torch.save(checkpoint, tmp_path / f"{name}.ckpt")
        with pytest.raises(ConfigError, match=r"weights and recipe do not fit|no_such_option"):
            load_checkpoint(tmp_path / f"{name}.ckpt")


def without(node, key):
    return {name: value for name, value in node.items() if name != key}


def test_whatever_is_wrong_in_a_recipe_is_one_line_that_names_the_file(saved, tmp_path):
    contents = torch.load(saved[1], weights_only=True)
    recipe, classes = contents["recipe"], contents["recipe"]["classes"]
    wrong = {
        "its recipe has no head": without(recipe, "head"),
        "its recipe has no aux_head": without(recipe, "aux_head"),
        "its recipe has no classes": without(recipe, "classes"),
        "recipe.backbone={}: names no part": recipe | {"backbone": {}},
        "recipe.head=7: give a mapping": recipe | {"head": 7},
        "head.channels=1.5: give a whole number": recipe | {"head": recipe["head"] | {"channels": 1.5}},
        "recipe.align_corners=a\\nb: give true or false": recipe | {"align_corners": "a\nb"},
        "recipe.attention=some: give one of learned, uniform, local": recipe | {"attention": "some"},
        "recipe.format=null: give one of 1, 2": recipe | {"format": None},
        "recipe.fill=[0,0,256]": recipe | {"fill": [0, 0, 256]},
        "recipe.classes.names=[]": recipe | {"classes": classes | {"names": []}},
        "recipe.classes.palette=[]: does not fit 12": recipe | {"classes": classes | {"palette": []}},
        "recipe.classes.flip_pairs=[[0,99]]: does not": recipe | {"classes": classes | {"flip_pairs": [[0, 99]]}},
        "its recipe is 'null'": None,
    }
    path = tmp_path / "one.ckpt"
    for says, other in wrong.items():
        torch.save(contents | {"recipe": other}, path)
        with pytest.raises(ConfigError) as refusal:
            load_checkpoint(path)
        said = str(refusal.value)
        assert said.startswith(f"ckpt={path}: ")
        assert says in said
        assert len(said.splitlines()) == 1


def test_weights_that_are_no_plain_finite_tensors_are_refused(saved, tmp_path):
    contents = torch.load(saved[1], weights_only=True)
    name = next(name for name, value in contents["state_dict"].items() if value.ndim == 4)
    count = next(name for name in contents["state_dict"] if name.endswith("num_batches_tracked"))
    weight = contents["state_dict"][name]
    wrong = {
        "holds NaN or infinity": {name: weight.index_fill(0, torch.tensor([0]), torch.nan)},
        f"{name} holds NaN": {name: weight / 0},
        f"{name}' is no plain tensor": {name: weight.to("meta")},
        "is no plain tensor": {name: weight.tolist()},
        f"({name.removeprefix('segmenter.')} is torch.float64 [": {name: weight.double()},
        f"({count.removeprefix('segmenter.')} is torch.int64 [1], not torch.int64 []": {
            count: torch.ones(1, dtype=torch.int64)
        },
    }
    path = tmp_path / "one.ckpt"
    for says, weights in wrong.items():
        torch.save(contents | {"state_dict": contents["state_dict"] | weights}, path)
        with pytest.raises(ConfigError) as refusal:
            load_checkpoint(path)
        assert says in str(refusal.value)
        assert str(refusal.value).startswith(f"ckpt={path}: ")
