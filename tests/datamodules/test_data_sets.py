"""The published data sets on tiny trees: labels, splits, pairing, and what is said when something is amiss."""

import shutil

import numpy as np
import pytest
from fake_trees import BUILDERS, build
from PIL import Image
from scipy.io import savemat
from trees import save

from contextseg.classes import class_set, voc_colours
from contextseg.commands.check_data.faults import across, examine
from contextseg.commands.compose import compose
from contextseg.datamodules import cityscapes, coco_stuff, pascal_context
from contextseg.datamodules.ade20k import ADE20K
from contextseg.datamodules.camvid import CamVid
from contextseg.datamodules.ccp import CCP, split_of
from contextseg.datamodules.cityscapes import Cityscapes
from contextseg.datamodules.coco_stuff import COCOStuff
from contextseg.datamodules.lip import LIP
from contextseg.datamodules.pascal_context import PascalContext
from contextseg.datamodules.voc2012 import VOC2012
from contextseg.engine import build as builders
from contextseg.errors import ConfigError

# data set, variant of its tree, options: every way to read each
WAYS = [
    ("cityscapes", None, {}),
    ("cityscapes", None, {"train_set": "trainval+coarse"}),
    ("ade20k", None, {}),
    ("voc2012", None, {}),
    ("voc2012", None, {"train_set": "trainval"}),
    ("voc2012", "sbd", {"train_set": "trainaug"}),
    ("pascal_context", None, {}),
    ("pascal_context", None, {"protocol": 60}),
    ("pascal_context", "mat", {}),
    ("pascal_context", "mat", {"protocol": 60}),
    ("lip", None, {}),
    ("coco_stuff", None, {}),
    ("coco_stuff", "mat", {}),
    ("coco_stuff", "164k", {"version": "164k"}),
    ("camvid", None, {}),
    ("camvid", "official", {"layout": "official"}),
    ("ccp", None, {}),
    ("ccp", "mat", {}),
]
CLASSES = {kind.name: kind for kind in (ADE20K, CamVid, CCP, Cityscapes, COCOStuff, LIP, PascalContext, VOC2012)}
COUNT = {"pascal_context": 59, "cityscapes": 19, "ade20k": 150, "voc2012": 21, "lip": 20, "coco_stuff": 171}
COUNT |= {"camvid": 11, "ccp": 59}
KEPT_BACK = {"cityscapes", "ade20k", "voc2012", "lip"}  # labels of the test split
PUBLIC = {"camvid", "ccp"}  # labels of the test split
WITHOUT_VOID = {"lip", "ccp"}  # masks
every_way = pytest.mark.parametrize(("name", "variant", "options"), WAYS)
every_set = pytest.mark.parametrize("name", BUILDERS)


def opened(name, root, **options):
    return CLASSES[name](root=str(root), **options)


def images(source):
    return [source.files(i)[0] for i in range(len(source))]


def masks(source):
    return [source.files(i)[1] for i in range(len(source))]


def seen(source):
    """Every train id of a split."""
    return {int(value) for i in range(len(source)) for value in np.unique(source.read(i)[1])}


def stored(path):
    return np.array(Image.open(path))


# all data sets


@every_way
def test_every_class_is_read_and_nothing_else(tmp_path, name, variant, options):
    data = opened(name, build(name, tmp_path, variant=variant), **options)
    classes = 60 if options == {"protocol": 60} else COUNT[name]
    assert len(data.classes) == classes
    void = set() if name in WITHOUT_VOID or options == {"protocol": 60} else {255}
    for split in ("train", "val"):
        assert seen(data.source(split)) == {*range(classes)} | void
        for image, mask in zip(images(data.source(split)), masks(data.source(split)), strict=True):
            assert mask.stem.startswith(image.stem.removesuffix("_leftImg8bit"))


@every_way
def test_the_size_of_a_split_is_compared_with_the_published_one(tmp_path, caplog, name, variant, options):
    data = opened(name, build(name, tmp_path, variant=variant), **options)
    source = data.source("val")
    assert f"val of {tmp_path} has {len(source)} images; the published split has" in caplog.text
    caplog.clear()
    for number in data.counts["val"]:
        data.compare("val", number)
    assert not caplog.text


