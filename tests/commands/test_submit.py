"""Archives for the test servers: written, read back by other means than the code's own, refused when wrong."""

import dataclasses
import io
import json
import re
import tarfile
import zipfile

import fake_trees
import numpy as np
import pytest
import torch
from harness import call
from PIL import Image
from selected import quick

from contextseg.checkpoint import load_checkpoint
from contextseg.classes import class_set, voc_colours
from contextseg.commands.compose import compose
from contextseg.commands.evaluate.command import evaluate
from contextseg.commands.submit import command, formats
from contextseg.commands.submit.archive import pack, verify
from contextseg.commands.train.command import train as fit
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.metrics import count

SMALL = ("head=fcn", "width=16", "data.batch_size=2", "data.num_workers=0", "data.transform.crop_size=[32,32]")
SMALL += ("trainer=cpu", "trainer.precision=32", "trainer.max_steps=1", "trainer.log_every_steps=1")
SMALL += ("callbacks.pictures.count=0", "~callbacks.context")
SETS = ("ade20k", "cityscapes", "lip", "voc2012")
every_set = pytest.mark.parametrize("name", quick(SETS, ["cityscapes"]))

# Names, stored values and kinds as the servers want them, written down once more: submit/formats.py is not asked.
CITYSCAPES = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
WANTED = {
    "ade20k": ("ade20k_test.zip", r"ADE_test_0000000[12]\.png", "L", list(range(1, 151))),
    "cityscapes": ("cityscapes_test.zip", r"berlin_00000[01]_000019.*\.png", "L", CITYSCAPES),
    "lip": ("lip_test.zip", r"10000[78]_48368\.png", "L", list(range(20))),
    "voc2012": (
        "results.tgz",
        r"results/VOC2012/Segmentation/comp6_test_cls/2007_00000[78]\.png",
        "P",
        list(range(21)),
    ),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained(name) -> (checkpoint, root of its data), trained once; its classifier is random, so that many classes
    occur."""
    known = {}

    def train(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            root = fake_trees.build(name, folder / "data")
            options = (f"data={name}", *SMALL, f"data.root={root}", f"paths.runs={folder}/runs", "experiment=none")
            path = fit(compose(options)).folder / "checkpoints/last.ckpt"
            checkpoint = torch.load(path, weights_only=True)
            weights, noise = checkpoint["state_dict"], torch.Generator().manual_seed(0)
            last = [key for key in weights if key.startswith("segmenter.head.") and key.endswith(".weight")][-1]
            weights[last] = torch.randn(weights[last].shape, generator=noise)
            torch.save(checkpoint, path)
            known[name] = path, root
        return known[name]

    return train


def submit(checkpoint, output, *overrides):
    """The result of the command as a function."""
    return command.submit(compose([f"ckpt={checkpoint}", f"output={output}", *overrides], "submit"))


def contents(path):
    """Name -> bytes of an archive's members."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


@every_set
def test_what_a_server_gets(trained, tmp_path, name):
    checkpoint, root = trained(name)
    done = submit(checkpoint, tmp_path / "out", "eval=flip")
    archive, pattern, mode, values = WANTED[name]
    assert done.archive == tmp_path / "out" / archive
    assert (done.images, done.predicted, done.compared) == (2, 2, 2)
    members = contents(done.archive)
    assert len(members) == 2
    network = load_checkpoint(checkpoint)
    predictor = build.predictor(compose(["eval=flip"]).eval, network)
    cfg = compose([f"data={name}", f"data.root={root}"])
    source = build.datamodule(cfg).source("test")
    seen = set()
    for index, (member, data) in enumerate(sorted(members.items())):
        assert re.fullmatch(pattern, member)
        picture = Image.open(io.BytesIO(data))
        assert (picture.mode, picture.size) == (mode, (64, 48))
        if name == "voc2012":
            assert picture.getpalette() == [value for colour in voc_colours() for value in colour]
        image = torch.from_numpy(source.read(index)[0].transpose(2, 0, 1).copy())[None]
        expected = np.array(values)[predictor(network.logits, image)[0].numpy()]
        np.testing.assert_array_equal(np.array(picture), expected)
        seen |= set(np.unique(expected).tolist())
    assert done.classes == len(seen) > 2


@every_set
def test_val_goes_by_its_own_names_and_size(trained, tmp_path, name):
    checkpoint, _ = trained(name)
    done = submit(checkpoint, tmp_path / "out", "split=val")
    assert (done.images, len(contents(done.archive))) == (2, 2)
    assert "test" not in "".join(contents(done.archive))


def test_what_is_submitted_is_what_evaluate_scores(trained, tmp_path):
    checkpoint, _ = trained("cityscapes")
    given = ("split=val", "eval=ms_flip")
    (scored,) = evaluate(compose([f"ckpt={checkpoint}", f"paths.runs={tmp_path}/runs", *given], "evaluate"))
    members = contents(submit(checkpoint, tmp_path / "out", *given).archive)
    source, confusion = scored.datamodule.source("val"), torch.zeros(19, 19, dtype=torch.int64)
    form = formats.FORMATS["cityscapes"]
    for index, name in enumerate(source.names):
        _, mask, _ = source.read(index)
        labels = form.read(members[form.member.format(name=name)], mask.shape)
        confusion += count(torch.tensor(labels)[None], torch.tensor(mask)[None], 19)
    assert torch.equal(confusion, scored.module.scores["confusion"])


def test_images_of_other_sizes(trained, tmp_path):
    checkpoint, _ = trained("ade20k")
    root = fake_trees.build("ade20k", tmp_path / "data", size=(37, 51))
    Image.fromarray(np.full((21, 90), 9, np.uint8)).save(root / "release_test/testing/ADE_test_00000007.jpg")
    done = submit(checkpoint, tmp_path / "out", f"data.root={root}", "eval=ms_flip")
    sizes = {name: Image.open(io.BytesIO(data)).size for name, data in contents(done.archive).items()}
    assert sizes == {f"ADE_test_0000000{i}.png": size for i, size in ((1, (51, 37)), (2, (51, 37)), (7, (90, 21)))}


def test_left_and_right_change_places_in_lips_mirror_images(trained):
    network = load_checkpoint(trained("lip")[0])
    assert network.classes.flip_pairs == ((14, 15), (16, 17), (18, 19))
    predictor = build.predictor(compose(["eval=ocr_lip"]).eval, network)

    def left_arm_on_the_left(image):
        """Class 14 in the left half of what it sees, 15 in the right."""
        logits = torch.zeros(1, 20, *image.shape[-2:])
        logits[:, 14, :, : image.shape[-1] // 2] = 9
        logits[:, 15, :, image.shape[-1] // 2 :] = 9
        return logits

    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert predictor(left_arm_on_the_left, image).unique().tolist() == [14, 15]
    found = predictor.probabilities(left_arm_on_the_left, image)
    assert found[0, 14, 0, 0] > 0.99, "both views agree, once the classes of the mirror image are exchanged"


# stopping, going on, and not overwriting


def test_a_stopped_run_goes_on(trained, tmp_path, monkeypatch):
    checkpoint, _ = trained("voc2012")
    whole = contents(submit(checkpoint, tmp_path / "whole").archive)
    original = formats.Format.picture

    def second_fails(self, labels):
        if list((tmp_path / "out").rglob("2007_*.png")):
            raise KeyboardInterrupt
        return original(self, labels)

    monkeypatch.setattr(formats.Format, "picture", second_fails)
    with pytest.raises(KeyboardInterrupt):
        submit(checkpoint, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in files) == [".json", ".png"]
    monkeypatch.undo()
    done = submit(checkpoint, tmp_path / "out")
    assert (done.images, done.predicted, done.compared) == (2, 1, 1)
    assert contents(done.archive) == whole


def test_a_finished_one_is_only_read_back(trained, tmp_path):
    checkpoint, _ = trained("cityscapes")
    first = submit(checkpoint, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again = submit(checkpoint, tmp_path / "out")
    assert (again.archive, again.predicted, again.compared, again.classes) == (first.archive, 0, 0, first.classes)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    first.archive.write_bytes(first.archive.read_bytes()[:-30])
    with pytest.raises(ConfigError, match=r"cityscapes_test\.zip"):
        submit(checkpoint, tmp_path / "out")


def test_nothing_else_is_overwritten_or_mixed(trained, tmp_path):
    checkpoint, _ = trained("voc2012")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(ConfigError, match=r"was not made by submit; give another folder"):
            submit(checkpoint, tmp_path / name)
    submit(checkpoint, tmp_path / "out")
    with pytest.raises(ConfigError, match="differs in eval, predictor"):
        submit(checkpoint, tmp_path / "out", "eval=ms_flip")
    fake_trees.build("voc2012", tmp_path / "more", val=3)
    with pytest.raises(ConfigError, match="differs in images, names, split"):
        submit(checkpoint, tmp_path / "out", "split=val", f"data.root={tmp_path / 'more'}")
    weights = torch.load(checkpoint, weights_only=True)
    torch.save(weights | {"note": 1}, tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match="differs in checkpoint "):
        submit(tmp_path / "other.ckpt", tmp_path / "out")
    (tmp_path / "out/submission.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        submit(checkpoint, tmp_path / "out")


def test_a_damaged_label_map_never_becomes_an_archive(trained, tmp_path):
    checkpoint, _ = trained("ade20k")
    archive = submit(checkpoint, tmp_path / "out").archive
    archive.unlink()
    (tmp_path / "out/labels/ADE_test_00000002.png").write_bytes(b"half a p")
    with pytest.raises(ConfigError, match=r"member ADE_test_00000002\.png: cannot be read"):
        submit(checkpoint, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labels", "submission.json"]


# reading back


def packed(folder, form, pictures, suffix=".zip"):
    """An archive of these pictures; a name without one is a text."""
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / name, "PNG")
    pack(folder / f"a{suffix}", {name: folder / name for name in pictures}, lambda: None)
    return folder / f"a{suffix}"


LABELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@every_set
def test_every_class_has_its_value(name):
    form, ids = formats.FORMATS[name], np.arange(len(class_set(name)), dtype=np.uint8)[None]
    file = io.BytesIO()
    form.picture(ids).save(file, "PNG")
    assert np.array(Image.open(file))[0].tolist() == WANTED[name][3]
    np.testing.assert_array_equal(form.read(file.getvalue(), ids.shape), ids)


@every_set
def test_every_fault_is_found(tmp_path, name):
    form = formats.FORMATS[name]
    right, size = form.picture(LABELS), {"a": (3, 4), "b": (3, 4)}
    other_mode = dataclasses.replace(form, coloured=not form.coloured).picture(LABELS)
    no_class = Image.fromarray(np.full((3, 4), 255, np.uint8))
    if form.coloured:
        no_class.putpalette(right.getpalette())
    faults = {
        "b, which is missing": {"a": right},
        "c, which belongs to no image": {"a": right, "b": right, "c": right},
        "member b: is PNG, mode": {"a": right, "b": other_mode},
        r"mode ., \(4, 3\) pixels, not PNG, ., \(3, 4\)": {"a": right, "b": right.transpose(Image.Transpose.ROTATE_90)},
        "member b: .*(no class|outside)": {"a": right, "b": no_class},
        "member b: differs from the prediction": {"a": right, "b": form.picture(LABELS[::-1])},
    }
    for i, (says, pictures) in enumerate(faults.items()):
        for suffix in (".zip", ".tgz"):
            path = packed(tmp_path / f"{i}{suffix}", form, pictures, suffix)
            with pytest.raises(ConfigError, match=says):
                verify(path, form, size, {"b": LABELS}, lambda: None)
    path = packed(tmp_path / "right", form, {"a": right, "b": right})
    assert verify(path, form, size, {"b": LABELS}, lambda: None) == 12


def test_train_ids_are_no_cityscapes_submission(tmp_path):
    """The mistake that costs most: train ids 0 to 6 are no labelIds, and 7 is another class."""
    form = formats.FORMATS["cityscapes"]
    path = packed(tmp_path / "x", form, {"a": Image.fromarray(LABELS)})
    with pytest.raises(ConfigError, match="stand for no class"):
        verify(path, form, {"a": (3, 4)}, {}, lambda: None)


# refusals


@pytest.mark.parametrize("name", ["pascal_context", "coco_stuff", "camvid"])
def test_a_set_without_a_server_names_those_with_one(trained, tmp_path, name):
    checkpoint, _ = trained("voc2012")
    with pytest.raises(ConfigError, match=rf"data={name}: no server .*; ade20k, cityscapes, lip, voc2012 have one"):
        submit(checkpoint, tmp_path / "out", f"data={name}")
    assert not (tmp_path / "out").exists()


def test_every_set_with_a_server_has_a_format():
    for path in fake_trees.BUILDERS:
        data = build.datamodule(compose([f"data={path}"]))
        assert data.submission in (*formats.FORMATS, None)
        if data.submission:
            form = formats.format_of(data)
            assert len(form.values) == len(class_set(path))


def test_refusals(trained, tmp_path):
    checkpoint, root = trained("voc2012")
    out = f"output={tmp_path}/out"
    for arguments, says in {
        (out, "split=train"): "split=train: give one of val, test",
        (out, "trainer.devices=2"): "trainer.devices=2: submit works on one device",
        (out, "data=lip"): "was trained for background, aeroplane",
        (out, "head=fcn"): "submit has no such group",
        (): "output is missing: give output=",
    }.items():
        code, said = call("submit", f"ckpt={checkpoint}", *arguments)
        assert code == 2, said
        assert says in said
    assert not (tmp_path / "out").exists()
    (root / "ImageSets/Segmentation/test.txt").rename(root / "hidden.txt")
    try:
        code, said = call("submit", f"ckpt={checkpoint}", out)
    finally:
        (root / "hidden.txt").rename(root / "ImageSets/Segmentation/test.txt")
    assert code == 2
    assert "test.txt does not exist" in said


def test_an_oracle_cannot_submit(trained, tmp_path):
    _, root = trained("voc2012")
    options = ["head=ocr_ground_truth", "experiment=none", "data=voc2012", *SMALL[1:], f"data.root={root}"]
    oracle = fit(compose([*options, f"paths.runs={tmp_path}/runs"])).folder / "checkpoints/last.ckpt"
    with pytest.raises(ConfigError, match="needs the ground truth"):
        submit(oracle, tmp_path / "out")


def test_the_command_tells_what_it_made(trained, tmp_path):
    checkpoint, _ = trained("lip")
    code, said = call("submit", f"ckpt={checkpoint}", f"output={tmp_path}/out", "data.num_workers=1")
    assert code == 0, said
    for words in ("lip_test.zip", "2, 2 of them predicted now", "2 of 2 compared", "see the server's page"):
        assert words in " ".join(said.split()), said
    record = json.loads((tmp_path / "out/submission.json").read_text())
    assert (record["data"], record["split"], record["images"]) == ("lip", "test", 2)


def test_a_split_without_public_labels_is_not_scored(trained, tmp_path):
    checkpoint, _ = trained("ade20k")
    with pytest.raises(ConfigError, match="ade20k has no public labels for it"):
        evaluate(compose([f"ckpt={checkpoint}", "split=test", "trainer=cpu", f"paths.runs={tmp_path}"], "evaluate"))
