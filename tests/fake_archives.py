"""The official archives of each data set with a few tiny pictures: names, nesting and encodings as published."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from contextseg.classes import class_set

SIZE = (24, 32)


def picture(seed: int, kind: str = "JPEG") -> bytes:
    """An RGB image file."""
    return encoded(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)), kind)


def mask(labels: list, seed: int = 0) -> bytes:
    """A grey PNG in which each of these labels occurs."""
    return encoded(label_map(labels, seed), "PNG")


def palette_mask(labels: list, seed: int = 0) -> bytes:
    """The same with a palette, as VOC has it."""
    image = Image.fromarray(label_map(labels, seed).astype(np.uint8)).convert("P")
    image.putdata(label_map(labels, seed).ravel().tolist())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def mat(key: str, value: object) -> bytes:
    """A Matlab file of one variable."""
    file = io.BytesIO()
    savemat(file, {key: value}, do_compression=True)
    return file.getvalue()


def label_map(labels: list, seed: int = 0) -> np.ndarray:
    """[H, W], the labels in random places, each at least once."""
    rng = np.random.default_rng(seed)
    pixels = np.resize(np.array(labels), SIZE[0] * SIZE[1])
    return rng.permutation(pixels).reshape(SIZE)


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind)
    return file.getvalue()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def zip_bytes(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as inner:
        for name, data in members.items():
            inner.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def build(name: str, folder: Path) -> Path:
    """All archives of a data set, the optional ones too, in `folder`; `coco_stuff` is version 10k, `coco_stuff_164k`
    the other, `camvid` SegNet's copy, `camvid_official` the other."""
    BUILDERS[name](folder)
    return folder


def ade20k(folder: Path) -> None:
    top = "ADEChallengeData2016"
    members = {f"{top}/objectInfo150.txt": b"Idx\n", f"{top}/sceneCategories.txt": b"ADE_train_00000001 hall\n"}
    for split, short, count in (("training", "train", 4), ("validation", "val", 2)):
        for i in range(1, count + 1):
            members[f"{top}/images/{split}/ADE_{short}_{i:08d}.jpg"] = picture(i)
            members[f"{top}/annotations/{split}/ADE_{short}_{i:08d}.png"] = mask([0, i, 75, 150], i)
    zipped(folder / "ADEChallengeData2016.zip", members)
    test = {f"release_test/testing/ADE_test_{i:08d}.jpg": picture(i) for i in (1, 2)}
    zipped(folder / "release_test.zip", {**test, "release_test/list.txt": b"ADE_test_00000001.jpg\n"})


