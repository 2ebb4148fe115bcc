"""Released weights as checkpoints: every graph against our network, every file that is refused."""

import argparse
import pickle
import re
from collections import OrderedDict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fake_release import flat_tensors, random_tensors
from harness import call
from safetensors.torch import save_file
from selected import quick

from contextseg import load_checkpoint
from contextseg.classes import class_set
from contextseg.commands.convert import graph as graph_files
from contextseg.commands.convert.command import (
    as_inplace_abn,
    configuration,
    convert,
    data_sets,
    named,
    norm_weights,
    trimmed,
    weights,
)
from contextseg.commands.convert.graph import COUNTER, Graph, bare, expand, graphs, match, multiple, tensors_of
from contextseg.commands.convert.released import read_tensors
from contextseg.engine import build
from contextseg.errors import ConfigError

SOURCES = ("openseg", "hrnet", "ccnet", "agln", "contextprior", "mmseg", "ctnet", "encoding", "fastfcn")
every_graph = pytest.mark.parametrize("name", quick(graphs(), sorted(graphs())[::4]))
COMMON = {"running_mean", "running_var", "weight", "bias"}


def ours(graph: Graph, classes: int):
    """Our network of a graph, without numbers."""
    with torch.device("meta"):
        return build.network(configuration(graph), named("k", list("abcdefg"[:classes])), pretrained=False)[0]


@cache
def of_seven(name: str):
    """The same of a graph by its name, for seven classes; not to be changed."""
    return ours(graphs()[name], 7)


# every graph


@every_graph
def test_a_graph_is_our_network_name_for_name(name):
    graph = graphs()[name]
    assert graph.source in SOURCES
    state = of_seven(name).state_dict()
    mapped = graph.mapped(7)
    counters = {key for key in state if key.endswith(COUNTER)}
    assert mapped.keys() - counters == state.keys() - counters - {"backbone.mean", "backbone.std"}
    assert mapped.keys() <= state.keys()
    for key, (theirs, shape) in mapped.items():
        assert trimmed(shape) == trimmed(state[key].shape), theirs


@every_graph
def test_there_and_back_is_the_identity(name):
    """Each tensor has one number of its own, that of its place; a few classes, so that no shape fits by chance.

    Signs are those of `test_official_encnet`.
    """
    graph = graphs()[name]
    network, tensors = of_seven(name), flat_tensors(graph, 7)
    found = match(graph, tensors)
    assert (found.complete, found.classes) == (True, 7), (found.missing, found.unused, found.misfits)
    state = weights(found, network)
    numbers = {theirs: state[key].flatten()[0].abs().item() for key, (theirs, _) in graph.mapped(7).items()}
    assert numbers == {theirs: tensors[theirs].flatten()[0].item() for theirs in numbers}
    assert numbers.keys() == {theirs for theirs in graph.shapes if not graph.ignores(theirs)}


def test_channels_behind_a_concatenation_are_reversed():
    """Each channel has the number of its place in the file: blocks change places, their channels keep their order."""
    for name, weight, shape, expected in (
        ("ccnet_resnet101", "head.bottleneck.0.weight", (1, 2560, 1, 1), [*range(2048, 2560), *range(2048)]),
        ("hrnet_w48_ocr", "ocr_distri_head.conv_bn_dropout.0.weight", (1, 6, 1, 1), [3, 4, 5, 0, 1, 2]),
        ("agln_resnet50s", "head.conv5.0.weight", (1, 8, 1, 1), [6, 7, 4, 5, 2, 3, 0, 1]),
        ("ctnet_resnet101_jpu", "backbone.JPU.dilation1.0.pointwise.weight", (1, 6, 1, 1), [4, 5, 2, 3, 0, 1]),
        ("ctnet_resnet101_jpu", "backbone.JPU.dilation2.0.conv1.weight", (6, 1, 1, 1), [4, 5, 2, 3, 0, 1]),
        ("ctnet_resnet101_jpu", "backbone.JPU.dilation3.0.bn._mean", (6,), [4, 5, 2, 3, 0, 1]),
    ):
        channels = max(shape)
        value = torch.arange(channels).view(shape)
        found = graphs()[name].tensor(weight, value)
        assert found.shape == shape
        assert found.flatten().tolist() == expected, weight