@every_set
def test_a_test_split_without_labels(tmp_path, name):
    data = opened(name, build(name, tmp_path, test=3))
    if name in KEPT_BACK:
        source = data.source("test")
        assert data.submission == name
        assert data.splits() == ("train", "val", "test")
        assert len(source) == 3
        assert not source.labelled
        assert seen(source) == {255}
        image, mask, _ = source.read(0)
        assert image.shape[:2] == mask.shape == (48, 64)
        assert {len(batch.name) for batch in data.test_dataloader()} == {1}
        assert not set(images(source)) & set(images(data.source("train")) + images(data.source("val")))
    elif name in PUBLIC:
        assert data.source("test").labelled
        assert data.submission is None
        assert data.splits() == ("train", "val", "test")
        assert seen(data.source("test")) == {*range(COUNT[name])} | (set() if name in WITHOUT_VOID else {255})
        assert not set(images(data.source("test"))) & set(images(data.source("train")) + images(data.source("val")))
    else:
        assert data.splits() == ("train", "val")
        assert data.submission is None
        with pytest.raises(ConfigError, match=r"no public test split.*split=val"):
            data.source("test")


@every_set
def test_a_missing_tree_is_told_with_the_way_out(tmp_path, name):
    data = opened(name, tmp_path / "none")
    message = rf"{data.title} is expected as .*data\.root={tmp_path}/none\..*"
    message += rf"contextseg prepare data={name} source=FOLDER root={tmp_path}/none"
    with pytest.raises(ConfigError, match=rf"none/\S+ does not exist\. {message}"):
        data.check()


@pytest.mark.parametrize(("name", "variant", "options"), [way for way in WAYS if way[0] != "ccp"])
def test_files_without_a_partner_are_named(tmp_path, name, variant, options):
    root = build(name, tmp_path, variant=variant)
    victim = masks(opened(name, root, **options).source("val"))[0]
    victim.unlink()
    data = opened(name, root, **options)
    source = data.source("val")
    assert len(source) == len(source.unpaired["mask"]) == 1
    with pytest.raises(ConfigError, match=r"1 files have no mask of the same name, first "):
        data.check(("val",))


@pytest.mark.parametrize("name", ["cityscapes", "ade20k", "lip", "camvid"])
def test_masks_without_an_image_are_named(tmp_path, name):
    root = build(name, tmp_path)
    victim = images(opened(name, root).source("val"))[0]
    victim.unlink()
    data = opened(name, root)
    assert len(data.source("val")) == 1
    assert stored(masks(data.source("val"))[0]).shape == (48, 64)
    with pytest.raises(ConfigError, match=r"1 files have no image of the same name, first "):
        data.check(("val",))


@pytest.mark.parametrize("name", ["voc2012", "pascal_context", "coco_stuff", "ccp"])
def test_a_listed_image_that_is_missing_is_named(tmp_path, name):
    root = build(name, tmp_path)
    victim = images(opened(name, root).source("val"))[0]
    victim.unlink()
    with pytest.raises(ConfigError, match=rf"1 of 2 listed images are missing below .*first {victim.stem}"):
        opened(name, root).source("val")


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("ade20k", "ADEChallengeData2016"),
        ("voc2012", "VOCdevkit/VOC2012"),
        ("pascal_context", "VOCdevkit/VOC2010"),
        ("lip", "LIP"),
        ("coco_stuff", "cocostuff-10k-v1.1"),
        ("ccp", "clothing-co-parsing-master"),
    ],
)
def test_the_folder_of_the_archive_may_stay(tmp_path, name, inner):
    build(name, tmp_path / inner)
    assert len(opened(name, tmp_path).source("train")) == (8 if name == "voc2012" else 4)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("cityscapes", {"train_set": "fine"}),
        ("voc2012", {"train_set": "aug"}),
        ("pascal_context", {"protocol": 33}),
        ("coco_stuff", {"version": "20k"}),
        ("camvid", {"layout": "tall"}),
    ],
)
def test_unknown_options_are_named_with_the_choices(tmp_path, name, option):
    ((key, value),) = option.items()
    with pytest.raises(ConfigError, match=rf"data\.{key}={value}: choose one of \w+, "):
        opened(name, tmp_path, **option)


