"""Maps of whole images: what they equal, cached or not, and that no wrong file is ever read."""

import json

import numpy as np
import pytest
import torch
from harness import PowerCut, call, disturb, last_checkpoint, train
from PIL import Image

from contextseg.backbones import feature_cache
from contextseg.backbones.feature_cache import ALIGNMENT, CachedFeatures, Features
from contextseg.backbones.tiny import Tiny
from contextseg.data.maps import MapDataset
from contextseg.data.source import FileSource, Source
from contextseg.errors import ConfigError

WHOLE = ("backbone.freeze=true", "features.whole=true", "data.num_workers=0", "data.train_size=12", "optim=sgd")


class Pictures(Source):
    """Three images of two sizes; their masks count the columns."""

    def __init__(self):
        super().__init__(num_classes=250)
        rng = np.random.default_rng(0)
        self.pictures = [
            rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((40, 56), (37, 50), (16, 16))
        ]

    def __len__(self):
        return len(self.pictures)

    def load(self, index):
        image = self.pictures[index]
        return image, np.broadcast_to(np.arange(image.shape[1], dtype=np.uint8), image.shape[:2]).copy(), str(index)


@pytest.fixture
def backbone():
    return Tiny().eval()


def filled(folder, backbone, dtype="float32", images=None):
    images = images or Pictures()
    cache = CachedFeatures(folder, backbone, {"_target_": "Tiny"}, dtype)
    assert list(cache.build(images, cache.missing(images))) == cache_order(images)
    return cache


def cache_order(images):
    return list(range(len(images)))


def maps_of(backbone, image):
    with torch.no_grad():
        return [one[0] for one in backbone(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])]


@pytest.mark.parametrize("mirrored", [False, True])
def test_cached_maps_are_those_of_the_whole_image(tmp_path, backbone, mirrored):
    images, cache = Pictures(), filled(tmp_path, backbone)
    for index, image in enumerate(images.pictures):
        expected = maps_of(backbone, image[:, ::-1] if mirrored else image)
        for found in (cache.maps(images, index, mirrored), Features(backbone).maps(images, index, mirrored)):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_half_precision_is_near(tmp_path, backbone):
    images, cache = Pictures(), filled(tmp_path, backbone, "float16")
    for found, expected in zip(cache.maps(images, 0, False), maps_of(backbone, images.pictures[0]), strict=True):
        assert found.dtype == torch.float16
        torch.testing.assert_close(found.float(), expected, rtol=2**-10, atol=2**-14)


