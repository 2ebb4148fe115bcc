"""From fake official archives to ready trees; what is refused; what a stopped run leaves, and how the next goes on."""

import json
import logging
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_archives import BUILDERS, CONTEXT, build, label_map, mask, picture, stuff, tarred, zip_bytes, zipped
from PIL import Image

from contextseg.commands import archives
from contextseg.commands.prepare import command, fill, tree
from contextseg.commands.prepare.options import PrepareOptions
from contextseg.commands.prepare.sets.camvid import split_of
from contextseg.datamodules.ade20k import ADE20K
from contextseg.datamodules.camvid import CamVid
from contextseg.datamodules.ccp import CCP
from contextseg.datamodules.cityscapes import Cityscapes
from contextseg.datamodules.coco_stuff import COCOStuff
from contextseg.datamodules.lip import LIP
from contextseg.datamodules.pascal_context import PascalContext
from contextseg.datamodules.voc2012 import VOC2012
from contextseg.door import parse
from contextseg.errors import ConfigError
from contextseg.files import PART

COMMAND = Path(__file__).parents[2] / "src/prepare.py"
CHOICES = {"pascal_context_json": "pascal_context", "coco_stuff_164k": "coco_stuff", "camvid_official": "camvid"}
COUNTS = {  # what the fake archives hold: split -> images, masks
    "ade20k": {"train": [4, 4], "val": [2, 2], "test": [2, 0]},
    "cityscapes": {"train": [4, 4], "val": [2, 2], "test": [2, 0], "train_extra": [2, 2]},
    "voc2012": {"train": [2, 2], "val": [1, 1], "trainval": [3, 3], "trainaug": [4, 4], "test": [1, 0]},
    "pascal_context": {"train": [3, 3], "val": [2, 2]},
    "pascal_context_json": {"train": [2, 2], "val": [2, 2]},
    "lip": {"train": [3, 3], "val": [1, 1], "test": [1, 0]},
    "coco_stuff": {"train": [2, 2], "val": [1, 1]},
    "coco_stuff_164k": {"train": [2, 2], "val": [1, 1]},
    "camvid": {"train": [2, 2], "val": [1, 1], "test": [1, 1]},
    "camvid_official": {"train": [2, 2], "val": [2, 2], "test": [2, 2]},
    "ccp": {"train": [2, 2], "val": [1, 1], "test": [1, 1]},
}
MODULES = {
    "ade20k": lambda root: ADE20K(root=root),
    "cityscapes": lambda root: Cityscapes(root=root, train_set="train+coarse"),
    "voc2012": lambda root: VOC2012(root=root, train_set="trainaug"),
    "pascal_context": lambda root: PascalContext(root=root, protocol=60),
    "pascal_context_json": lambda root: PascalContext(root=root, protocol=59),
    "lip": lambda root: LIP(root=root),
    "coco_stuff": lambda root: COCOStuff(root=root, version="10k"),
    "coco_stuff_164k": lambda root: COCOStuff(root=root, version="164k"),
    "camvid": lambda root: CamVid(root=root),
    "camvid_official": lambda root: CamVid(root=root, layout="official"),
    "ccp": lambda root: CCP(root=root),
}
LABELS = {  # train ids of the first training image, 255 for void
    "ade20k": {0, 74, 149, 255},
    "cityscapes": {0, 2, 13, 18, 255},
    "voc2012": {0, 1, 20, 255},
    "pascal_context": {0, 1, 37, 59},
    "pascal_context_json": {0, 58, 255},
    "lip": {0, 14, 15, 19},
    "coco_stuff": {0, 80, 170, 255},
    "coco_stuff_164k": {0, 80, 170, 255},
    "camvid": {*range(11), 255},
    "camvid_official": {0, 1, 255},
    "ccp": {0, 19, 41, 58},
}


def prepare(name, source, root, **options):
    """Run the command's work in this process."""
    given = {"source": [str(path) for path in (source if isinstance(source, list) else [source])], "root": str(root)}
    settings = {"workers": 0, "choices": {"data": CHOICES.get(name, name)}}
    return command.prepare(parse(PrepareOptions, {**settings, **given, **options}))


