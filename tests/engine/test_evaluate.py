"""Several checkpoints in one pass: every count is that of a checkpoint alone, and the backbone passes are shared."""

import numpy as np
import pytest
import torch
from harness import SMALL, call, last_checkpoint
from selected import slow
from torch import nn

from contextseg.backbones.base import Backbone
from contextseg.commands.compose import compose
from contextseg.commands.evaluate.command import evaluate
from contextseg.commands.train.options import checked
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.statistics import ImageCounts

SLIDE = ("eval=slide_ms_flip", "eval.predictor.inner.crop=[80,80]", "eval.predictor.scales=[1.25]")


@pytest.fixture(scope="module")
def checkpoint(trained, tmp_path_factory):
    """checkpoint(words, changes of its contents) -> a file: another head on the backbone of `trained`."""
    folder, made = tmp_path_factory.mktemp("checkpoints"), {}

    def make(*words, change=None):
        if (words, change) not in made:
            torch.manual_seed(len(made))
            contents = last_checkpoint(trained.folder)
            options, config = checked(compose([*SMALL, "data.test_size=6", *words]))
            network, recipe = build.network(options, trained.datamodule.classes)
            for module in network.modules():
                if isinstance(module, nn.Conv2d) and module.bias is not None:
                    nn.init.normal_(module.bias)
            network.backbone = trained.module.segmenter.backbone
            weights = {f"segmenter.{name}": value for name, value in network.state_dict().items()}
            contents |= {"recipe": recipe, "config": config, "state_dict": weights}
            if change:
                change(contents)
            made[words, change] = folder / f"{len(made)}.ckpt"
            torch.save(contents, made[words, change])
        return made[words, change]

    return make


@pytest.fixture
def score(tmp_path):
    """score(files, words) -> the results, and how often a backbone was passed."""

    def run(*files, words=()):
        passes = []
        count = lambda module, *_: passes.append(1) if isinstance(module, Backbone) else None  # noqa: E731
        hook = nn.modules.module.register_module_forward_hook(count)
        try:
            named = f"ckpt=[{','.join(map(str, files))}]" if len(files) > 1 else f"ckpt={files[0]}"
            given = [named, f"paths.runs={tmp_path}/runs", "callbacks.pictures.count=0", "data.val_size=4", *words]
            return evaluate(compose(given, "evaluate")), len(passes)
        finally:
            hook.remove()

    return run


@pytest.mark.parametrize(
    "words", [("eval=ss",), slow((("eval=ss", "trainer.precision=bf16"),)), slow((SLIDE,))], ids=str
)
def test_counts_are_those_of_a_checkpoint_alone(checkpoint, score, words):
    """The third sees other views, mirror images of which it has resized with aligned corners."""
    files = checkpoint("head=psp"), checkpoint("head=ocr"), checkpoint("head=fcn", "align_corners=true")
    alone = [score(file, words=words) for file in files]
    together, passes = score(*files, words=words)
    assert passes == alone[0][1] + alone[2][1], "of each view once for the first two, and for the third"
    for ([one], _), other in zip(alone, together, strict=True):
        assert one.folder != other.folder
        for name in ("confusion", "images", "cells"):
            assert torch.equal(one.module.scores[name], other.module.scores[name])
        differ = {
            key for key in one.metrics.keys() | other.metrics.keys() if one.metrics.get(key) != other.metrics.get(key)
        }
        assert differ <= {"together", "seconds", "images_per_second"}
        assert other.metrics["together"] == 3
        kept = [ImageCounts.load(next(run.folder.glob("per_image/val_*.npz"))) for run in (one, other)]
        assert np.array_equal(kept[0].cells, kept[1].cells)
        config = [(run.folder / "config.yaml").read_text().split("run:")[0] for run in (one, other)]
        assert config[0] == config[1]
    assert len({tuple(run.module.scores["confusion"].flatten().tolist()) for run in together}) == 3


def doubtful(contents):
    """Make the classes of a network depend on the image, however little it was trained."""
    weights = contents["state_dict"]
    contents["state_dict"] = weights | {
        name: value * 1000 for name, value in weights.items() if name.endswith("head.classifier.weight")
    }