@every_set
def test_masks_in_colours_are_refused(tmp_path, name):
    root = build(name, tmp_path)
    path = masks(opened(name, root).source("val"))[0]
    save(path, np.zeros((48, 64, 3)))
    with pytest.raises(ConfigError, match=rf"{path.name} has mode RGB"):
        opened(name, root).check(("val",))


@pytest.mark.parametrize(
    ("name", "label", "way_out"),
    [
        ("ade20k", 151, "ADEChallengeData2016, not those of the full ADE20K"),
        ("voc2012", 21, "masks hold 0..20 and 255"),
        ("pascal_context", 60, "PNGs with 0..59"),
        ("lip", 20, "0..19"),
        ("coco_stuff", 12, "get cocostuff-10k-v1.1.zip"),
        ("camvid", 12, "not 255"),
        ("ccp", 59, "59 labels 0..58"),
    ],
)
def test_labels_of_another_data_set_are_refused(tmp_path, name, label, way_out):
    root = build(name, tmp_path)
    save(masks(opened(name, root).source("val"))[0], np.full((48, 64), label))
    with pytest.raises(ConfigError, match=rf"labels {label} \(3072 pixels\).*{way_out}"):
        opened(name, root).check(("val",))


@every_way
def test_a_check_finds_no_fault(tmp_path, name, variant, options):
    data = opened(name, build(name, tmp_path, variant=variant, train=2, val=1, test=1), **options)
    pairs = [examine(data.source(split), split, i) for split in data.splits() for i in range(len(data.source(split)))]
    assert [fault.text for pair in pairs for fault in pair.faults] == []
    assert {pair.size for pair in pairs} == {(64, 48)}
    val_is_trained_on = "trainval" in str(options)
    assert {fault.kind for fault in across(pairs)} == ({"in two splits"} if val_is_trained_on else set())


@every_set
def test_the_configuration(tmp_path, name):
    data = builders.datamodule(compose([f"data={name}", f"data.root={build(name, tmp_path)}"]))
    data.check()
    assert data.name == name
    assert data.transform.flip_pairs == (((14, 15), (16, 17), (18, 19)) if name == "lip" else ())
    assert data.transform.crop_size is not None  # batches of one size


@pytest.mark.parametrize(("name", "count"), [*COUNT.items(), ("pascal_context_59", 59), ("pascal_context_60", 60)])
def test_class_sets(name, count):
    if name == "pascal_context":
        name = "pascal_context_59"
    classes = class_set(name)
    assert len(classes) == len(set(classes.names)) == len(classes.palette) == count
    assert len(set(classes.palette)) == count - (name == "ade20k")  # two classes of ADE20K share a colour


def test_the_colours_of_voc():
    colours = voc_colours()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[20] == [0, 64, 128]
    assert colours[255] == [224, 224, 192]
    assert class_set("pascal_context_60").palette[1:] == class_set("pascal_context_59").palette
    assert class_set("pascal_context_60").names == ("background", *class_set("pascal_context_59").names)


# Cityscapes


def test_cityscapes_labels_and_names(tmp_path):
    source = Cityscapes(root=str(build("cityscapes", tmp_path))).source("val")
    _, mask, name = source.read(0)
    assert name == "frankfurt_000000_000019"
    raw = stored(source.files(0)[1])
    scored = np.isin(raw, cityscapes.IDS)
    assert (mask[~scored] == 255).all()
    assert np.array_equal(np.array(cityscapes.IDS)[mask[scored]], raw[scored])
    names = class_set("cityscapes").names
    assert {names[mask[raw == label][0]]: label for label in (7, 19, 26, 33)} == {
        "road": 7,
        "traffic light": 19,
        "car": 26,
        "bicycle": 33,
    }


def test_cityscapes_training_sets(tmp_path):
    root = str(build("cityscapes", tmp_path, train=4, val=2))
    sizes = {name: len(Cityscapes(root=root, train_set=name).source("train")) for name in cityscapes.SETS}
    assert sizes == {"train": 4, "trainval": 6, "coarse": 4, "train+coarse": 8, "trainval+coarse": 10}
    coarse = Cityscapes(root=root, train_set="coarse").source("train")
    assert not any("troisdorf" in str(path) for path in images(coarse))
    assert all(path.name.endswith("_gtCoarse_labelIds.png") for path in masks(coarse))
    assert coarse.unpaired == {"mask": [], "image": []}
    assert len(Cityscapes(root=root, train_set="coarse").source("val")) == 2