@every_graph
def test_a_rule_of_order_concerns_a_weight(name):
    """But for JPU's in the graph without one."""
    graph = graphs()[name]
    names = [graph.ours(theirs) for theirs in graph.wanted()]
    for pattern, _ in graph.reversed:
        if "neck" in pattern and "dilated" in name:
            continue
        assert any(re.search(pattern, ours) for ours in names), pattern


@every_graph
def test_a_graph_takes_no_other_file(name):
    """What fits one graph in full fits no other of its source, or says which differ in nothing but the composition."""
    graph = graphs()[name]
    tensors = flat_tensors(graph, 7)
    for other in graphs().values():
        if other.source == graph.source and other is not graph and match(other, tensors).complete:
            assert other.overrides != graph.overrides, "two files of one graph"


def test_weights_of_norms_as_the_kernels_of_inplace_abn_take_them():
    tensors = {"bn.running_var": torch.ones(2), "bn.weight": torch.tensor([-0.5, 0.25]), "conv.weight": -torch.ones(2)}
    assert norm_weights(tensors) == ["bn.weight"]
    as_inplace_abn(tensors)
    torch.testing.assert_close(tensors["bn.weight"], torch.tensor([0.50001, 0.25001]))
    assert (tensors["conv.weight"] == -1).all()


def test_norms_of_openseg_are_named_a_level_higher_with_inplace_abn():
    plain, abn = (graphs()[f"openseg_spatial_ocrnet_resnet101{end}"] for end in ("", "_abn"))
    assert "dsn_head.1.0.weight" in plain.shapes
    assert "dsn_head.1.weight" in abn.shapes
    assert abn.ours("dsn_head.1.running_var") == plain.ours("dsn_head.1.0.running_var") == "head.coarse.0.1.running_var"
    assert abn.ours("dsn_head.3.weight") == plain.ours("dsn_head.3.weight") == "head.coarse.2.weight"
    assert isinstance(ours(plain, 7).head.reduce[2], torch.nn.ReLU)
    assert ours(abn, 7).head.reduce[2].negative_slope == 0.01


@pytest.mark.slow
@every_graph
def test_a_made_up_release_becomes_a_checkpoint(name, tmp_path):
    released_and_back(graphs()[name], tmp_path)


def released_and_back(graph, folder):
    torch.save({"state_dict": random_tensors(graph, 12)}, folder / "released.pth")
    code, said = call(
        "convert",
        f"from={graph.source}",
        f"graph={graph.name}",
        f"input={folder}/released.pth",
        f"output={folder}/ours.ckpt",
    )
    assert code == 0, said
    network = load_checkpoint(folder / "ours.ckpt")
    assert network.classes == class_set("context_scenes")
    size = network.head.window or (64, 64)
    labels = network.predict(torch.randint(0, 256, (3, *size), dtype=torch.uint8))
    assert labels.shape == size
    return network


@pytest.mark.slow
def test_a_checkpoint_of_agln_predicts_and_is_evaluated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    released_and_back(graphs()["agln_resnet50s"], tmp_path)
    data = ["data=context_scenes", "data.size=96", "data.val_size=2", "trainer=cpu", "callbacks.pictures.count=0"]
    code, said = call("evaluate", f"ckpt={tmp_path}/ours.ckpt", *data)
    assert code == 0, said
    assert "agln_official_resnet50s_context_scenes" in said
    code, said = call("attend", f"ckpt={tmp_path}/ours.ckpt", "image=none.png", "point=[1,2]")
    assert "none.png" in said, "the checkpoint was read, the image is missing"


# a small graph of this test


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The names of FCN on tiny, with words of their own, as the only graph: source `agln`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(graph_files, "FOLDER", tmp_path)
    graphs.cache_clear()
    write_graph(tmp_path / "small.yaml")
    yield graphs()["small"]
    graphs.cache_clear()


def write_graph(path: Path, **more):
    overrides = ["head=fcn", "backbone=tiny", "head.channels=8", "loss=ce"]
    plain = Graph("plain", "agln", tuple(overrides), {}, (), ())
    state = ours(plain, 5).state_dict()
    own = ("backbone.mean", "backbone.std")
    shapes = {name: list(value.shape) for name, value in state.items() if name not in own}
    last = [name for name in shapes if shapes[name][:1] == [5]]
    names = {f"net_{name}": ["K", *shape[1:]] if name in last else shape for name, shape in shapes.items()}
    names |= {"loss.weight": [3]}
    facts = {"source": "agln", "overrides": overrides, "names": names, "map": [["^net_", ""]], "ignore": ["loss"]}
    path.write_text(yaml.safe_dump(facts | more))