@pytest.mark.parametrize(("words", "passes"), [((), 1 + 4 * 4), slow((("eval.batch_size=1",), 4 * 4))], ids=str)
def test_counts_are_those_of_a_protocol_alone(checkpoint, score, words, passes):
    """Of 4 images: `ms` sees nothing that `flip` does not see, and `ss` neither, unless it takes them in one batch."""
    files = [checkpoint(f"head={head}", change=doubtful) for head in ("psp", "fcn")]
    words = ["eval.predictor.scales=[1,1.25]", *words]
    protocols = ["ss", "flip", "ms"]
    its = {"ss": words[1:], "flip": words, "ms": words}
    alone = [score(files[1], words=[f"eval={name}", *its[name]])[0][0] for name in protocols]
    together, passed = score(*files, words=[f"eval=[{','.join(protocols)}]", *words])
    assert passed == passes
    assert [one.metrics["protocol"] for one in together] == 2 * protocols
    for one, other in zip(alone, together[3:], strict=True):
        kept = [ImageCounts.load(run.folder / f"per_image/val_{one.metrics['protocol']}.npz") for run in (one, other)]
        assert np.array_equal(kept[0].cells, kept[1].cells)
        differ = {
            key for key in one.metrics.keys() | other.metrics.keys() if one.metrics.get(key) != other.metrics.get(key)
        }
        assert differ <= {"together", "seconds", "images_per_second"}
        config = [(run.folder / "config.yaml").read_text().split("run:")[0] for run in (one, other)]
        assert config[0] == config[1]
    assert len({tuple(run.module.scores["confusion"].flatten().tolist()) for run in together}) == 6


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("evaluate", ["eval=[ss,ss]"], "eval=[ss,ss]: name each protocol once"),
        ("evaluate", ["eval=[]"], "eval=[]: give the name of an option of the group"),
        ("evaluate", ["eval=[ss,flip]", "+eval.predictor.x=1"], "+eval.predictor.x=1: with several protocols settings"),
        ("evaluate", ["protocols={}"], "protocols={}: protocols are filled in"),
        ("train", ["eval=[ss,flip]"], "eval=[ss,flip]: one protocol is needed; to score by several:  "),
        ("predict", ["eval=[ss,flip]", "input=x", "output=y"], "eval=[ss,flip]: one protocol is needed"),
    ],
)
def test_wrong_lists_of_protocols(command, words, said):
    ckpt = [] if command == "train" else ["ckpt=x.ckpt"]
    with pytest.raises(ConfigError) as error:
        compose([*ckpt, *words], command)
    assert str(error.value).startswith(said)


def test_a_command_of_one_protocol_says_so_in_one_line(tmp_path):
    code, said = call("train", "eval=[ss,flip]", f"paths.runs={tmp_path}")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: eval=[ss,flip]: one protocol is needed")


def test_a_setting_reaches_the_protocols_that_have_it():
    found = compose(["ckpt=x", "eval=[ss,slide,ms]", "eval.predictor.crop=[8,9]", "eval.batch_size=3"], "evaluate")
    assert found.protocols.slide.predictor.crop == [8, 9]
    assert found.protocols.ss.predictor == {"_target_": "WholeImage"}
    assert {node.batch_size for node in found.protocols.values()} == {3}


def scaled(name, factor):
    def change(contents):
        weights = contents["state_dict"]
        contents["state_dict"] = weights | {f"segmenter.{name}": weights[f"segmenter.{name}"] * factor}

    return change


def columns_last(contents):
    """Equal weights in another memory format may give another last bit."""
    weights = contents["state_dict"]
    name = next(name for name, value in weights.items() if value.ndim == 4 and min(value.shape[1:]) > 1)
    contents["state_dict"] = weights | {name: weights[name].transpose(2, 3).contiguous().transpose(2, 3)}


def of_other_classes(contents):
    classes = contents["recipe"]["classes"]
    contents["recipe"] |= {"classes": classes | {"names": classes["names"][::-1]}}


@pytest.mark.parametrize(
    ("words", "change", "said"),
    [
        ((), scaled("backbone.stem.0.weight", 1.001), "{b} has another backbone than {a}; score them one by one"),
        ((), scaled("backbone.mean", 1.001), "{b} has another backbone than {a}"),
        ((), columns_last, "{b} has another backbone than {a}"),
        ((), of_other_classes, "{b} was trained for other classes than {a}; score them one by one"),
        (
            ("data.size=96",),
            None,
            "{b} has data.size=96, but {a} has 80; give data.size= for all, or score them one by",
        ),
        (
            ("eval=flip",),
            None,
            "{b} has eval.predictor._target_=MultiScale, but {a} has WholeImage; give eval= for all",
        ),
        (("trainer.precision=bf16",), None, "{b} has trainer.precision=bf16, but {a} has 32; give trainer.precision="),
        (("data.transform.flip=0.1", "data.batch_size=2", "seed=3", "label_stride=2"), None, None),
    ],
)
def test_unlike_checkpoints_are_refused(checkpoint, score, tmp_path, words, change, said):
    """In one line that names both, before there is a folder; what only a training depends on may differ."""
    a, b = checkpoint("head=ocr"), checkpoint("head=fcn", *words, change=change)
    if said is None:
        assert len(score(a, b)[0]) == 2
        return
    with pytest.raises(ConfigError) as error:
        score(a, b)
    assert said.format(a=f"ckpt={a}", b=f"ckpt={b}") in str(error.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer.devices=2", "trainer.devices=2: several checkpoints are scored on one device; give 1"),
        ("callbacks.pictures.folder=x", "callbacks.pictures.folder=x: the pictures of several checkpoints would have"),
    ],
)
def test_what_several_checkpoints_cannot_have(checkpoint, score, word, said):
    with pytest.raises(ConfigError, match=said):
        score(checkpoint("head=ocr"), checkpoint("head=fcn"), words=[word])
    with pytest.raises(ConfigError, match=said.replace("checkpoints", "protocols")):
        score(checkpoint("head=ocr"), words=["eval=[ss,flip]", word])


