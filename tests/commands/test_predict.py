"""Labelling pictures: every kind of input, tiles, every format, videos, a webcam that is not there."""

import json
import os
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from harness import call
from PIL import Image

import contextseg
from contextseg import recipe as recipes
from contextseg.classes import class_set
from contextseg.commands.device import device
from contextseg.commands.predict import regions, video
from contextseg.commands.predict.inputs import find, output_names
from contextseg.errors import ConfigError
from contextseg.files import side_file
from contextseg.inference import WholeImage, tiles
from contextseg.inference.labeller import Labeller

CLASSES = class_set("context_scenes")
ALL = "formats=[labels,overlays,probabilities,polygons,coco_rle]"


@pytest.fixture
def checkpoint(trained):
    return trained.folder / "checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def network():
    """An FCN on `tiny` that nobody trained: 55 px of support, all kinds of labels on noise."""
    torch.manual_seed(0)
    model = contextseg.create_model("fcn", backbone="tiny", num_classes=len(CLASSES)).eval()
    model.classes = CLASSES
    torch.nn.init.normal_(model.head.classifier.weight)
    return model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(height=40, width=56, seed=0):
    """Coarse noise uint8 (H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].copy()


def photo(path, *size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(*size, seed=seed)).save(path)
    return path


def clip(path, frames=7, size=(64, 48), fps=12.5):
    """A video of noise; `size` is (width, height)."""
    code = {".mp4": "mp4v", ".avi": "MJPG"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, size)
    for i in range(frames):
        writer.write(picture(size[1], size[0], i))
    writer.release()
    return path


def video_facts(path):
    """Frames that can be read, (width, height), frames per second."""
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    return count, size, capture.get(cv2.CAP_PROP_FPS)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def labels_of(path):
    return np.asarray(Image.open(path))


def labeller(network, **given):
    return Labeller(network, WholeImage(), **{"batch_size": 1, "tile": "auto", "probabilities": False} | given)


# inputs


def test_what_an_input_may_be(here):
    one, two = photo(here / "photos/one.png"), photo(here / "photos/deep/er/two.JPG")
    movie = clip(here / "photos/movie.mp4")
    (here / "photos/notes.txt").write_text("no picture")
    assert find(str(one)) == ([one], [])
    assert find("photos")[0] == [one.relative_to(here)], "a folder: its images, not those below"
    assert [path.name for path in find("photos/**/*.*").images] == ["two.JPG", "one.png"]
    assert find("photos/**/*").videos == [movie.relative_to(here)]
    assert find(["webcam:1", str(movie), str(one), str(two), str(one)]) == ([one, two], [1, movie])
    odd = photo(here / "a[1].png")
    assert find(str(odd)).images == [odd], "a file that exists is no pattern"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nowhere", "input=nowhere: no such file or folder"),
        ("empty", "input=empty: no image in this folder"),
        ("*.jpg", "input=*.jpg: no image or video matches"),
        ([], "name an image, a folder"),
    ],
)
def test_an_input_that_is_not_there(here, given, says):
    (here / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        find(given)
    assert says in str(caught.value)


def test_no_two_inputs_share_a_name(here):
    paths = [
        here / name for name in ("a.png", "b.png", "b.jpg", "x/c.png", "y/c.png", "b_jpg.png", "A/d.png", "d_.png")
    ]
    paths += [here / name for name in ("x y.png", "e/f.png", "e-f.png", "e_f.png", "e/f.jpg", "g/e/f.png")]
    names = output_names([*paths, 0])
    assert names[paths[0]] == "a"
    assert names[0] == "webcam_0"
    assert len({name.casefold() for name in names.values()}) == len(paths) + 1
    assert not any("/" in name for name in names.values())


# tiles


@pytest.mark.parametrize("side", [128, 512])
@pytest.mark.parametrize("length", [1, 100, 128, 129, 512, 513, 900, 1024, 2047])
def test_windows_share_each_pixel_out(side, length):
    total, reached = torch.zeros(length), 0
    for window, weights in tiles.spans(length, side):
        assert window.start % tiles.GRID == 0
        assert window.start <= max(0, reached - side // 4), "an overlap of a quarter"
        assert window.stop - window.start <= side
        assert weights.min() >= 0
        total[window] += weights
        reached = window.stop
    assert reached == length
    torch.testing.assert_close(total, torch.ones(length))


def test_tiles_of_a_local_network_give_the_whole(network):
    image = picture(640, 1000)
    (whole,) = labeller(network, tile="none")([("", image)])
    (tiled,) = labeller(network, tile=384)([("", image)])
    assert len(np.unique(whole.labels)) > 3
    assert np.array_equal(tiled.labels, whole.labels)


def test_tiles_leave_no_seam():
    """A network that says something else in every window: its result changes by 16/side a pixel, and no faster."""

    def moody(window):
        level = torch.rand((), generator=moods)
        return torch.stack([level, 1 - level]).view(1, 2, 1, 1).expand(1, 2, *window.shape[-2:])

    moods = torch.Generator().manual_seed(0)
    image = torch.zeros(3, 700, 900, dtype=torch.uint8)
    parts = list(tiles.strips(moody, image, 256))
    found = torch.cat(parts, 1)
    assert found.shape == (2, 700, 900)
    assert max(found.diff(dim=1).abs().max(), found.diff(dim=2).abs().max()) <= 16 / 256 + 1e-6
    assert found.std() > 0.1
    torch.testing.assert_close(found.sum(0), torch.ones(700, 900))
    assert max(part.untyped_storage().nbytes() for part in parts) <= 4 * 2 * 256 * 900, "never more than a strip"


def test_which_images_are_cut():
    assert tiles.side("auto", (1024, 2048), 19) is None
    assert tiles.side("auto", (3000, 4000), 12) == 1024
    assert tiles.side("auto", (8000, 10000), 12) == 512, "a strip of probabilities stays below 256 MiB"
    assert tiles.side("auto", (8000, 10000), 150) == 256
    assert tiles.side("none", (8000, 10000), 12) is None
    assert (tiles.side(256, (256, 256), 12), tiles.side(256, (100, 257), 12)) == (None, 256)


def test_probabilities_that_are_too_large_are_refused(network):
    with pytest.raises(ConfigError, match=r"big\.png: 10000x8000 probabilities of 12 classes are 1\.9 GB; leave"):
        labeller(network, probabilities=True).check("big.png", np.empty((8000, 10000, 3), np.uint8))


def test_batches_change_nothing(network):
    images = [(str(i), picture(40 + 8 * (i > 3), 56, i)) for i in range(7)] + [("large", picture(40, 300))]
    images.insert(2, ("large one", picture(200, 40)))
    alone, together = (list(labeller(network, batch_size=n, tile=128)(images)) for n in (1, 3))
    assert [done.name for done in together] == [name for name, _ in images]
    for one, other in zip(alone, together, strict=True):
        assert (one.labels != other.labels).mean() < 1e-3  # the last bit depends on the batch


# formats


def redrawn(rings, shape):
    """Closed rings along the edges of pixels -> mask (H, W): each upright edge turns over what lies right of it."""
    mask = np.zeros(shape, bool)
    for ring in rings:
        assert ring[0] == ring[-1]
        for (x, y), (x2, y2) in pairwise(ring):
            assert (x == x2) != (y == y2), "along one edge"
            mask[min(y, y2) : max(y, y2), x:] ^= True
    return mask


@pytest.mark.parametrize("coarse", [1, 3])
def test_polygons_are_the_regions(coarse):
    labels = np.random.default_rng(0).integers(0, 3, (31, 44), np.uint8).repeat(coarse, 0).repeat(coarse, 1)
    again = np.full_like(labels, 255)
    for feature in regions.features(labels, CLASSES):
        mask = redrawn(feature["geometry"]["coordinates"], labels.shape)
        assert (again[mask] == 255).all(), "no pixel twice"
        again[mask] = feature["properties"]["train_id"]
        assert feature["properties"]["class"] == CLASSES.names[feature["properties"]["train_id"]]
    assert np.array_equal(again, labels)


def test_a_ring_and_a_hole():
    mask = np.ones((3, 4), bool)
    mask[1, 1:3] = False
    ((outer, hole),) = list(regions.polygons(mask))
    assert sorted(outer[1:]) == [[0, 0], [0, 3], [4, 0], [4, 3]]
    assert sorted(hole[1:]) == [[1, 1], [1, 2], [3, 1], [3, 2]]
    assert list(regions.polygons(np.zeros((3, 4), bool))) == []


def test_every_format(here, checkpoint):
    masks = pytest.importorskip("pycocotools.mask")
    for i, size in enumerate([(40, 56), (40, 56), (48, 33)]):
        photo(here / f"photos/{i}.png", *size, seed=i)
    code, said = call("predict", f"ckpt={checkpoint}", "input=photos", "output=out", ALL, "batch_size=2")
    assert code == 0, said
    kinds = {"labels": "png", "overlays": "png", "probabilities": "npz", "polygons": "json"}
    assert files(here / "out") == sorted([f"{k}/{i}.{e}" for k, e in kinds.items() for i in range(3)] + ["coco.json"])
    coco = json.loads((here / "out/coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == list(CLASSES.names)
    for i in range(3):
        labels = labels_of(f"out/labels/{i}.png")
        stored = np.load(f"out/probabilities/{i}.npz")
        assert stored["probabilities"].shape == (len(CLASSES), *labels.shape)
        assert np.abs(stored["probabilities"].astype(np.float32).sum(0) - 1).max() < 2e-3
        taken = np.take_along_axis(stored["probabilities"], labels[None].astype(int), 0)
        assert (taken == stored["probabilities"].max(0)).all()
        assert stored["classes"].tolist() == list(CLASSES.names)
        collection = json.loads((here / f"out/polygons/{i}.json").read_text())
        assert {one["properties"]["train_id"] for one in collection["features"]} == set(np.unique(labels).tolist())
        again = np.full_like(labels, 255)
        number = next(image["id"] for image in coco["images"] if image["file_name"] == f"{i}.png")
        for found in (one for one in coco["annotations"] if one["image_id"] == number):
            mask = masks.decode(found["segmentation"]).astype(bool)
            assert found["area"] == mask.sum()
            again[mask] = found["category_id"]
        assert np.array_equal(again, labels)
        assert Image.open(f"out/overlays/{i}.png").size == labels.shape[::-1]


def test_a_missing_library_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'contextseg\[coco\]'"):
        regions.Coco(CLASSES)


# mistakes


def test_a_broken_file_is_skipped_and_named(here, checkpoint):
    photo(here / "photos/good.png")
    (here / "photos/bad.png").write_bytes(b"no picture")
    half = photo(here / "photos/half.jpg", 80, 80)
    half.write_bytes(half.read_bytes()[:-500])
    code, said = call("predict", f"ckpt={checkpoint}", "input=photos", "output=out")
    assert code == 1
    assert "error: 2 of the inputs skipped: cannot read photos/bad.png" in said
    assert "cannot read photos/half.jpg" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert files(here / "out") == ["labels/good.png", "overlays/good.png"], "the other files are labelled"


def test_a_name_that_is_too_long_is_skipped_and_told(here, checkpoint):
    long, pair = "l" * 246, "p" * 250
    for name in ("a.png", f"{long}.jpg", f"{pair}.jpg", f"{pair}.png", "p.tiff"):
        photo(here / "photos" / name)
    photo(here / "photos" / f"{'v' * 251}.png")
    code, said = call("predict", f"ckpt={checkpoint}", "input=photos", "output=out", "formats=[labels,overlays]")
    assert code == 1
    assert "2 of the inputs skipped: " in said
    assert "a result called pppppppppppppppppppp... has 258 bytes in its name" in " ".join(said.split())
    written = sorted(path.name for path in (here / "out/labels").iterdir())
    assert written == sorted(["a.png", f"{long}.png", "p.png", f"{'v' * 251}.png"])


def test_nothing_is_left_half_written(here):
    def interrupted():
        with side_file(here / "new/a.png") as side:
            side.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert files(here) == []


@pytest.mark.parametrize(
    "says",
    [
        "device=tpu: give one of auto, cpu, gpu, cuda",
        "tile=500: give auto, none, or the side of the windows, a multiple of 128 pixels",
        "tile=half: give one of auto, none, or a whole number",
        "batch_size=0: give a whole number",
        "frames=0.5: give a whole number",
        "max_megapixels=0: give a number, above 0",
        "formats=[label]: give one or several of labels, overlays, probabilities, polygons, coco_rle; several: [",
        "video_formats=[]: give overlays, labels, or both: [overlays,labels]",
    ],
)
def test_mistakes(here, checkpoint, says):
    photo(here / "one.png")
    code, said = call("predict", f"ckpt={checkpoint}", "input=one.png", "output=out", says.split(":")[0])
    assert code == 2
    assert f"error: {says}" in said
    assert not (here / "out").exists()


def test_a_device_is_chosen_by_its_own_option(here, checkpoint):
    code, said = call("predict", f"ckpt={checkpoint}", "input=.", "output=out", "trainer=cpu")
    assert code == 2
    assert said.endswith("predict has no such group; give device=cpu, gpu or auto\n")
    if torch.cuda.is_available():
        assert device("gpu").type == "cuda"
    else:
        with pytest.raises(ConfigError, match="device=gpu: torch sees no CUDA device; give auto or cpu"):
            device("gpu")


# videos


@pytest.mark.parametrize("size", [(64, 48), (65, 47)])
def test_a_video(here, checkpoint, size):
    source = clip(here / "movie.avi", size=size)
    count, seen, fps = video_facts(source)
    both = "video_formats=[overlays,labels]"
    code, said = call("predict", f"ckpt={checkpoint}", "input=movie.avi", "output=out", both, "batch_size=3")
    assert code == 0, said
    even = tuple(side + side % 2 for side in seen)
    assert video_facts(here / "out/videos/movie.mp4") == (count, even, fps) == (7, even, 12.5)
    assert files(here / "out/labels") == [f"movie/{i:06d}.png" for i in range(7)]
    assert labels_of("out/labels/movie/000003.png").shape == seen[::-1]


@pytest.fixture
def of_clips(here):
    """A checkpoint of a network for clips of three frames, which nobody trained."""
    nodes = {"backbone": {"_target_": "Tiny"}, "neck": {"_target_": "NoNeck"}, "aux_head": None}
    nodes["head"] = {"_target_": "CCNet3DHead", "frames": 3, "channels": 8}
    facts = {"format": 2, "align_corners": False, "attention": "learned", "classes": CLASSES.to_dict(), "versions": {}}
    torch.manual_seed(0)
    network = recipes.network(nodes | facts)
    torch.nn.init.normal_(network.head.classifier.weight)
    weights = {f"segmenter.{name}": value for name, value in network.state_dict().items()}
    torch.save({"recipe": facts | nodes, "state_dict": weights, "global_step": 0, "config": {}}, here / "clips.ckpt")
    return network.eval()


def test_a_network_for_clips_is_shown_the_frames_around(here, of_clips):
    """Of a video and of a folder of its frames: the same labels, which are those of the clips."""
    frames = [picture(48, 64, seed) for seed in range(3)]
    for number, frame in enumerate(frames):
        (here / "frames").mkdir(exist_ok=True)
        Image.fromarray(frame).save(here / f"frames/A_{number:03d}.png")
    wanted = [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    clips = [torch.from_numpy(np.stack([frames[i] for i in clip])).permute(0, 3, 1, 2)[None] for clip in wanted]
    expected = [WholeImage()(of_clips.logits, clip)[0].numpy() for clip in clips]
    code, said = call("predict", "ckpt=clips.ckpt", "input=frames", "output=out", "formats=labels")
    assert code == 0, said
    for number, labels in enumerate(expected):
        assert np.array_equal(labels_of(f"out/labels/A_{number:03d}.png"), labels)
    still = WholeImage()(of_clips.logits, torch.from_numpy(frames[1]).permute(2, 0, 1)[None])[0].numpy()
    assert not np.array_equal(still, expected[1])
    photo(here / "frames/B_000.png", 40, 40)
    code, said = call("predict", "ckpt=clips.ckpt", "input=frames/B_000.png", "output=out", "formats=labels")
    assert code == 0, said
    assert "1 of 1 images have no frame beside them" in said

    source = clip(here / "movie.avi", frames=3)
    read = list(video.Frames(source))
    shown = torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2)[None]
    call("predict", "ckpt=clips.ckpt", "input=movie.avi", "output=out", "video_formats=labels")
    expected = WholeImage()(of_clips.logits, shown)[0].numpy()
    assert np.array_equal(labels_of("out/labels/movie/000001.png"), expected)
    call("predict", "ckpt=clips.ckpt", "input=movie.avi", "output=wide", "video_formats=labels", "clip_step=2")
    near, far = (labels_of(f"{place}/labels/movie/000000.png") for place in ("out", "wide"))
    assert not np.array_equal(near, far)


def test_an_odd_frame_loses_nothing(here, checkpoint, monkeypatch):
    with monkeypatch.context() as patch:
        webcam(patch, [picture(47, 65, i) for i in range(3)])
        code, said = call("predict", f"ckpt={checkpoint}", "input=webcam:0", "output=out")
    assert code == 0, said
    assert video_facts(here / "out/videos/webcam_0.mp4")[:2] == (3, (66, 48))


def test_a_video_is_stopped_in_time_or_breaks_off(here, checkpoint):
    source, code = clip(here / "movie.avi", frames=20), f"ckpt={checkpoint}"
    assert call("predict", code, "input=movie.avi", "output=out", "frames=5")[0] == 0
    assert video_facts(here / "out/videos/movie.mp4")[0] == 5
    (here / "broken.mp4").write_bytes(b"no video")
    (here / "short.avi").write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    code, said = call("predict", code, "input=[broken.mp4,short.avi,movie.avi]", "output=more")
    assert code == 1
    last = said.splitlines()[-1]
    assert "cannot open broken.mp4; is it a whole video?" in last
    assert "short.avi" in last
    assert "videos/movie.mp4" in files(here / "more")
    assert not [name for name in files(here / "more") if "part" in name or "broken" in name]


# a webcam


def webcam(monkeypatch, frames, interrupt=False):
    """In place of any webcam: these frames, and at their end Ctrl-C or nothing more."""

    class Fake:
        def __init__(self, number):
            assert number == 0
            self.left, self.released = list(frames), False

        def isOpened(self):
            return True

        def get(self, what):
            return 0.0 if what == cv2.CAP_PROP_FPS else -1.0

        def read(self):
            if self.left:
                return True, self.left.pop(0)
            if interrupt:
                raise KeyboardInterrupt
            return False, None

        def release(self):
            released.append(self)

    released = []
    monkeypatch.setattr(cv2, "VideoCapture", Fake)
    return released


def test_a_webcam_until_ctrl_c(here, checkpoint, monkeypatch):
    with monkeypatch.context() as patch:
        released = webcam(patch, [picture(48, 64, i) for i in range(4)], interrupt=True)
        code, said = call("predict", f"ckpt={checkpoint}", "input=webcam:0", "output=out")
        assert code == 0, said
        assert "webcam:0: stopped" in said
        assert len(released) == 1
    assert video_facts(here / "out/videos/webcam_0.mp4") == (4, (64, 48), 25.0)
    with monkeypatch.context() as patch:
        webcam(patch, [])
        code, said = call("predict", f"ckpt={checkpoint}", "input=webcam:0", "output=none")
    assert code == 1
    assert "webcam:0: there is no frame" in said
    assert files(here / "none") == []


def test_no_webcam(here, checkpoint):
    if os.path.exists("/dev/video7"):
        pytest.skip("there is one")
    code, said = call("predict", f"ckpt={checkpoint}", "input=webcam:7", "output=out")
    assert code == 1
    assert "cannot open webcam:7; is it plugged in and free?" in said