# VOC


def test_palettes_are_read_as_indices(tmp_path):
    source = VOC2012(root=str(build("voc2012", tmp_path)), train_set="train").source("train")
    image = Image.open(source.files(0)[1])
    assert image.mode == "P"
    assert np.array_equal(source.read(0)[1], np.array(image))


@pytest.mark.parametrize("variant", [None, "sbd"])
def test_trainaug_is_train_and_sbd_without_val(tmp_path, variant):
    root = build("voc2012", tmp_path, variant=variant, train=4, val=2)
    source = VOC2012(root=str(root)).source("train")
    val = VOC2012(root=str(root)).source("val")
    assert len(source) == 8
    assert not set(source.names) & set(val.names)
    for path in masks(source):
        assert (path.parent.name == "SegmentationClass") == path.stem.startswith("2007")  # VOC's own where there is one
    (root / "ImageSets/Segmentation/trainaug.txt").unlink(missing_ok=True)
    assert VOC2012(root=str(root)).source("train").names == sorted(source.names)


def test_a_list_of_trainaug_with_images_of_val_is_refused(tmp_path):
    root = build("voc2012", tmp_path, train=4, val=2)
    lists = root / "ImageSets/Segmentation"
    (lists / "trainaug.txt").write_text((lists / "train.txt").read_text() + (lists / "val.txt").read_text())
    with pytest.raises(
        ConfigError, match=r"trainaug\.txt holds 2 images of val, first .*, which would bias its scores; remove them"
    ):
        VOC2012(root=str(root)).source("train")


def test_trainaug_without_masks_of_sbd(tmp_path):
    root = build("voc2012", tmp_path)
    shutil.rmtree(root / "SegmentationClassAug")
    assert len(VOC2012(root=str(root), train_set="train").source("train")) == 4
    with pytest.raises(ConfigError, match=r"SegmentationClassAug does not exist.*data\.train_set=trainaug"):
        VOC2012(root=str(root)).source("train")


# ADE20K, COCO-Stuff, PASCAL-Context, LIP, CamVid


def test_ade20k_labels(tmp_path):
    source = opened("ade20k", build("ade20k", tmp_path)).source("train")
    raw = stored(source.files(0)[1]).astype(int)
    assert np.array_equal(source.read(0)[1], np.where(raw == 0, 255, raw - 1))


@pytest.mark.parametrize(
    "sign", ["index_ade20k.mat", "ADE20K_2016_07_26/x", "images/training/a/abbey/ADE_train_00000001.jpg"]
)
def test_the_full_ade20k_is_recognised(tmp_path, sign):
    (tmp_path / sign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / sign).write_text("")
    with pytest.raises(ConfigError, match=r"is the full ADE20K.*ADEChallengeData2016\.zip"):
        opened("ade20k", tmp_path).source("train")


def test_coco_stuff_labels_of_both_versions(tmp_path):
    small, large = coco_stuff.LABELS_10K, coco_stuff.LABELS_164K
    names = class_set("coco_stuff").names
    assert len(coco_stuff.IDS) == 171
    for raw, name in {
        1: "person",
        11: "fire hydrant",
        13: "stop sign",
        90: "toothbrush",
        92: "banner",
        182: "wood",
    }.items():
        assert names[small[raw]] == names[large[raw - 1]] == name
    assert small[0] == 255
    assert 12 not in small
    assert 11 not in large


def test_coco_stuff_of_version_1_0_is_refused(tmp_path):
    root = build("coco_stuff", tmp_path, variant="mat")
    path = masks(opened("coco_stuff", root).source("val"))[0]
    savemat(path, {"S": np.arange(1, 173, dtype=np.uint8).reshape(4, 43)})
    with pytest.raises(ConfigError, match=r"have no class; .*v1\.0 are numbered otherwise: get cocostuff-10k-v1\.1"):
        opened("coco_stuff", root).source("val").read(0)


def test_labels_below_zero_are_refused(tmp_path):
    """They are no places from the end of the table."""
    source = opened("coco_stuff", build("coco_stuff", tmp_path, variant="mat")).source("val")
    savemat(masks(source)[0], {"S": np.full((48, 64), -1, np.int16)})
    with pytest.raises(ConfigError, match=r"labels -1 \(3072 pixels\) have no class"):
        source.read(0)