@pytest.mark.slow
def test_each_draws_its_own_pictures(checkpoint, score):
    done, _ = score(checkpoint("head=ocr"), checkpoint("head=fcn"), words=["callbacks.pictures.count=1"])
    first, second = ([file.read_bytes() for file in one.folder.glob("predictions/*.png")] for one in done)
    assert len(first) == len(second) == 1
    assert first != second


@pytest.fixture
def of_maps(checkpoint, tmp_path):
    """of_maps(dtype) -> a checkpoint whose training kept maps of that type in the folder `maps`."""

    def make(dtype=None):
        kept = {"whole": True, "cache": str(tmp_path / "maps"), "dtype": dtype}
        return checkpoint("head=ocr", change=lambda contents: contents["config"].update(features=kept))

    return make


def test_maps_of_a_cache_give_the_counts_of_images(of_maps, checkpoint, score, tmp_path):
    """The folder that is named gets what is missing; then it is read, for all heads, and no backbone is passed."""
    files, asked = (of_maps(), checkpoint("head=fcn")), [f"features.cache={tmp_path}/maps"]
    plain, passes = score(*files)
    assert passes > 0
    assert "features" not in plain[0].metrics
    score(*files, words=asked)
    assert len(list((tmp_path / "maps").rglob("*.maps"))) == 4
    cached, passes = score(*files, words=asked)
    assert passes == 0
    for one, other in zip(plain, cached, strict=True):
        assert torch.equal(one.module.scores["cells"], other.module.scores["cells"])
        assert other.metrics["features"].startswith(f"{tmp_path}/maps/")


@pytest.mark.slow
def test_the_cache_of_a_training_is_read_where_it_changes_no_number(of_maps, score, tmp_path):
    of_float16, file = of_maps("float16"), of_maps()
    asked = [f"features.cache={tmp_path}/maps"]
    for one in (file, of_float16):
        score(one, words=asked)
    read, passes = score(file)
    assert passes == 0
    assert read[0].metrics["features"]
    for one, words in (
        (of_float16, []),  # asked for, as above, it is read
        (file, ["trainer.precision=bf16"]),
        (file, ["eval=flip"]),
        (file, ["split=test"]),  # not in the cache
    ):
        done, passes = score(one, words=words)
        assert passes > 0
        assert "features" not in done[0].metrics
    assert score(of_float16, words=asked)[1] == 0
    for damaged in (tmp_path / "maps").rglob("*.maps"):
        damaged.write_bytes(damaged.read_bytes()[:-1])
    assert score(file)[1] > 0, "images again"
    score(file, words=asked)
    assert score(file)[1] == 0, "made again"


@pytest.mark.parametrize(
    ("head", "word", "way"),
    [
        ("ocr", "eval=flip", "OCRHead is shown parts or resized ones; give eval=ss, or leave it out"),
        ("ocr", "eval=slide", "OCRHead is shown parts or resized ones; give eval=ss, or leave it out"),
        ("cpnet", "eval=ss", "CPNetHead is shown parts or resized ones; leave it out"),
    ],
)
def test_a_cache_is_refused_where_parts_of_images_are_shown(checkpoint, score, tmp_path, head, word, way):
    with pytest.raises(ConfigError, match=f"maps: maps are of whole images, but {way}"):
        score(checkpoint(f"head={head}"), words=[word, f"features.cache={tmp_path}/maps"])
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_type_is_that_of_a_cache(checkpoint, score):
    with pytest.raises(ConfigError, match=r"features\.dtype=float16: it is that of the cache; give features\.cache="):
        score(checkpoint("head=ocr"), words=["features.dtype=float16"])


def test_files_in_the_home_folder(checkpoint, score, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, head in (("a.ckpt", "ocr"), ("b.ckpt", "fcn")):
        (tmp_path / name).symlink_to(checkpoint(f"head={head}"))
    done, _ = score('"~/a.ckpt"', '"~/b.ckpt"')  # as Hydra takes a ~ in a list
    assert [one.metrics["ckpt"] for one in done] == [f"{tmp_path}/a.ckpt", f"{tmp_path}/b.ckpt"]


def test_the_command_names_a_file_that_is_missing(checkpoint, tmp_path):
    code, said = call("evaluate", f"ckpt=[{checkpoint('head=ocr')},none.ckpt]", f"paths.runs={tmp_path}")
    assert (code, said.startswith("error: ckpt=none.ckpt: no such file")) == (2, True), said
    code, said = call("evaluate", "ckpt=[]", f"paths.runs={tmp_path}")
    assert (code, "ckpt=[]: give a path or a list" in said) == (2, True), said
