"""Every kind of damage planted in a data set is found, and named with its file."""

import json
import os
import re
from unittest import mock

import numpy as np
import pytest
from harness import call
from PIL import Image
from trees import NAMES, PALETTE, plant, save, write_classes

from contextseg.commands.check_data import command
from contextseg.commands.check_data.command import check_data
from contextseg.commands.compose import compose, options
from contextseg.datamodules import datamodule
from contextseg.datamodules.folder import Folder
from contextseg.errors import ConfigError


@pytest.fixture
def tree(tmp_path):
    return plant(tmp_path)


def check(root, *overrides):
    """The report on the files below `root`, read in this process."""
    given = ["data=folder", f"data.root={root}", f"output={root}/report", "workers=0", "count=1", *overrides]
    return check_data(options(given, "check_data"))


def found(root, *overrides):
    """(level, kind, text) of every fault; the report is not written, which takes most of the time."""
    with mock.patch.object(command, "write"):
        return [(fault.level, fault.kind, fault.text) for fault in check(root, *overrides).faults]


def turned(path, orientation):
    """Give an image the EXIF orientation, pixels as they are."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(path).save(path, exif=exif)


def test_a_clean_tree_passes(tree):
    report = check(tree)
    assert report.trainable
    assert report.faults == []
    written = {path.name for path in (tree / "report").iterdir()}
    assert written == {"report.txt", "report.json", "report.html", "frequencies.png", "samples.png"}
    facts = json.loads((tree / "report/report.json").read_text())
    masks = [np.array(Image.open(path)) for path in (tree / "masks/train").iterdir()]
    train = facts["splits"]["train"]
    assert train["images"] == 4
    assert train["sizes"] == {"32x24": 1, "33x24": 1, "34x24": 1, "35x24": 1}
    assert train["pixels"] == {name: sum(int((mask == i).sum()) for mask in masks) for i, name in enumerate(NAMES)} | {
        "void": 0
    }
    assert train["shown_in"] == {"background": 4, "ball": 4, "box": 4, "void": 0}
    page = (tree / "report/report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "<th>train images<th>val % of pixels<th>val images" in page
    assert 'name="viewport"' in page
    assert "folder: fit for training; 0 errors, 0 warnings" in (tree / "report/report.txt").read_text()


def break_jpeg(root):
    path = root / "images/val/val1.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def break_png(root):
    path = root / "masks/val/val1.png"
    path.write_bytes(path.read_bytes()[:-40])


def no_picture(root):
    (root / "images/val/val1.jpg").write_text("hello")


def other_size(root):
    save(root / "masks/val/val1.png", np.zeros((10, 20)))


def unknown_ids(root):
    save(root / "masks/val/val1.png", np.resize([0, 1, 1, 9], (24, 33)))


def deep_mask(root):
    Image.fromarray(np.zeros((24, 33), np.uint16)).save(root / "masks/val/val1.png")


def colour_mask(root):
    save(root / "masks/val/val1.png", np.zeros((24, 33, 3)))


def lying_image(root):
    save(root / "images/val/val1.jpg", np.zeros((33, 24, 3)))
    turned(root / "images/val/val1.jpg", 6)


def turned_image(root):
    turned(root / "images/val/val1.jpg", 6)


def doubtful_image(root):
    turned(root / "images/val/val1.jpg", 3)


def grey_image(root):
    save(root / "images/val/val1.jpg", np.zeros((24, 33)))


def printed_image(root):
    Image.new("CMYK", (33, 24)).save(root / "images/val/val1.jpg")


def deep_image(root):
    (root / "images/val/val1.jpg").unlink()
    Image.fromarray(np.resize(np.array([0, 65535], np.uint16), (24, 33))).save(root / "images/val/val1.png")


def clear_image(root):
    (root / "images/val/val1.jpg").unlink()
    Image.new("RGBA", (33, 24)).save(root / "images/val/val1.png")


def lossy_mask(root):
    path = root / "masks/val/val1.png"
    Image.open(path).save(path, format="JPEG", quality=100)


def paged_mask(root):
    path = root / "masks/val/val1.png"
    mask = Image.open(path)
    path.unlink()
    mask.save(path.with_suffix(".tif"), save_all=True, append_images=[mask.copy()])


def paged_image(root):
    path = root / "images/val/val1.jpg"
    image = Image.open(path)
    path.unlink()
    image.save(path.with_suffix(".tif"), save_all=True, append_images=[image.copy()])


def pipe(root):
    (root / "images/val/val1.jpg").unlink()
    os.mkfifo(root / "images/val/val1.jpg")


def empty_mask(root):
    save(root / "masks/val/val1.png", np.full((24, 33), 255))


def same_in_two_splits(root):
    (root / "images/val/val1.jpg").write_bytes((root / "images/train/train1.jpg").read_bytes())


def same_twice(root):
    (root / "images/val/val1.jpg").unlink()
    Image.open(root / "images/val/val0.jpg").save(root / "images/val/val1.png")  # the same pixels in another format
    save(root / "masks/val/val1.png", np.zeros((24, 32)))


def no_mask(root):
    (root / "masks/val/val1.png").unlink()


def no_image(root):
    (root / "images/val/val1.jpg").unlink()


def no_box(root):
    for path in (root / "masks/train").iterdir():
        save(path, np.array(Image.open(path)) % 2)


DAMAGE = [
    (break_jpeg, "error", "unreadable", "val1.jpg (image file is truncated"),
    (break_png, "error", "unreadable", "val1.png (image file is truncated"),
    (no_picture, "error", "unreadable", "cannot identify image file"),
    (other_size, "error", "size", "val1.png has size 20x10 and its image 33x24"),
    (unknown_ids, "error", "labels", "val1.png: labels 9 (198 pixels) are outside 0..2"),
    (deep_mask, "error", "labels", "val1.png has mode I;16"),
    (colour_mask, "error", "labels", "val1.png has mode RGB"),
    (
        lying_image,
        "warning",
        "EXIF orientation",
        "viewers and predict show it turned, it is read like them",
    ),
    (turned_image, "warning", "EXIF orientation", "it is read as stored"),
    (
        doubtful_image,
        "error",
        "EXIF orientation",
        "has EXIF orientation 3, as which viewers show it, and",
    ),
    (grey_image, "warning", "grey", "val1.jpg: grey; read as three equal channels"),
    (printed_image, "warning", "CMYK", "val1.jpg: CMYK; converted"),
    (deep_image, "warning", "more than 8 bits", "val1.png: values 0 to 65535 (99.8 % of them 0 to 65535); scaled to 8"),
    (clear_image, "warning", "transparency is dropped", "val1.png: transparency is dropped"),
    (lossy_mask, "error", "unreadable", "val1.png is a JPEG, which changes labels"),
    (paged_mask, "error", "unreadable", "val1.tif has 2 pages"),
    (paged_image, "error", "unreadable", "val1.tif has 2 pages"),
    (pipe, "error", "unreadable", "val1.jpg: it is a pipe"),
    (empty_mask, "warning", "void", "val1.png: every pixel is void"),
    (same_in_two_splits, "error", "in two splits", "the same picture is in train and val: "),
    (same_twice, "warning", "duplicate", "val1.png; their masks differ"),
    (no_mask, "error", "no mask", "val1.jpg of val has no mask"),
    (no_image, "warning", "no image", "val1.png of val has no image"),
    (no_box, "warning", "class", "no pixel of box in train"),
]


@pytest.mark.parametrize(("damage", "level", "kind", "says"), DAMAGE, ids=[row[0].__name__ for row in DAMAGE])
def test_damage_is_found(tree, damage, level, kind, says):
    damage(tree)
    faults = found(tree)
    assert [fault[:2] for fault in faults] == [(level, kind)]
    assert says in faults[0][2]


def test_a_picture_in_two_splits_names_both_files(tree):
    same_in_two_splits(tree)
    with mock.patch.object(command, "write"):
        (fault,) = check(tree).faults
    assert fault.files == [f"{tree}/images/train/train1.jpg", f"{tree}/images/val/val1.jpg"]


def test_deep_colours_are_reported(tree):
    """16 bits per channel in three channels, which PIL cannot write."""
    cv2 = pytest.importorskip("cv2")
    (tree / "images/val/val1.jpg").unlink()
    cv2.imwrite(str(tree / "images/val/val1.png"), np.zeros((24, 33, 3), np.uint16))
    says = f"{tree}/images/val/val1.png: values 0 to 0 (99.8 % of them 0 to 0); scaled to 8 bits"
    assert found(tree) == [("warning", "more than 8 bits", says)]


def deepened(root, scale, offset=0):
    """Replace all images by grey ones of 16 bits."""
    for path in (root / "images").rglob("*.jpg"):
        values = np.array(Image.open(path).convert("L")).astype(np.uint16) * scale + offset
        path.unlink()
        Image.fromarray(values).save(path.with_suffix(".png"))


def without_files(faults):
    """The faults of the data set, without those of single images that are only deep."""
    return [fault for fault in faults if fault[1] != "more than 8 bits"]


def test_a_range_of_values_is_found_and_told(tree):
    deepened(tree, 16, 5)
    faults = found(tree)
    assert {fault[:2] for fault in faults} == {("error", "value range")}
    assert len(faults) == 9 + 1, "one of each image, one of all"
    (text,) = (text for _, _, text in faults if "9 images" in text)
    lowest, highest = re.search(r"data.value_range=\[(\d+),(\d+)\] keeps all of them", text).groups()
    assert (int(lowest) % 16, int(highest) % 16) == (5, 5)
    inner = re.search(r"data.value_range=\[(\d+),(\d+)\] cuts off the outermost", text)
    for given in (f"[{lowest},{highest}]", f"[{inner[1]},{inner[2]}]", "[0,4095]"):
        assert without_files(found(tree, f"data.value_range={given}")) == []
    ((level, kind, text),) = without_files(found(tree, "data.value_range=[0,1000]"))
    assert (level, kind) == ("warning", "value range")
    assert "data.value_range=[0,1000] cuts off more than a thousandth" in text
    kinds = {fault[:2] for fault in without_files(found(tree, "data.value_range=[0,65535]"))}
    assert kinds == {("warning", "value range"), ("warning", "few grey levels")}
    with pytest.raises(ConfigError, match=r"data.value_range=\[9,9\]: give \[black,white\]"):
        found(tree, "data.value_range=[9,9]")


def test_few_grey_levels_of_8_bits(tree):
    for path in (tree / "images").rglob("*.jpg"):
        pixels = np.array(Image.open(path).convert("L")) // 16
        path.unlink()
        save(path.with_suffix(".png"), np.repeat(pixels[..., None], 3, -1))
    assert found(tree)[0][:2] == ("warning", "few grey levels")
    assert "the images have 16 of 256 grey levels, 0 to 15" in found(tree)[0][2]


def test_void_that_may_be_a_class(tree):
    for path in (tree / "masks").rglob("*.png"):
        save(path, np.where(np.array(Image.open(path)) == 2, 255, 0))
    write_classes(tree, names=["background", "object"])
    ((level, kind, text),) = found(tree)
    assert (level, kind) == ("error", "class")
    assert "no pixel of object in train, and 3" in text
    assert f"{tree}/classes.yaml says otherwise; write there ids: {{0: background, 255: object}} if 255" in text
    with pytest.raises(ConfigError, match=r"no pixel of object in train.* ids: {0: background, 255: object}"):
        Folder(root=str(tree), batch_size=1).check()
    Folder(root=str(tree), batch_size=1).check(splits=("val",))  # to score is no mistake
    write_classes(tree, names=["background", "object"], ids={0: "background", 7: "object"})
    assert "ids: {0: background, 255: object}" in found(tree)[0][2]
    write_classes(tree, names=["background", "object"], ignore=[255])
    assert [fault[:2] for fault in found(tree)] == [("warning", "class")]
    Folder(root=str(tree), batch_size=1).check()
    write_classes(tree, names=["background", "object"], ids={0: "background", 255: "object"})
    assert found(tree) == []
    Folder(root=str(tree), batch_size=1).check()


def test_void_is_doubted_only_where_no_mask_has_the_class(tree, monkeypatch):
    monkeypatch.setattr(datamodule, "MIN_SAMPLES", 1)
    plant(tree, train=4)
    for i in range(3):
        save(tree / f"masks/train/train{i}.png", np.full((24, 32 + i), 255))
    data = Folder(root=str(tree), batch_size=1)
    data.check(seconds=0)  # whichever mask is read first, the last one has all classes
    save(tree / "masks/train/train3.png", np.resize([0, 1], (24, 35)))
    with pytest.raises(ConfigError, match="no pixel of box in train"):
        data.check(seconds=0)
    few = np.resize([0, 1], (24, 33))
    few[0, :3] = 255
    for i in range(4):
        save(tree / f"masks/train/train{i}.png", np.resize(few, (24, 32 + i)))
    Folder(root=str(tree), batch_size=1).check()  # a little void, and a class that is not there


def test_colours_of_no_class(tree):
    for path in (tree / "masks").rglob("*.png"):
        save(path, np.array(PALETTE)[np.array(Image.open(path))])
    write_classes(tree, palette=PALETTE)
    assert found(tree, "data.labels=colours") == []
    save(tree / "masks/test/test0.png", np.full((24, 32, 3), 7))
    ((level, kind, text),) = found(tree, "data.labels=colours")
    assert (level, kind) == ("error", "labels")
    assert "test0.png: colours [7, 7, 7] (768 pixels) are of no class" in text


def test_processes_find_the_same(tree):
    for damage in (unknown_ids, same_in_two_splits, no_box):
        damage(tree)
    assert found(tree, "workers=2") == found(tree, "workers=0")


def test_many_faults_are_cut_short_in_the_text_only(tree):
    plant(tree, train=8)
    for i in range(8):
        save(tree / f"masks/train/train{i}.png", np.full((24, 32 + i), 200))
    assert len(check(tree).errors) == 8
    assert "and 3 more in report.json" in (tree / "report/report.txt").read_text()
    assert len(json.loads((tree / "report/report.json").read_text())["faults"]) == 8


def test_exit_codes(tree, monkeypatch):
    monkeypatch.chdir(tree)
    given = ["data=folder", "workers=0"]
    grey_image(tree)
    code, said = call("check_data", *given)
    assert code == 0, said
    assert "folder: fit for training; 0 errors, 1 warning\n" in said
    (folder,) = (tree / "runs/check_data/folder").iterdir()
    assert (folder / "report.html").is_file()
    unknown_ids(tree)
    code, said = call("check_data", *given, "output=out", "splits=[val]")
    assert code == 1
    assert "masks/val/val1.png: labels 9 (198 pixels)" in " ".join(said.split())
    assert "folder: not fit for training; 1 error, " in said
    assert "Traceback" not in said
    assert (tree / "out/report.json").is_file()
    for wrong in ("splits=[nope]", "workers=-1", "data.labels=rgb"):
        code, said = call("check_data", *given, wrong)
        assert code == 2, said
        assert wrong.split("=")[0] in said


def test_training_is_refused_and_sent_here(tree):
    from contextseg.engine import build

    unknown_ids(tree)
    cfg = compose(["data=folder", f"data.root={tree}"])
    with pytest.raises(ConfigError, match=rf"val1\.png: labels 9 .*check_data data=folder data\.root={tree} lists"):
        build.datamodule(cfg).check()


def test_generated_scenes_have_no_files(tmp_path):
    small = [f"data.{split}_size=3" for split in ("train", "val", "test")]
    report = check_data(options([*small, "workers=0", f"output={tmp_path}"], "check_data"))
    assert report.trainable
    assert {split: number.images for split, number in report.splits.items()} == {"train": 3, "val": 3, "test": 3}


def test_camvid(camvid_root, tmp_path):
    given = ["data=camvid", f"data.root={camvid_root}", "workers=0", f"output={tmp_path}/out"]
    report = check_data(options(given, "check_data"))
    assert report.trainable
    assert report.splits["train"].sizes == {"80x64": 8}