def files(root):
    """Path -> content, of all files but the record."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != tree.RECORD
    }


def record(root):
    return json.loads((root / tree.RECORD).read_text())


@pytest.fixture
def ade(tmp_path):
    return build("ade20k", tmp_path / "in")


def refused(match, *args, **options):
    with pytest.raises(ConfigError, match=match):
        prepare(*args, **options)


# every data set


@pytest.mark.parametrize("name", BUILDERS)
def test_from_archives_to_the_data_module(name, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    root = prepare(name, build(name, folder), tmp_path / "out")
    assert {split: list(count.values()) for split, count in record(root)["splits"].items()} == COUNTS[name]
    data = MODULES[name](str(root))
    for split in data.splits():
        if split == "test" and "test" not in COUNTS[name]:
            continue
        source = data.source(split)
        for index in range(len(source)):
            image, labels, _ = source.read(index)
            assert image.shape[:2] == labels.shape == (24, 32)
    _, labels, _ = data.source("train").read(0)
    assert set(np.unique(labels)) == LABELS[name]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_second_run_writes_nothing(name, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    build(name, folder)
    root = prepare(name, folder, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name != tree.RECORD}
    prepare(name, folder, root)
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name != tree.RECORD}
    assert before == after


@pytest.mark.parametrize("name", ["ade20k", "voc2012", "cityscapes"])
def test_unpacked_archives_give_the_same_tree(name, tmp_path):
    for path in build(name, tmp_path / "in").iterdir():
        opener = zipfile.ZipFile if path.suffix == ".zip" else tarfile.open
        with opener(path) as file:
            file.extractall(tmp_path / "unpacked", **({} if path.suffix == ".zip" else {"filter": "data"}))
    packed = prepare(name, tmp_path / "in", tmp_path / "packed")
    loose = prepare(name, tmp_path / "unpacked", tmp_path / "loose")
    assert files(packed) == files(loose)


def test_the_ready_trees(tmp_path):
    root = prepare("cityscapes", build("cityscapes", tmp_path / "c"), tmp_path / "cityscapes")
    names = set(files(root))
    assert "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png" in names
    assert not [name for name in names if "troisdorf" in name or "color" in name or name.endswith(".json")]
    root = prepare("voc2012", build("voc2012", tmp_path / "v"), tmp_path / "voc2012")
    aug = (root / "ImageSets/Segmentation/trainaug.txt").read_text().split()
    assert aug == ["2007_000001", "2007_000002", "2008_000004", "2008_000005"]  # train + SBD - val
    root = prepare("camvid_official", build("camvid_official", tmp_path / "o"), tmp_path / "camvid")
    assert (root / "val.txt").read_text().split() == ["0016E5_07959", "0016E5_08159"]


def test_matlab_masks(tmp_path):
    root = prepare("pascal_context", build("pascal_context", tmp_path / "p"), tmp_path / "pascal_context")
    png = Image.open(root / f"SegmentationClassContext/{CONTEXT['train'][0]}.png")
    raw = label_map([1, 2, 284, 431, 458, 459])
    expected = np.select([raw == 2, raw == 284, raw == 458], [1, 37, 59], 0)
    assert png.mode == "L"
    np.testing.assert_array_equal(np.array(png), expected)
    root = prepare("coco_stuff", build("coco_stuff", tmp_path / "s"), tmp_path / "coco_stuff")
    png = np.array(Image.open(root / "annotations/COCO_train2014_000000000077.png"))
    np.testing.assert_array_equal(png, label_map([0, 1, 92, 182]))


def test_processes_convert_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(fill, "MIN_CONVERSIONS", 0)
    folder = build("voc2012", tmp_path / "in")
    assert files(prepare("voc2012", folder, tmp_path / "a", workers=2)) == files(
        prepare("voc2012", folder, tmp_path / "b")
    )


def test_the_split_of_camvid():
    root = Path(__file__).parents[3] / "shared/camvid"
    stills = [
        ("0001TP_006690", "train"),
        ("0001TP_008550", "test"),
        ("0006R0_f03930", "train"),
        ("0016E5_08640", "train"),
    ]
    stills += [(path.stem, split) for split in ("train", "val", "test") for path in (root / split).glob("*.jpg")]
    assert all(split_of(still) == split for still, split in stills)
    with pytest.raises(ConfigError, match="cat"):
        split_of("cat")


# what is recorded and reported


def test_the_record(ade, tmp_path):
    root = prepare("ade20k", ade, tmp_path / "out")
    kept = record(root)["archives"]["ADEChallengeData2016.zip"]
    path = ade / "ADEChallengeData2016.zip"
    assert kept["size"] == path.stat().st_size
    assert kept["sha256"] == archives.sha256(path)
    assert kept["done"] is True
    assert kept["files"] == 14


def test_counts_that_differ_are_reported(ade, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        prepare("ade20k", ade, tmp_path / "out")
    assert "train has 4 images; published: 20210" in caplog.text
    caplog.clear()
    with zipfile.ZipFile(ade / "ADEChallengeData2016.zip") as file:
        kept = {name: file.read(name) for name in file.namelist() if not name.endswith("val_00000002.png")}
    zipped(ade / "ADEChallengeData2016.zip", kept)
    with caplog.at_level(logging.WARNING):
        prepare("ade20k", ade, tmp_path / "other")
    assert "val has 2 images but 1 masks" in caplog.text


def test_a_dry_run_writes_nothing(ade, tmp_path, capsys):
    prepare("ade20k", ade, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr().err
    assert "release_test.zip" in told
    assert "images and masks" in told


# going on


class PowerCut(RuntimeError):
    """Stands for anything that ends a process."""


def test_what_a_killed_run_left_goes(ade, tmp_path):
    root = tmp_path / "out"
    root.mkdir()
    (root / f"{PART}1234_ADE_train_00000001.jpg").write_bytes(b"half")
    whole = files(prepare("ade20k", ade, tmp_path / "whole"))
    assert files(prepare("ade20k", ade, root)) == whole


@pytest.mark.parametrize("write", [1, 3, 8, 15])
def test_a_crash_at_any_write_leaves_whole_files_and_the_next_run_goes_on(write, ade, tmp_path, monkeypatch):
    whole = files(prepare("ade20k", ade, tmp_path / "whole"))
    count = 0
    write_bytes = Path.write_bytes

    def cut(path, data):
        nonlocal count
        count += path.name.startswith(PART) and not path.name.endswith(tree.RECORD)
        if count == write:
            write_bytes(path, data[: len(data) // 2])
            raise PowerCut
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", cut)
    with pytest.raises(PowerCut):
        prepare("ade20k", ade, tmp_path / "out")
    left = files(tmp_path / "out")
    assert len(left) == write - 1
    assert left.items() <= whole.items()
    monkeypatch.undo()
    assert files(prepare("ade20k", ade, tmp_path / "out")) == whole


@pytest.mark.slow
def test_a_killed_process_leaves_whole_files_and_the_next_run_goes_on(tmp_path):
    members = {f"CamVid/train/0001TP_{i:06d}.png": picture(0, "PNG") for i in range(1500)}
    members |= {name.replace("/train/", "/trainannot/"): mask([0, 1]) for name in members}
    source = zipped(tmp_path / "CamVid.zip", members)
    root = tmp_path / "out"
    words = [sys.executable, str(COMMAND), "data=camvid", f"source={source}", f"root={root}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (root / "train").is_dir() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = {name: data for name, data in files(root).items() if not name.startswith(PART)}
    assert 0 < len(left) < 3000
    assert all(members[f"CamVid/{name}"] == data for name, data in left.items())
    prepare("camvid", source, root)
    assert files(root) == {name.removeprefix("CamVid/"): data for name, data in members.items()}


def test_a_lost_file_comes_back(ade, tmp_path):
    root = prepare("ade20k", ade, tmp_path / "out")
    whole = files(root)
    lost = root / "images/training/ADE_train_00000002.jpg"
    lost.unlink()
    (root / "annotations/training/ADE_train_00000002.png").write_bytes(b"")
    refused("exists, with other content", "ade20k", ade, root)  # an empty file is no file of ours
    (root / "annotations/training/ADE_train_00000002.png").unlink()
    assert files(prepare("ade20k", ade, root)) == whole


def test_nothing_is_replaced_unasked(ade, tmp_path):
    root = tmp_path / "out"
    mine = root / "images/training/ADE_train_00000003.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    refused(r"ADE_train_00000003.jpg: exists, with other content.*overwrite=true", "ade20k", ade, root)
    assert mine.read_bytes() == b"mine"
    prepare("ade20k", ade, root, overwrite=True)
    assert mine.read_bytes() == picture(3)


def test_a_root_belongs_to_one_data_set_and_one_process(ade, tmp_path):
    root = prepare("ade20k", ade, tmp_path / "out")
    refused("holds ade20k", "camvid", build("camvid", tmp_path / "camvid"), root)
    with tree.Tree(root):
        refused("another prepare writes there", "ade20k", ade, root)


# what is refused


@pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "a/../../evil.jpg", "C:/evil.jpg", "..\\evil.jpg"])
@pytest.mark.parametrize("write", [zipped, tarred])
def test_names_that_lead_outside(write, name, tmp_path):
    suffix = ".zip" if write is zipped else ".tar"
    path = write(tmp_path / f"a{suffix}", {"annotations/training/ADE_train_00000001.png": mask([1]), name: b"x"})
    refused("evil.jpg", "ade20k", path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(kind, tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        info = tarfile.TarInfo("VOCdevkit/evil")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    refused("'VOCdevkit/evil' is a link or a device", "voc2012", path, tmp_path / "out")


def test_links_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("evil")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    refused("'evil' is a link", "ade20k", tmp_path / "a.zip", tmp_path / "out")


def test_a_traversal_in_an_inner_zip(tmp_path):
    path = zipped(tmp_path / "LIP.zip", {"LIP/a.zip": zip_bytes({"../evil.png": b"x"})})
    refused("evil.png", "lip", path, tmp_path / "out")


def test_bombs(ade, tmp_path, monkeypatch):
    monkeypatch.setattr(fill.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    refused("GiB to write, 0.0 GiB free", "ade20k", ade, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(archives, "MAX_MEMBER", 500)
    refused("claims to unpack to", "ade20k", ade / "release_test.zip", tmp_path / "out")


def test_a_zip_that_lies_about_sizes(tmp_path):
    name = "annotations/training/ADE_train_00000001.png"
    path = zipped(tmp_path / "a.zip", {name: bytes(10**6)})
    data = path.read_bytes()
    assert data.count((10**6).to_bytes(4, "little")) == 2  # beside the member and in the table of contents
    path.write_bytes(data.replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused("a.zip, member annotations.*damaged", "ade20k", path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-400])


def flip_bytes(path):
    data = bytearray(path.read_bytes())
    middle = data.find(b"ADE_train_00000003.jpg") + 200
    data[middle : middle + 20] = bytes(255 - byte for byte in data[middle : middle + 20])
    path.write_bytes(bytes(data))


def web_page(path):
    path.write_text("<!DOCTYPE html><title>log in</title>")


@pytest.mark.parametrize("damage", [cut_short, flip_bytes, web_page])
def test_damaged_zips_are_named(damage, ade, tmp_path):
    path = ade / "ADEChallengeData2016.zip"
    damage(path)
    refused(r"ADEChallengeData2016.zip.*download it again", "ade20k", ade, tmp_path / "out")
    refused(r"ADEChallengeData2016.zip.*download it again", "ade20k", path, tmp_path / "other")


@pytest.mark.parametrize("name", ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"])
def test_damaged_tars_are_named(name, tmp_path):
    folder = build("voc2012", tmp_path / "in")
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(rf"{name}.*download it again", "voc2012", path, tmp_path / "out")
    refused(rf"{name}.*download it again", "voc2012", folder, tmp_path / "out")  # SBD too, which may be left out


def test_strangers_in_the_folder_are_named_and_omitted(ade, tmp_path, caplog):
    (ade / "holiday.zip").write_text("no zip")
    zipped(ade / "gtFine.zip", {"gtFine/train/berlin/berlin_000000_000019_gtFine_labelIds.png": b""})
    zipped(ade / "full.zip", {"ADE20K_2021_17_01/index.pkl": b""})
    with caplog.at_level(logging.WARNING):
        prepare("ade20k", ade, tmp_path / "out")
    assert "holiday.zip: no zip or tar" in caplog.text
    assert "gtFine.zip is of another data set: data=cityscapes" in caplog.text
    assert "full.zip is the full ADE20K" in caplog.text


def test_a_damaged_mat_is_named(tmp_path):
    folder = build("pascal_context", tmp_path / "in")
    tarred(folder / "trainval.tar.gz", {"trainval/2008_000001.mat": b"MATLAB 5.0 but no more"})
    refused(
        r"trainval.tar.gz, member trainval/2008_000001.mat: cannot read LabelMap", "pascal_context", folder, tmp_path
    )


WRONG = [
    ("ade20k", {"ADE20K_2016_07_26/images/training/a/ADE_train_00000001_seg.png": b""}, "the full ADE20K"),
    ("voc2012", {"VOCdevkit/VOC2007/JPEGImages/000005.jpg": b""}, "VOC of another year; get VOCtrainval_11-May-2012"),
    ("pascal_context", {"VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg": b""}, "get VOCtrainval_03-May-2010.tar"),
    ("pascal_context", {"Annotations_Part/2008_000002.mat": b""}, "PASCAL-Part"),
    ("cityscapes", {"leftImg8bit_blurred/train/aachen/a_leftImg8bit_blurred.png": b""}, "blurred faces"),
    ("cityscapes", {"gtFine_panopticParts/train/a.tif": b""}, "panoptic or box labels"),
    ("cityscapes", {"disparity/train/aachen/a_disparity.png": b""}, "no pictures and no labels"),
    ("lip", {"instance-level_human_parsing/Training/Human_ids/1.png": b""}, "CIHP"),
    ("coco_stuff", {"stuff_train2017_pixelmaps/000000000009.png": b""}, "get stuffthingmaps_trainval2017.zip"),
    ("coco_stuff", {"annotations/instances_train2017.json": b""}, "json files"),
    ("ccp", {"annotations/image-level/0010.mat": b""}, "labels of whole images"),
    ("camvid", {"cats/1.png": b""}, "none of the archives of this data set"),
]


@pytest.mark.parametrize(("name", "members", "told"), WRONG, ids=[told for *_, told in WRONG])
def test_wrong_archives_are_recognised(name, members, told, tmp_path):
    path = zipped(tmp_path / "in/archive.zip", members)
    refused(told, name, path, tmp_path / "out")
    refused(told, name, path.parent, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_coco_stuff_1_0_is_recognised_by_its_labels(tmp_path):
    names = [f"annotations/COCO_train2014_{i:012d}.mat" for i in range(40)]
    path = zipped(tmp_path / "a.zip", {name: stuff([1, 2, 45]) for name in names})
    refused("version 1.0", "coco_stuff", path, tmp_path / "out")  # 45 is no label of 1.1
    path = zipped(tmp_path / "b.zip", {name: stuff([1, 2, 172]) for name in names})
    refused("version 1.0", "coco_stuff", path, tmp_path / "out")  # neither 0 nor above 172 anywhere


def test_ccp_with_other_names_of_labels_is_refused(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    BUILDERS["ccp"](folder, first="background")
    refused(r"member \S+label_list\.mat: label 0 is background, not null", "ccp", folder, tmp_path / "out")


def test_pickles_are_not_read(tmp_path):
    (tmp_path / "train.pth").write_bytes(b"")
    refused("pickles, which are not read", "pascal_context", tmp_path / "train.pth", tmp_path / "out")


def test_what_is_missing_is_named_with_its_source(tmp_path):
    folder = build("cityscapes", tmp_path / "in")
    (folder / "gtFine_trainvaltest.zip").unlink()
    refused(
        r"fine labels are missing: gtFine_trainvaltest.zip from www.cityscapes", "cityscapes", folder, tmp_path / "out"
    )
    (tmp_path / "empty").mkdir()
    refused("nothing of lip in it .*TrainVal_images.zip", "lip", tmp_path / "empty", tmp_path / "out")
    refused("no such file or folder", "lip", tmp_path / "absent", tmp_path / "out")


def test_archives_are_known_by_content_and_may_have_any_name(tmp_path):
    folder = build("lip", tmp_path / "in")
    inside = {f"LIP/{path.name}": path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "all.zip").write_bytes(zip_bytes(inside))  # LIP.zip: the zips in a zip, one of them in a third
    assert files(prepare("lip", tmp_path / "all.zip", tmp_path / "a")) == files(prepare("lip", folder, tmp_path / "b"))


@pytest.mark.parametrize("option", [{"overwrite": "yess"}, {"workers": -1}, {"dry_run": 1}])
def test_options_that_cannot_be_meant(option, ade, tmp_path):
    refused(f"{next(iter(option))}=", "ade20k", ade, tmp_path / "out", **option)


def test_a_source_is_needed():
    with pytest.raises(ConfigError, match="give the folder with the downloaded archives"):
        parse(PrepareOptions, {"choices": {"data": "lip"}})


def test_other_data_sets_have_nothing_to_prepare(tmp_path):
    refused("choose one of ade20k, camvid", "folder", tmp_path, tmp_path / "out")