def test_values_beyond_half_precision_are_refused(tmp_path, backbone, monkeypatch):
    monkeypatch.setattr(Features, "compute", lambda *_: [torch.full((1, 2, 2), 1e6)])
    with pytest.raises(
        ConfigError, match=r"image 0: its maps have values beyond float16; give features\.dtype=float32"
    ):
        filled(tmp_path, backbone, "float16")


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("crop", [(16, 24), (64, 64), (37, 51)])
def test_a_crop_of_maps_shows_what_the_crop_of_the_mask_shows(backbone, flip, crop):
    """A backbone whose maps are the positions of their cells, so that a window can be told from its values."""

    class Positions(Features):
        def compute(self, image, mirrored):
            columns = torch.arange(image.shape[1])
            columns = columns.flip(0) if mirrored else columns
            rows = torch.arange(image.shape[0])
            grids = [torch.stack(torch.meshgrid(rows[::s], columns[::s], indexing="ij")) for s in self.strides]
            return [grid.float() + 1 for grid in grids]  # 0 is outside

    images, starts = Pictures(), set()
    dataset = MapDataset(images, Positions(backbone), crop_size=crop, flip=flip, seed=3)
    for epoch in range(12):
        maps, mask, _ = dataset[(epoch, 0)]
        assert mask.shape == crop
        for one, stride in zip(maps, backbone.strides, strict=True):
            assert one.shape[1:] == tuple(-(-side // stride) for side in crop)
            seen = mask[::stride, ::stride]
            inside = seen != 255
            assert torch.equal(one[1][inside] - 1, seen[inside].float()), "columns, mirrored as the mask is"
            assert (one[:, ~inside] == 0).all()
            starts.add(int(one[0, 0, 0]) - 1)
        first = int(maps[0][0, 0, 0]) - 1
        assert torch.equal(mask[:, 0] == 255, torch.arange(crop[0]) >= images.pictures[0].shape[0] - first)
    assert all(start % max(backbone.strides) == 0 for start in starts)


def test_a_run_is_the_same_with_and_without_cache(tmp_path):
    """Bit for bit, scores too; the second cached run computes nothing."""
    computed = train(tmp_path / "a", *WHOLE, "+data.transform={_target_:TrainTransform,crop_size:48,flip:0.5}")
    more = (
        *WHOLE,
        "+data.transform={_target_:TrainTransform,crop_size:48,flip:0.5}",
        f"features.cache={tmp_path}/maps",
    )
    cached = train(tmp_path / "b", *more)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "maps").rglob("*.maps")}
    assert len(files) == 12 + 8
    again = train(tmp_path / "c", *more, "data.num_workers=1")
    assert files == {file: file.stat().st_mtime_ns for file in files}
    weights = [last_checkpoint(run.folder)["state_dict"] for run in (computed, cached, again)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
        assert torch.equal(value, weights[2][name]), name
    assert computed.metrics["iou"] == cached.metrics["iou"] == again.metrics["iou"]


def test_a_restart_reads_maps_of_the_weights_of_the_run(tmp_path):
    """Other initial weights on the second start, as after an update of a package, change nothing."""
    more = [*WHOLE, "+data.transform={_target_:TrainTransform,flip:0.5}", f"features.cache={tmp_path}/maps"]
    whole = train(tmp_path / "whole", *more)
    with pytest.raises(PowerCut):
        train(tmp_path / "cut", *more, disturb(7))
    before = Tiny.__init__

    def other(self, *args, **settings):
        before(self, *args, **settings)
        self.stem[0].weight.data.mul_(0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tiny, "__init__", other)
        resumed = train(tmp_path / "cut", *more, "resume=auto")
    a, b = (last_checkpoint(run.folder)["state_dict"] for run in (whole, resumed))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("damage", ["a byte", "the end", "another key", "no header"])
def test_a_damaged_or_foreign_file_is_made_again(tmp_path, backbone, damage):
    images, cache = Pictures(), filled(tmp_path, backbone)
    path = cache.file(images.fingerprint(1))
    content = bytearray(path.read_bytes())
    if damage == "a byte":
        content[ALIGNMENT + 100] ^= 1
    elif damage == "the end":
        del content[-10:]
    elif damage == "another key":
        content = bytearray(content[:ALIGNMENT].replace(cache.key.encode(), b"0" * 16) + content[ALIGNMENT:])
    else:
        content[:ALIGNMENT] = bytes(ALIGNMENT)
    path.write_bytes(content)
    fresh = CachedFeatures(tmp_path, backbone, {"_target_": "Tiny"})
    assert fresh.missing(images) == [1]
    list(fresh.build(images, [1]))
    assert not CachedFeatures(tmp_path, backbone, {"_target_": "Tiny"}).missing(images)


def test_other_weights_settings_or_types_have_a_folder_of_their_own(tmp_path, backbone):
    first = CachedFeatures(tmp_path, backbone, {"output_stride": 8})
    others = [CachedFeatures(tmp_path, backbone, {"output_stride": 16})]
    others += [CachedFeatures(tmp_path, backbone, {"output_stride": 8}, "float16")]
    for change in ("mean", "stem.0.weight", "stem.1.running_mean"):
        changed = Tiny().eval()
        changed.load_state_dict(backbone.state_dict())
        changed.state_dict()[change].add_(1e-3)
        others += [CachedFeatures(tmp_path, changed, {"output_stride": 8})]
    assert len({cache.key for cache in (first, *others)}) == 6


def test_too_little_space_is_told_before_anything_is_written(tmp_path, backbone, monkeypatch):
    cache, image = CachedFeatures(tmp_path, backbone, {}), Pictures().pictures[0]
    usage = feature_cache.shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        ConfigError, match=r"features\.cache=.*: the maps of 99 images need 0\.\d GB and 0\.0 GB are free"
    ):
        cache.check_space(99, image, "features.cache")
    assert not list(cache.folder.iterdir())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["features.whole=true"], r"features\.whole=true: the maps stay the same only if backbone\.freeze=true"),
        (["features.whole=true", "backbone.freeze=1"], r"only if backbone\.freeze=true"),
        ([*WHOLE, "features.dtype=float16"], r"features\.dtype=float16: it is that of the cache"),
        ([*WHOLE, "features.cache=/dev/null"], r"features\.cache=/dev/null: Not a directory; give a folder"),
        (["features.cache=x"], r"features\.cache=x: without features\.whole=true nothing is cached"),
        (
            [*WHOLE, "+data.transform={_target_:TrainTransform,scale:[0.5,2],hue:0.1}"],
            r"data\.transform: .* crops and mirrors only, and this one has ColorJitter, RandomScale",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, overrides, said):
    with pytest.raises(ConfigError, match=said):
        train(tmp_path, *overrides)


