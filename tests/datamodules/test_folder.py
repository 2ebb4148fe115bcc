"""data=folder: a user's own images and masks, and every way to get them wrong."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from harness import call
from PIL import Image
from trees import NAMES, PALETTE, plant, save, write_classes

from contextseg.commands.compose import compose
from contextseg.commands.evaluate.command import evaluate
from contextseg.commands.train.command import train
from contextseg.data.pairing import find
from contextseg.data.pixels import Reading, read_image
from contextseg.data.source import FileSource
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.folder import Folder
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.statistics import ImageCounts

PAGE = Path(__file__).parents[2] / "docs/own_data.md"
ALL = {"images": "images", "masks": "masks"}


@pytest.fixture
def tree(tmp_path):
    return plant(tmp_path)


@pytest.fixture
def flat(tmp_path):
    """All splits in one folder."""
    return plant(tmp_path, **ALL)


def folder(root, **settings):
    return Folder(root=str(root), **settings)


def names(data, split):
    source = data.source(split)
    return [source.read(i)[2] for i in range(len(source))]


# Splits


def test_a_folder_for_each_split(tree):
    data = folder(tree)
    assert data.splits() == ("train", "val", "test")
    assert [names(data, split) for split in data.splits()] == [
        ["train0", "train1", "train2", "train3"],
        ["val0", "val1", "val2"],
        ["test0", "test1"],
    ]
    assert data.classes.names == tuple(NAMES)
    assert len(set(data.classes.palette)) == 3
    image, mask, _ = data.source("train").read(2)
    assert image.shape == (24, 34, 3)
    assert np.array_equal(mask, np.array(Image.open(tree / "masks/train/train2.png")))


def test_a_pattern_for_each_split(tree):
    (tree / "images/val").rename(tree / "images/validation")
    where = {"train": "images/train", "val": "images/validation"}
    data = folder(tree, images=where)
    assert data.splits() == ("train", "val")
    assert len(data.source("val")) == 3
    with pytest.raises(ConfigError, match="says nothing about the test split"):
        data.source("test")
    with pytest.raises(ConfigError, match=r"data\.images=images/val: no picture there, below data\.root="):
        folder(tree).source("val")


def test_lists_of_names(flat):
    (flat / "train.txt").write_text("train0\n\ntrain3.jpg\nval0\n")
    (flat / "val.txt").write_text("val1\n")
    data = folder(flat, **ALL, lists="{split}.txt")
    assert data.splits() == ("train", "val")
    assert names(data, "train") == ["train0", "train3", "val0"]
    assert names(data, "val") == ["val1"]
    (flat / "val.txt").write_text("val1\nval1.jpg\n")
    with pytest.raises(ConfigError, match=r"val\.txt: val1\.jpg is there twice"):
        folder(flat, **ALL, lists="{split}.txt").source("val")
    (flat / "val.txt").write_text("val9\n")
    with pytest.raises(ConfigError, match=r"val\.txt: val9 is no image of data\.images=images"):
        folder(flat, **ALL, lists="{split}.txt").source("val")
    with pytest.raises(ConfigError, match=r"data\.lists=.*test\.txt cannot be read .* one image name per line"):
        data.source("test")


def test_shares(tmp_path):
    plant(tmp_path, **ALL, a=60)
    data = folder(tmp_path, **ALL, ratio=[0.6, 0.2, 0.2])
    before = {split: set(names(data, split)) for split in data.splits()}
    assert sorted(set.union(*before.values())) == sorted(f"a{i}" for i in range(60))
    assert [len(part) for part in before.values()] == pytest.approx([36, 12, 12], abs=7)
    plant(tmp_path, **ALL, b=20)
    data = folder(tmp_path, **ALL, ratio=[0.6, 0.2, 0.2])
    for split, part in before.items():
        assert {name for name in names(data, split) if name[0] == "a"} == part, "new files move no others"
    other = folder(tmp_path, **ALL, ratio=[0.6, 0.2, 0.2], split_seed=1)
    assert set(names(other, "val")) != set(names(data, "val"))
    assert folder(tmp_path, **ALL, ratio=[0.8, 0.2]).splits() == ("train", "val")
    with pytest.raises(ConfigError, match=r"data\.ratio=\[0\.8, 0\.2\] has no share for the test split"):
        folder(tmp_path, **ALL, ratio=[0.8, 0.2]).source("test")
    with pytest.raises(ConfigError, match=r"none of 80 images falls into the val split; give another data\.split_seed"):
        folder(tmp_path, **ALL, ratio=[1 - 1e-9, 1e-9]).source("val")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ALL, "nothing says which images are train and val"),
        ({"ratio": [0.8, 0.2]}, r"\{split\} in data.images and data.ratio says which"),
        ({**ALL, "ratio": [0.8, 0.1]}, r"data\.ratio=\[0\.8, 0\.1\]: give the shares"),
        ({"images": "images", "lists": "{split}.txt"}, r"data\.masks=masks/\{split\} has \{split\}"),
        ({"labels": "rgb"}, r"data\.labels=rgb: choose ids or colours"),
        ({"classes": "no.yaml"}, r"data\.classes=.*no\.yaml cannot be read .*names: \[background"),
    ],
)
def test_settings_that_do_not_fit(tree, settings, message):
    with pytest.raises(ConfigError, match=message):
        folder(tree, **settings)


# Pairs


def keys(root, pattern):
    return sorted(find(root, pattern))


def test_the_key_is_what_the_wildcards_stand_for(tmp_path):
    for name in ("a_rgb.png", "a_mask.png", "b_rgb.jpg", "sub/c_rgb.JPG", "sub/deep/d.png", "notes.txt", "._a_rgb.png"):
        save(tmp_path / name, np.zeros((2, 2))) if "." in name[1:] and "txt" not in name else None
    (tmp_path / "notes.txt").write_text("")
    assert keys(tmp_path, "*_rgb.png") == keys(tmp_path, "*_mask.png") == ["a"]
    assert keys(tmp_path, "*_rgb.*") == ["a", "b"]
    assert keys(tmp_path, "./*") == ["a_mask", "a_rgb", "b_rgb"]
    assert keys(tmp_path, ".") == ["a_mask", "a_rgb", "b_rgb"]
    assert keys(tmp_path, "**/*.png") == ["a_mask", "a_rgb", "sub/deep/d"]
    assert keys(tmp_path, "*/*_rgb.JPG") == ["sub/c"]
    assert keys(tmp_path, "[!b]_???.png") == ["a/r/g/b"]
    assert keys(tmp_path, str(tmp_path / "sub/*")) == ["c_rgb"]
    assert keys(tmp_path, "sub/c_rgb.JPG") == ["c_rgb"]
    assert keys(tmp_path, "*.tif") == keys(tmp_path, "nowhere") == []
    save(tmp_path / "a_rgb.jpg", np.zeros((2, 2)))
    with pytest.raises(ConfigError, match=r"a_rgb\.jpg and .*a_rgb\.png have the same name 'a_rgb'"):
        find(tmp_path, ".")


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path):
    save(tmp_path / "photos [2024]/a.png", np.zeros((2, 2)))
    assert keys(tmp_path, "photos [2024]") == ["a"]


def test_patterns_pair_images_and_masks(tmp_path):
    for split in ("train", "val"):
        for i in range(2):
            save(tmp_path / f"{split}/city{i}/7_rgb.png", np.zeros((4, 4, 3)))
            save(tmp_path / f"{split}/city{i}/7_ids.png", np.full((4, 4), i))
    write_classes(tmp_path)
    data = folder(tmp_path, images="{split}/*/*_rgb.png", masks="{split}/*/*_ids.png")
    assert names(data, "train") == ["city0_7", "city1_7"], "a name that may be a file name"
    assert data.source("val").read(1)[1].max() == 1


def test_unpaired_files(tree, caplog):
    (tree / "masks/train/train2.png").unlink()
    with pytest.raises(ConfigError, match=r"1 of 4 images of the train split have no mask .*train/train2\.jpg"):
        folder(tree).check()
    (tree / "images/val/val1.jpg").unlink()
    folder(tree).check(("val",))
    assert len(folder(tree).source("val")) == 2
    assert "1 masks of the val split have no image, first" in caplog.text


# Labels


def test_raw_labels(tree):
    save(tree / "masks/val/val0.png", np.resize([0, 128, 255, 7], (24, 32)))
    write_classes(tree, ids={0: "background", 128: "ball", 255: "box"}, ignore=[7])
    mask = folder(tree).source("val").read(0)[1]
    assert mask[0, :4].tolist() == [0, 1, 2, 255]
    with pytest.raises(ConfigError, match=r"val1\.png: labels [12], [12] \(\d+, \d+ pixels\) have no class; name them"):
        folder(tree).source("val").read(1)


def test_palette_indices_and_single_bits_are_labels(tree):
    labels = np.resize([0, 1], (24, 32)).astype(np.uint8)
    picture = Image.fromarray(labels)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(tree / "masks/val/val0.png")
    assert np.array_equal(folder(tree).source("val").read(0)[1], labels)
    Image.fromarray(labels.astype(bool)).save(tree / "masks/val/val0.png")
    assert np.array_equal(folder(tree).source("val").read(0)[1], labels)


def test_masks_in_colours(tree):
    table = np.array([*PALETTE, [255, 255, 255]], np.uint8)
    for path in (tree / "masks").rglob("*.png"):
        labels = np.array(Image.open(path))
        labels[0] = 3
        save(path, table[labels])
    write_classes(tree, palette=PALETTE)
    with pytest.raises(ConfigError, match=r"has mode RGB, .* data\.labels=colours"):
        folder(tree).check()
    write_classes(tree, palette=PALETTE, ignore=[[255, 255, 255]])
    with pytest.raises(ConfigError, match=r"ignore: \(255, 255, 255\) is a colour, but data\.labels=ids"):
        folder(tree)
    data = folder(tree, labels="colours")
    assert all(data.source("val").read(i)[1].max() == 255 for i in range(3))
    mask = data.source("train").read(1)[1]
    assert set(mask[0]) == {255}
    assert set(mask[1:].ravel()) == {0, 1, 2}
    spoilt = np.array(Image.open(tree / "masks/train/train1.png"))
    spoilt[5, :3] = 9, 8, 7
    save(tree / "masks/train/train1.png", spoilt)
    with pytest.raises(ConfigError, match=r"train1\.png: colours \[9, 8, 7\] \(3 pixels\) are of no class; add them"):
        folder(tree, labels="colours").check()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"names": ["a"]}, "names: .* 2 to 255 classes"),
        ({"names": ["yes", True]}, "names: True: give each a text"),
        ({"names": ["a", "a"]}, "names: 'a'"),
        ({"colors": []}, "unknown key: 'colors': give some of names, palette"),
        ({"palette": [[0, 0, 0]]}, "palette: .*one colour per class"),
        ({"palette": [[0, 0, 0], [0, 0, 0], [1, 1, 1]]}, "palette: .*each class a colour of its own"),
        ({"palette": [[0, 0, 0], [0, 0, 256], [1, 1, 1]]}, r"palette: \[0, 0, 256\]: give \[red, green, blue\]"),
        ({"ids": {5: "bal"}}, "ids: {5: 'bal'}: give a label 0 to 255 and one of the names"),
        ({"ids": {5: "ball"}, "ignore": [5]}, "ignore: 5: give a label that is not in ids"),
        ({"ignore": 3}, "ignore: 3: give a list"),
        ({"groups": {"round": ["bal"]}}, "groups round: "),
        ({"flip_pairs": [["ball"]]}, "flip_pairs: .*two names"),
        ({"flip_pairs": [["ball", "box"], ["box", "background"]]}, "flip_pairs: .*each name once"),
        ({"flip_pairs": [[["ball"], "box"]]}, "flip_pairs: .*two names"),
    ],
)
def test_mistakes_in_the_class_file(tree, facts, message):
    write_classes(tree, **facts)
    with pytest.raises(ConfigError, match=rf"classes\.yaml: {message}"):
        folder(tree)


def test_broken_class_files(tree):
    (tree / "classes.yaml").write_text("names: [a, b\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        folder(tree)
    (tree / "classes.yaml").write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="give keys and values"):
        folder(tree)


def test_groups_and_flip_pairs(tree):
    write_classes(tree, groups={"things": ["ball", "box"]}, flip_pairs=[["ball", "box"]])
    data = folder(tree)
    assert data.classes.ids("things") == [1, 2]
    assert data.transform.flip_pairs == data.classes.flip_pairs == ((1, 2),)


# Images


def test_what_reading_makes_of_unusual_images(tmp_path):
    ramp = np.arange(0, 2**16, 2**10, dtype=np.uint16).reshape(8, 8)
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    deep = read_image(tmp_path / "deep.png")
    assert np.abs(deep[..., 0] - ramp / 257).max() <= 0.5, "scaled, not clipped"
    assert np.ptp(deep, axis=-1).max() == 0
    Image.fromarray(np.dstack([rgb, rgb[..., :1]])).save(tmp_path / "clear.png")
    assert np.array_equal(read_image(tmp_path / "clear.png"), rgb)
    Image.fromarray(rgb).convert("L").save(tmp_path / "grey.png")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "print.jpg")
    Image.fromarray(rgb).quantize(9).save(tmp_path / "few.png", transparency=1)
    for name in ("grey.png", "print.jpg", "few.png"):
        assert read_image(tmp_path / name).shape == (8, 8, 3)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "real.tif")
    with pytest.raises(ConfigError, match=r"real\.tif .* fractions, 0 to 0 .*data=folder data\.value_range="):
        read_image(tmp_path / "real.tif")


def test_pixels_lie_as_stored_unless_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "turned.jpg", np.zeros((8, 12, 3)), exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (8, 12, 3)
    assert read_image(tmp_path / "turned.jpg", Reading(upright=True)).shape == (12, 8, 3)


def test_a_fingerprint_is_of_the_content(tmp_path):
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        save(tmp_path / f"{name}.png", np.full((4, 4, 3), value))
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    a, b, c = (FileSource([(path, path)], 3, labels=read_image).fingerprint(0) for path in paths)
    assert a == b != c
    assert len(a) == 16
    for name, place in (("d", 0), ("e", 10**6)):  # two large files that differ in the middle alone
        (tmp_path / name).write_bytes(bytes(place) + b"x" + bytes(2 * 10**6 - place))
    paths = [tmp_path / name for name in "de"]
    d, e = (FileSource([(path, path)], 3, labels=read_image).fingerprint(0) for path in paths)
    assert d != e


def test_the_root_is_missing(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.root=.*nowhere: no such folder"):
        folder(tmp_path / "nowhere")


def test_images_of_different_sizes_need_a_crop(tree):
    folder(tree, transform=TrainTransform(crop_size=16)).check()
    with pytest.raises(ConfigError, match=r"images of 4 sizes, .*data\.transform\.crop_size for training"):
        folder(tree).check()
    data = folder(tree, transform=TrainTransform(crop_size=16))
    data.set_stream(seed=0, num_batches=2)
    assert len({batch.image.shape for batch in data.train_dataloader()}) == 1


# Training


def test_training_and_scoring_own_data(tree):

    cfg = compose(
        [
            *("head=fcn", "width=16", "data=folder", f"data.root={tree}", "data.transform.crop_size=32"),
            *(
                "data.num_workers=0",
                "data.batch_size=2",
                "trainer=cpu",
                "trainer.max_steps=1",
                f"paths.runs={tree}/runs",
            ),
        ]
    )
    result = train(cfg)
    assert set(result.metrics["iou"]) == set(NAMES)
    ckpt = result.folder / "checkpoints/last.ckpt"
    swapped = ["data.images={train: images/val, val: images/train}", "data.masks={train: masks/val, val: masks/train}"]
    again = [f"ckpt={ckpt}", *swapped, f"paths.runs={tree}/runs", "trainer=cpu"]
    again = ["data=folder", f"data.root={tree}", *again]
    with pytest.raises(ConfigError, match="split=val: 4 of its 4 images are among those"):
        evaluate(compose(again, "evaluate"))
    with pytest.raises(ConfigError, match="force=no: give true or false"):
        evaluate(compose([*again, "force='no'"], "evaluate"))
    (scored,) = evaluate(compose([*again, "force=true", "data.block=2"], "evaluate"))
    assert scored.metrics["force"]
    assert (scored.metrics["interval"]["block"], scored.metrics["interval"]["few_blocks"]) == (2, True)
    assert ImageCounts.load(scored.folder / "per_image/val_ss.npz").names == ("train0", "train1", "train2", "train3")
    assert (result.folder / "predictions/val0.png").is_file()
    assert build.datamodule(cfg).name == "folder"


def test_the_page_writes_its_options_right():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|") and "`" in line and "data." in line]
    written = [words for row in rows for words in re.findall(r"`([^`]*data\.[^`]*=[^`]*)`", row)]
    assert len(written) >= 6
    for words in written:
        overrides = shlex.split(words)
        data = compose(["data=folder", *overrides]).data
        assert all(override.split("=")[0].removeprefix("data.") in data for override in overrides)
    assert compose(["data=folder", "data.images={train: a, val: b}"]).data.images == {"train": "a", "val": "b"}


@pytest.mark.slow
def test_the_page_on_own_data_is_true(tmp_path, monkeypatch):
    """Every block of docs/own_data.md in turn: files are written where their first line says, commands are run."""
    monkeypatch.chdir(tmp_path)
    ran = []
    for kind, block in re.findall(r"^```(python|yaml|bash)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if kind != "bash":
            path = Path(block.splitlines()[0].removeprefix("# "))
            path.parent.mkdir(exist_ok=True)
            path.write_text(block)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\$\(ls -t (.*?) \| head -1\)", lambda match: str(*Path().glob(match[1])), line)
            program, name, *arguments = shlex.split(line)
            ran.append(Path(name).stem)
            if program == "contextseg":
                code, said = call(name, *arguments)
                assert code == 0, said
            else:
                assert program == "python"
                runpy.run_path(name)
    assert ran == ["make_shapes", "check_data", "train", "evaluate", "predict"]
    assert len(list(Path("shapes_labels").rglob("*.png"))) >= 6