def run(*arguments):
    return call("convert", "from=agln", "input=in.pth", "output=out.ckpt", *arguments)


def refused(*arguments):
    """The one line of a refusal; nothing was written."""
    before = Path("out.ckpt").exists()
    code, said = run(*arguments)
    assert code == 2, said
    assert Path("out.ckpt").exists() is before
    assert not list(Path().glob("*.part"))
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    return line


def test_the_keys_of_a_conversion_are_told(small):
    tensors = random_tensors(small, 5)
    torch.save(tensors, "in.pth")
    code, said = run()
    assert code == 0, said
    assert "small, 5 classes (classes): out.ckpt" in said
    listed = Path("out.ckpt.keys.txt").read_text()
    assert f"used: {len(tensors) - 1}\n" in listed
    assert "omitted on purpose: 1\n  loss.weight\n" in listed
    assert "missing: 0\nunknown: 0\nof another shape: 0\n" in listed
    assert "  net_head.classifier.weight -> head.classifier.weight\n" in listed
    state = load_checkpoint("out.ckpt").state_dict()
    for name in tensors.keys() - {"loss.weight"}:
        assert torch.equal(state[name.removeprefix("net_")], tensors[name]), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model_state": t, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}},
        lambda t: {"model": {"state_dict": OrderedDict(t)}},
        lambda t: {"state_dict": {f"module.{name}": value for name, value in t.items()}},
        lambda t: {f"module.model.{name}" if i % 2 else name: value for i, (name, value) in enumerate(t.items())},
        lambda t: {name: value for name, value in t.items() if not name.endswith(COUNTER)},
        lambda t: t | {"iteration": 5},
        lambda t: {name: value.double() if value.is_floating_point() else value for name, value in t.items()},
    ],
)
@pytest.mark.parametrize("legacy", quick([False, True], ["False"]))
def test_containers_and_prefixes_come_off(small, wrap, legacy):
    tensors = random_tensors(small, 5)
    torch.save(wrap(tensors), "in.pth", _use_new_zipfile_serialization=not legacy)
    code, said = run()
    assert code == 0, said
    state = load_checkpoint("out.ckpt").state_dict()
    assert torch.equal(state["head.classifier.weight"], tensors["net_head.classifier.weight"])


def test_other_formats(small):
    tensors = random_tensors(small, 5)
    save_file(tensors, "in.safetensors")
    np.savez("in.npz", **{name: value.numpy() for name, value in tensors.items()})
    for file in ("in.safetensors", "in.npz"):
        assert call("convert", "from=agln", f"input={file}", f"output={file}.ckpt")[0] == 0
        state = load_checkpoint(f"{file}.ckpt").state_dict()
        assert torch.equal(state["head.classifier.weight"], tensors["net_head.classifier.weight"])


def test_partial_extra_and_misshapen_files_are_refused(small):
    whole = random_tensors(small, 5)
    name = "net_head.classifier.weight"
    for change, message in (
        ({name: None}, f"1 tensors missing, 0 unknown, 0 of another shape (first {name})"),
        ({"head.extra": torch.ones(1)}, "0 tensors missing, 1 unknown, 0 of another shape (first head.extra)"),
        ({name: whole[name][..., None]}, "0 tensors missing, 0 unknown, 1 of another shape"),
        ({name: whole[name][:4]}, "1 of another shape"),
        ({f"module.{name}": whole[name]}, "1 unknown, 0 of another shape (first module.net_head.classifier.weight"),
    ):
        torch.save({k: v for k, v in (whole | change).items() if v is not None}, "in.pth")
        said = refused()
        assert "input=in.pth: not the weights of small, the nearest graph of from=agln" in said
        assert message in said
        assert "out.ckpt.keys.txt lists them all" in said
        assert next(iter(change)).removeprefix("module.") in Path("out.ckpt.keys.txt").read_text()