def cityscapes(folder: Path) -> None:
    fine, coarse, images, extra = ({"README": b"", "license.txt": b""} for _ in range(4))
    for split, city, frames in (("train", "aachen", 4), ("val", "munster", 2), ("test", "berlin", 2)):
        for i in range(frames):
            stem = f"{city}_{i:06d}_000019"
            images[f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"] = picture(i, "PNG")
            label = f"gtFine/{split}/{city}/{stem}_gtFine"
            fine[f"{label}_labelIds.png"] = mask([0, 1, 3] if split == "test" else [0, 4, 7, 11, 26, 33], i)
            fine[f"{label}_color.png"] = picture(i, "PNG")
            fine[f"{label}_polygons.json"] = b"{}"
            if split != "test":
                coarse[f"gtCoarse/{split}/{city}/{stem}_gtCoarse_labelIds.png"] = mask([0, 7, 26], i)
    for city, i in (("augsburg", 0), ("augsburg", 1), ("troisdorf", 73)):
        stem = f"{city}_000000_{i:06d}"
        extra[f"leftImg8bit/train_extra/{city}/{stem}_leftImg8bit.png"] = picture(i, "PNG")
        coarse[f"gtCoarse/train_extra/{city}/{stem}_gtCoarse_labelIds.png"] = mask([0, 7, 26], i)
    zipped(folder / "gtFine_trainvaltest.zip", fine)
    zipped(folder / "gtCoarse.zip", coarse)
    zipped(folder / "leftImg8bit_trainvaltest.zip", images)
    zipped(folder / "leftImg8bit_trainextra.zip", extra)


def voc2012(folder: Path) -> None:
    train, val, both = ["2007_000001", "2007_000002"], ["2007_000003"], ["2008_000004", "2008_000005"]
    voc = "VOCdevkit/VOC2012"
    sets = f"{voc}/ImageSets/Segmentation"
    members = {f"{voc}/Annotations/{train[0]}.xml": b"<a/>"}
    members |= {f"{sets}/{k}.txt": lines(v) for k, v in (("train", train), ("val", val), ("trainval", train + val))}
    members |= {f"{voc}/JPEGImages/{name}.jpg": picture(i) for i, name in enumerate(train + val + both)}
    for i, name in enumerate(train + val):
        members[f"{voc}/SegmentationClass/{name}.png"] = palette_mask([0, i + 1, 20, 255], i)
    tarred(folder / "VOCtrainval_11-May-2012.tar", members)
    test = {f"{sets}/test.txt": b"2008_000100\n", f"{voc}/JPEGImages/2008_000100.jpg": picture(9)}
    tarred(folder / "VOC2012test.tar", test)
    top = "benchmark_RELEASE/dataset"
    sbd = {f"{top}/train.txt": lines(both + train[:1]), f"{top}/val.txt": lines(val)}
    for i, name in enumerate([*both, train[0], val[0]]):
        kind = np.zeros((1, 1), dtype=[("Boundaries", "O"), ("Segmentation", "O"), ("CategoriesPresent", "O")])
        kind[0, 0] = (np.zeros((1, 1)), label_map([0, i + 3, 20], i).astype(np.uint8), np.array([[20]]))
        sbd[f"{top}/cls/{name}.mat"] = mat("GTcls", kind)
        sbd[f"{top}/img/{name}.jpg"] = picture(i)
    tarred(folder / "benchmark.tgz", sbd)


CONTEXT = {"train": ["2008_000001", "2008_000002", "2009_000003"], "val": ["2008_000004", "2010_000005"]}


def voc2010() -> dict[str, bytes]:
    """The members of VOC 2010's archive."""
    voc = "VOCdevkit/VOC2010"
    names = [name for split in CONTEXT.values() for name in split]
    members = {f"{voc}/JPEGImages/{name}.jpg": picture(i) for i, name in enumerate(names)}
    members |= {f"{voc}/ImageSets/Main/{split}.txt": lines(some) for split, some in CONTEXT.items()}
    return {**members, f"{voc}/ImageSets/Main/cat_train.txt": b"2008_000001 -1\n"}


def pascal_context(folder: Path) -> None:
    tarred(folder / "VOCtrainval_03-May-2010.tar", voc2010())
    mats = {"trainval/labels.txt": b"1: accordion\n"}
    for i, name in enumerate(name for split in CONTEXT.values() for name in split):
        mats[f"trainval/{name}.mat"] = mat("LabelMap", label_map([1, 2, 284, 431, 458, 459], i).astype(np.uint16))
    tarred(folder / "trainval.tar.gz", mats)


def pascal_context_json(folder: Path) -> None:
    """VOC 2010, PNGs that another tool made, and the json: one image of train is not in it."""
    tarred(folder / "VOCtrainval_03-May-2010.tar", voc2010())
    images = []
    (folder / "SegmentationClassContext").mkdir()
    for split, names in CONTEXT.items():
        for name in names[1:] if split == "train" else names:
            (folder / f"SegmentationClassContext/{name}.png").write_bytes(mask([0, 1, 59]))
            images.append({"image_id": int(name.replace("_", "")), "phase": split})
    (folder / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": []}))


def lip(folder: Path) -> None:
    train, val, test = [f"{i}_{i + 5}" for i in (1000, 1001, 1002)], ["100034_483681"], ["100012_501646"]
    images = {f"TrainVal_images/train_images/{name}.jpg": picture(i) for i, name in enumerate(train)}
    images |= {f"TrainVal_images/val_images/{name}.jpg": picture(7) for name in val}
    images["TrainVal_images/train_id.txt"] = lines(train)
    images["TrainVal_images/val_id.txt"] = lines(val)
    masks = {f"train_segmentations/{name}.png": mask([0, 14, 15, 19], i) for i, name in enumerate(train)}
    masks |= {f"val_segmentations/{name}.png": mask([0, 13], 5) for name in val}
    inner = "TrainVal_parsing_annotations/TrainVal_parsing_annotations.zip"
    zipped(
        folder / "TrainVal_parsing_annotations.zip", {inner: zip_bytes(masks), "TrainVal_parsing_annotations/R": b""}
    )
    zipped(folder / "TrainVal_images.zip", images)
    zipped(folder / "Testing_images.zip", {f"Testing_images/testing_images/{name}.jpg": picture(8) for name in test})


def stuff(labels: list) -> bytes:
    """A 10k label map with these labels."""
    return mat("S", label_map(labels).astype(np.uint8))


def coco_stuff(folder: Path) -> None:
    names = [f"COCO_train2014_{i:012d}" for i in (77, 78, 79)]
    members = {f"imageLists/{k}.txt": lines(v) for k, v in (("train", names[:2]), ("test", names[2:]), ("all", names))}
    for i, name in enumerate(names):
        members[f"images/{name}.jpg"] = picture(i)
        members[f"annotations/{name}.mat"] = stuff([0, 1 + i, 92, 182])
    zipped(folder / "cocostuff-10k-v1.1.zip", members)


def coco_stuff_164k(folder: Path) -> None:
    maps = {}
    for split, ids in (("train", (9, 25)), ("val", (139,))):
        zipped(folder / f"{split}2017.zip", {f"{split}2017/{i:012d}.jpg": picture(i) for i in ids})
        maps |= {f"{split}2017/{i:012d}.png": mask([0, 91, 181, 255], i) for i in ids}
    zipped(folder / "stuffthingmaps_trainval2017.zip", maps)


def camvid(folder: Path) -> None:
    members = {}
    for split, ids in (
        ("train", ("0001TP_006690", "0006R0_f00930")),
        ("val", ("0016E5_07959",)),
        ("test", ("Seq05VD_f00000",)),
    ):
        for i, name in enumerate(ids):
            members[f"CamVid/{split}/{name}.png"] = picture(i, "PNG")
            members[f"CamVid/{split}annot/{name}.png"] = mask(list(range(12)), i)
        rows = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png" for name in ids]
        members[f"CamVid/{split}.txt"] = lines(rows)
    zipped(folder / "CamVid.zip", members)


def camvid_official(folder: Path) -> None:
    stills = ["0001TP_008520", "0001TP_008550", "0016E5_07920", "0016E5_07959", "0016E5_08159", "Seq05VD_f00000"]
    colours = np.array([(128, 128, 128), (128, 0, 0), (64, 192, 0), (0, 0, 0), (1, 2, 3)])
    names = {f"701_StillsRaw_full/{still}.png": picture(i, "PNG") for i, still in enumerate(stills)}
    zipped(folder / "701_StillsRaw_full.zip", names)
    painted = encoded(colours[label_map([0, 1, 2, 3, 4])], "PNG")
    zipped(folder / "LabeledApproved_full.zip", {f"{still}_L.png": painted for still in stills})


def ccp(folder: Path, first: str = "null") -> None:
    """A zip of the repository; `first`: the name of label 0."""
    members, top = {}, "clothing-co-parsing-master"
    for i, number in enumerate(("0001", "0003", "0004", "0009", "2098")):  # the last has labels of the image only
        members[f"{top}/photos/{number}.jpg"] = picture(i)
        level, key = ("image", "tags") if number == "2098" else ("pixel", "groundtruth")
        members[f"{top}/annotations/{level}-level/{number}.mat"] = mat(
            key, label_map([0, 19, 41, 58], i).astype(np.uint8)
        )
    names = np.array([first, *class_set("ccp").names[1:]], object)[None]
    members[f"{top}/label_list.mat"] = mat("label_list", names)
    zipped(folder / "clothing-co-parsing-master.zip", members)


BUILDERS = {
    builder.__name__: builder
    for builder in (ade20k, cityscapes, voc2012, pascal_context, pascal_context_json, lip, coco_stuff, coco_stuff_164k)
} | {"camvid": camvid, "camvid_official": camvid_official, "ccp": ccp}