def test_the_command_lists_and_deletes(tmp_path, backbone):
    cache = filled(tmp_path / "maps", backbone)
    (tmp_path / "maps/mine").mkdir()
    code, said = call("features", f"cache={tmp_path}/maps")
    assert code == 0
    assert cache.key in said
    code, said = call("features", f"cache={tmp_path}/maps", "delete=mine")
    assert code == 2
    assert "delete=mine: no such cache" in said
    assert call("features", f"cache={tmp_path}/maps", "delete=all")[0] == 0
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["mine"]
    code, said = call("features", "cache=/nope")
    assert code == 2
    assert "cache=/nope: no such folder" in said


def test_a_damaged_record_hides_no_other_cache(tmp_path, backbone):
    cache = filled(tmp_path, backbone)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/backbone.json").write_text("{")
    code, said = call("features", f"cache={tmp_path}")
    assert code == 0
    assert cache.key in said
    assert "damaged" in said
    assert call("features", f"cache={tmp_path}", "delete=bad")[0] == 0
    assert not (tmp_path / "bad").exists()


def test_a_complete_cache_is_only_read_and_parts_of_a_killed_build_go(tmp_path):
    more = [*WHOLE, "+data.transform={_target_:TrainTransform,flip:0.5}", f"features.cache={tmp_path}/maps"]
    train(tmp_path / "a", *more)
    (folder,) = (tmp_path / "maps").iterdir()
    (folder / ".part_1_x.maps").touch()
    next(folder.glob("*.maps")).unlink()
    train(tmp_path / "b", *more)
    assert not list(folder.glob(".part*"))
    (folder / "lock").unlink()
    train(tmp_path / "c", *more)
    assert not (folder / "lock").exists()


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    Image.new("L", (90, 90)).save(tmp_path / "a_mask.png")
    pairs = [(tmp_path / "a.png", tmp_path / "a_mask.png")]
    source = FileSource(pairs, 3, labels=lambda path: np.array(Image.open(path)))
    with pytest.raises(ConfigError, match=r"a_mask\.png has size 90x90 and its image 40x40"):
        source.read_mask(0)


def test_the_header_says_what_made_a_cache(tmp_path, backbone):
    cache = filled(tmp_path, backbone)
    about = json.loads((cache.folder / "backbone.json").read_text())
    assert about["backbone"] == {"_target_": "Tiny"}
    assert about["weights"] == feature_cache.content(backbone)