class Code:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Code(), ""),
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (np.float64(3), "scalar"),
        (np.ones(2), "_reconstruct"),
    ],
)
def test_pickles_are_not_executed(small, content, named):
    torch.save({"state_dict": random_tensors(small, 5), "best": content}, "in.pth")
    said = refused()
    assert not Path("executed").exists()
    assert named in said
    assert "import torch; d = torch.load('in.pth', map_location='cpu', weights_only=False)" in said
    assert "If you trust the file" in said


def test_the_way_out_of_a_refusal_works(small):
    torch.save({"state_dict": random_tensors(small, 5), "best": np.float64(3)}, "in.pth")
    snippet = refused().partition("what it writes: ")[2]
    exec(snippet)
    code, said = run("input=tensors.pth")
    assert code == 0, said


def test_files_without_tensors_are_refused(small):
    assert "in.pth: no such file" in refused()
    Path("in.pth").write_text("hello")
    assert "cannot be read without running code" in refused()
    torch.save({"state_dict": {}}, "in.pth")
    assert "holds no tensors by name" in refused()
    torch.save([torch.ones(2)], "in.pth")
    assert "holds no tensors by name" in refused()
    np.savez("in.npz", a=np.array([Code()]))
    assert "write it anew with plain numbers only" in refused("input=in.npz")
    assert not Path("executed").exists()
    Path("in.pdparams").write_bytes(pickle.dumps({"a": Code()}))
    assert "numpy.savez('tensors.npz'" in refused("input=in.pdparams")
    assert not Path("executed").exists()


def test_an_output_is_not_overwritten_silently(small):
    torch.save(random_tensors(small, 5), "in.pth")
    Path("out.ckpt").write_text("mine")
    assert "output=out.ckpt: exists already; give another name or overwrite=true" in refused()
    assert Path("out.ckpt").read_text() == "mine"
    assert "overwrite=yes please: give true or false" in refused("overwrite='yes please'")
    assert "this is a folder" in refused("output=.")
    assert run("overwrite=true")[0] == 0
    load_checkpoint("out.ckpt")


def test_sources_and_graphs_are_chosen(small, tmp_path):
    torch.save(random_tensors(small, 5), "in.pth")
    assert "from=other: give one of openseg" in refused("from=other")
    assert "graph=other: from=agln has small" in refused("graph=other")
    write_graph(tmp_path / "twin.yaml")
    graphs.cache_clear()
    assert "fits small, twin alike; choose one with graph=NAME" in refused()
    assert run("graph=twin")[0] == 0


def test_the_number_of_classes_is_what_most_shapes_say():
    graph = Graph("three", "agln", (), {"weight": ("K", 8), "bias": ("K",), "double": ("2*K",)}, (), ())
    found = match(graph, {"weight": torch.zeros(5, 8), "bias": torch.zeros(5), "double": torch.zeros(14)})
    assert found.classes == 5
    assert found.misfits == ["double [14], not [10]"]


def test_the_unknown_source_is_told_all():
    code, said = call("convert", "from=other", "input=a", "output=b")
    assert code == 2
    assert "from=other: give one of " in said
    assert "agln" in said


def test_whose_classes_they_are(small):
    known = {len(classes): name for name, classes in data_sets().items()}
    assert {12: "context_scenes", 11: "camvid"}.items() <= known.items()
    for count, arguments, name, first in (
        (5, (), "classes", "class_0"),
        (12, (), "context_scenes", "foliage"),
        (11, ("data=camvid",), "camvid", "sky"),
        (11, ("classes=camvid",), "camvid", "sky"),
        (2, ("classes=[cat,dog]",), "classes", "cat"),
    ):
        torch.save(random_tensors(small, count), "in.pth")
        code, said = run("overwrite=true", *arguments)
        assert code == 0, said
        classes = load_checkpoint("out.ckpt").classes
        assert (len(classes), classes.name, classes.names[0]) == (count, name, first)
        assert len(set(classes.palette)) == count
    Path("out.ckpt").unlink()
    assert "data=camvid: has 11 classes, but the weights are for 2" in refused("data=camvid")
    assert "classes: has 1 classes, but the weights are for 2" in refused("classes=[cat]")
    assert "data=other: no such option; choose one of" in refused("data=other")
    assert "no class set 'cats'" in refused("classes=cats")
    assert "give one of them" in refused("data=camvid", "classes=camvid")