def test_damaged_mat_files_are_named(tmp_path):
    root = build("coco_stuff", tmp_path, variant="mat")
    first, second = masks(opened("coco_stuff", root).source("val"))
    first.write_bytes(first.read_bytes()[:150])
    savemat(second, {"T": np.zeros((48, 64))})
    for i, path in enumerate((first, second)):
        with pytest.raises(ConfigError, match=rf"cannot read S in .*{path.name}"):
            opened("coco_stuff", root).source("val").read(i)


@pytest.mark.parametrize("protocol", [59, 60])
def test_pascal_context_labels(tmp_path, protocol):
    names = class_set(f"pascal_context_{protocol}").names
    converted = opened("pascal_context", build("pascal_context", tmp_path / "png"), protocol=protocol)
    raw = stored(converted.source("train").files(0)[1]).astype(int)
    shift = 60 - protocol
    assert np.array_equal(converted.source("train").read(0)[1], np.where(raw < shift, 255, raw - shift))
    matlab = build("pascal_context", tmp_path / "mat", variant="mat")
    source = opened("pascal_context", matlab, protocol=protocol).source("train")
    label_map = np.tile(np.array([2, 23, 284, 397, 458, 1, 431, 459], np.uint16), (48, 8))
    savemat(source.files(0)[1], {"LabelMap": label_map})
    rest = ["background" if protocol == 60 else None] * 3
    found = [None if value == 255 else names[value] for value in source.read(0)[1][0, :8]]
    assert found == ["aeroplane", "bicycle", "person", "table", "wood", *rest]
    assert len(pascal_context.IDS_459) == len(set(pascal_context.IDS_459)) == 59


def test_lip_limbs_change_places_in_a_mirror_image(tmp_path):
    data = opened("lip", build("lip", tmp_path))
    data.transform.flip, data.transform.compose = 1.0, None
    image, mask, _ = data.source("train").read(0)
    mirrored, flipped = data.transform(image, mask, (0, 0, 0))
    assert np.array_equal(mirrored, image[:, ::-1])
    for a, b in ((14, 15), (16, 17), (18, 19), (13, 13), (0, 0)):
        assert np.array_equal(flipped == b, mask[:, ::-1] == a)


def test_camvid_colours_become_eleven_classes(tmp_path):
    root = build("camvid", tmp_path, variant="official")
    data = opened("camvid", root, layout="official")
    path = masks(data.source("train"))[0]
    colours = {(128, 128, 128): 0, (0, 128, 64): 1, (0, 0, 192): 4, (192, 64, 128): 8, (0, 0, 0): 255, (9, 9, 9): 255}
    save(path, np.resize(np.array(list(colours)), (48, 66, 3))[:, :64])
    mask = data.source("train").read(0)[1]
    assert mask[0, :6].tolist() == list(colours.values())
    assert opened("camvid", build("camvid", tmp_path / "small")).classes.names == data.classes.names


# Clothing Co-Parsing


def test_the_split_of_ccp(tmp_path):
    splits = [split_of(f"{number:04d}") for number in range(1, 1005)]
    assert {split: splits.count(split) for split in CCP.counts} == {"train": 803, "val": 101, "test": 100}
    source = CCP(root=str(build("ccp", tmp_path, test=3))).source("test")
    assert source.names == ["0009", "0019", "0029"]
    (tmp_path / "annotations/pixel-level/cat.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"pixel-level/cat: masks of Clothing Co-Parsing are called 0001 to 1004"):
        CCP(root=str(tmp_path)).source("test")


def test_ccp_labels(tmp_path):
    root = build("ccp", tmp_path, variant="mat")
    source = CCP(root=str(root)).source("train")
    assert "2098" not in source.names  # a photo without a mask
    label_map = np.tile(np.array([0, 1, 41, 51, 58], np.uint8), (48, 13))[:, :64]
    savemat(source.files(0)[1], {"groundtruth": label_map})
    found = [class_set("ccp").names[label] for label in source.read(0)[1][0, :5]]
    assert found == ["background", "accessories", "skin", "t-shirt", "wedges"]
    savemat(source.files(0)[1], {"groundtruth": label_map + 1})
    with pytest.raises(ConfigError, match=r"labels 59 \(\d+ pixels\) have no class; the masks are those of annot"):
        source.read(0)