def test_blue_first_and_other_means_are_folded_in(small, tmp_path):
    mean, std = [104.0, 117.0, 123.0], [1.0, 2.0, 3.0]  # blue, green, red
    write_graph(tmp_path / "caffe.yaml", mean=mean, std=std, channels="bgr")
    graphs.cache_clear()
    torch.save(random_tensors(small, 5), "in.pth")
    assert run("graph=small")[0] == 0
    plain = load_checkpoint("out.ckpt").backbone
    assert run("graph=caffe", "overwrite=true")[0] == 0
    folded = load_checkpoint("out.ckpt").backbone
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    expected = plain.eval().features((image.flip(1) - mean) / std)
    for found, other in zip(folded.eval()(image), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4)


def test_matrices_of_paddle_are_turned_round(small, tmp_path):
    write_graph(tmp_path / "paddle.yaml", names={"fc.weight": [3, 4]}, map=[["^fc", "fc"]], transposed=["^fc"])
    graphs.cache_clear()
    paddle = graphs()["paddle"]
    value = torch.rand(3, 4)
    assert torch.equal(paddle.tensor("fc.weight", value), value.T)
    assert paddle.mapped(5) == {"fc.weight": ("fc.weight", (4, 3))}


# the language of the files


def test_names_are_expanded():
    assert list(expand("a{0..2}.b")) == ["a0.b", "a1.b", "a2.b"]
    assert list(expand("{9..10}{1..1}")) == ["91", "101"]
    assert list(expand("plain")) == ["plain"]
    assert {n.removeprefix("bn.") for n, _ in tensors_of("bn", "norm(4)")} == COMMON | {COUNTER[1:]}
    assert dict(tensors_of("bn", "norm(K, no_count)")) == {f"bn.{part}": ("K",) for part in COMMON}
    assert [multiple(entry, "K") for entry in ("K", "2*K", "K * 3")] == [1, 2, 3]


def test_a_base_lends_its_keys(small, tmp_path):
    (tmp_path / "less.yaml").write_text("base: small\nwithout: [net_head]\n")
    graphs.cache_clear()
    less = graphs()["less"]
    assert less.overrides == small.overrides
    assert less.shapes.keys() == {name for name in small.shapes if not name.startswith("net_head")}


def test_prefixes_of_the_graph_itself_stay():
    graph = Graph("g", "agln", (), {"model.a": (), "b": ()}, (), ())
    assert [bare(n, graph) for n in ("model.a", "module.model.a", "model.b", "c")] == ["model.a", "model.a", "b", "c"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"spelt": 1}, "no such keys: spelt; known: base"),
        ({"names": {"a{0..1}": [1], "a1": [2]}}, "a1 occurs twice"),
    ],
)
def test_a_wrong_file_is_refused(small, tmp_path, more, message):
    write_graph(tmp_path / "wrong.yaml", **more)
    graphs.cache_clear()
    with pytest.raises(ConfigError, match=message):
        graphs()
    (tmp_path / "wrong.yaml").unlink()


def test_two_names_for_one_of_ours_are_refused(small, tmp_path):
    write_graph(tmp_path / "wrong.yaml", names={"a": [1], "b": [1]}, map=[["^[ab]$", "c"]])
    graphs.cache_clear()
    with pytest.raises(ConfigError, match="b doubles c"):
        graphs()["wrong"].mapped(5)


def test_a_function_as_well_as_a_command(small):
    from contextseg.commands.compose import options

    torch.save(random_tensors(small, 5), "in.pth")
    cfg = options(["from=agln", "input=in.pth", "output=deep/er/out.ckpt"], "convert")
    assert convert(cfg) == Path("deep/er/out.ckpt")
    assert load_checkpoint("deep/er/out.ckpt").classes.names[4] == "class_4"


def test_a_changed_byte_of_a_released_file_is_noticed(tmp_path):
    """torch looks at no checksum."""
    path = tmp_path / "released.pth"
    torch.save({"a": torch.full((8,), 1.25)}, path)
    read_tensors(path)
    path.write_bytes(path.read_bytes().replace(torch.full((1,), 1.25).numpy().tobytes(), b"\0\0\0\0", 1))
    with pytest.raises(ConfigError, match=r"released\.pth: its part .* is not as it was written"):
        read_tensors(path)
