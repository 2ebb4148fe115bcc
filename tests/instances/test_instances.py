"""Mask R-CNN with a context block: data, detector, score, and the command that trains, scores and predicts."""

import json

import numpy as np
import pytest
import torch
from harness import call
from PIL import Image

from contextseg.commands.compose import compose, parsed
from contextseg.commands.instances.options import InstancesOptions
from contextseg.errors import ConfigError
from contextseg.instances.coco import CocoInstances
from contextseg.instances.data import InstanceDataset, mirrored
from contextseg.instances.detector import mask_rcnn
from contextseg.instances.scenes import InstanceScenes
from contextseg.instances.score import AveragePrecision
from contextseg.instances.target import as_tensors, boxes_of, for_training
from contextseg.papers import rows as paper_rows

SMALL = {"backbone": "resnet18", "sides": (64, 64), "anchor": 8, "proposals": 8}


# COCO's layout

H, W = 8, 10
POLYGON = [1, 1, 5, 1, 5, 4, 1, 4]  # columns 1 to 4, rows 1 to 3
CROWD = {"size": [H, W], "counts": [0, 2, 78]}  # the first two pixels, down the first column


def annotation(image, category, segmentation, box, crowd=0):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "bbox": box, "area": 12.0} | {
        "iscrowd": crowd
    }


@pytest.fixture
def coco(tmp_path):
    """Four images: two instances and a crowd, none, a crowd alone, a box of one pixel's width."""
    annotations = [
        annotation(7, 90, [POLYGON], [1, 1, 4, 3]),
        annotation(7, 3, [POLYGON], [1, 1, 4, 3]),
        annotation(7, 3, CROWD, [0, 0, 1, 2], crowd=1),
        annotation(9, 3, CROWD, [0, 0, 1, 2], crowd=1),
        annotation(10, 3, [POLYGON], [1, 1, 1, 3]),
    ]
    facts = {
        "images": [{"id": id, "file_name": f"{id:012}.png", "height": H, "width": W} for id in (7, 8, 9, 10)],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
        "annotations": annotations,
    }
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / f"{split}2017").mkdir()
        (tmp_path / f"annotations/instances_{split}2017.json").write_text(json.dumps(facts))
        for one in facts["images"]:
            Image.new("RGB", (W, H), (one["id"], 0, 0)).save(tmp_path / f"{split}2017" / one["file_name"])
    return tmp_path


def test_instances_of_coco_are_read(coco):
    source = CocoInstances(coco, "val")
    assert (len(source), source.names, source.category_ids) == (4, ["car", "toothbrush"], [3, 90])
    image, found = source.read(0)
    assert (image.shape, image[0, 0].tolist()) == ((H, W, 3), [7, 0, 0])
    assert found.labels.tolist() == [2, 1, 1]
    assert found.crowd.tolist() == [False, False, True]
    rectangle = np.zeros((H, W), np.uint8)
    rectangle[1:4, 1:5] = 1
    assert (found.masks[0] == rectangle).all()
    assert np.argwhere(found.masks[2]).tolist() == [[0, 0], [1, 0]]
    assert source.read(1)[1].masks.shape == (0, H, W)
    assert as_tensors(found)["boxes"].tolist()[0] == [1, 1, 5, 4]


def test_training_leaves_out_what_teaches_nothing(coco):
    source = CocoInstances(coco, "train", train=True)
    assert [one["id"] for one in source.images] == [7]
    assert for_training(source.read(0)[1]).labels.tolist() == [2, 1]
    assert len(InstanceDataset(source, seed=0)[0, 0][1]["labels"]) == 2


def test_what_is_no_coco_is_refused(coco):
    Image.new("RGB", (W + 1, H)).save(coco / "val2017/000000000007.png")
    with pytest.raises(ConfigError, match=r"000000000007.png has \(8, 11\) rows and columns, its annotation says"):
        CocoInstances(coco, "val").read(0)
    (coco / "annotations/instances_val2017.json").write_text("[]")
    with pytest.raises(ConfigError, match="holds no instances of COCO"):
        CocoInstances(coco, "val")
    with pytest.raises(ConfigError, match=r"no annotations/instances_test2017.json; expected are"):
        CocoInstances(coco, "test")


# the embedded scenes


def test_scenes_are_the_same_again_and_cover_each_other():
    for index in range(3):
        (image, found), (again, _) = (InstanceScenes(5, seed=1).read(index) for _ in range(2))
        assert (image == again).all()
        assert found.masks.sum(0).max() == 1, "a pixel belongs to one instance"
        assert found.areas.min() >= 40
        assert not (InstanceScenes(5, seed=2).read(index)[0] == image).all()
        mirror, turned = mirrored(image, found)
        boxes, there = boxes_of(found.masks), boxes_of(turned.masks)
        assert (mirror[:, 0] == image[:, -1]).all()
        assert (there[:, [0, 2]] == 128 - boxes[:, [2, 0]]).all()


# the detector


def test_the_block_stands_before_the_last_block_of_res4():
    torch.manual_seed(0)
    plain = mask_rcnn(3, **SMALL).eval()
    x, state = torch.rand(1, 3, 64, 64), plain.backbone.body.state_dict()
    for context, block in (("rcca", "CrissCrossAttention"), ("nonlocal", "NonLocal")):
        detector = mask_rcnn(3, context=context, **SMALL).eval()
        loops, _ = detector.backbone.body["layer3"][-1]
        assert (type(loops.block).__name__, loops.count) == (block, 2 if context == "rcca" else 1)
        inner = {name.replace("layer3.1.1.", "layer3.1."): v for name, v in detector.backbone.body.state_dict().items()}
        assert {name for name in inner if "layer3.1.0." not in name} == state.keys()
        names = {name: name.replace("layer3.1.", "layer3.1.1.") for name in state}
        detector.backbone.body.load_state_dict({names[name]: value for name, value in state.items()}, strict=False)
        for one, other in zip(*(d.backbone.body(x).values() for d in (plain, detector)), strict=True):
            torch.testing.assert_close(one, other)  # at the start it adds nothing
        loops.block.gate.data.fill_(1.0)
        _, _, res4, _ = detector.backbone.body(x).values()
        assert not torch.allclose(res4, plain.backbone.body(x)["2"])


@pytest.mark.slow
def test_backbones_weights_are_loaded_or_refused(tmp_path):
    source = mask_rcnn(3, **SMALL).backbone.body.state_dict()
    torch.save(source, tmp_path / "trunk.pth")
    detector = mask_rcnn(3, weights=str(tmp_path / "trunk.pth"), context="rcca", **SMALL)
    assert detector.backbone.body["conv1"].weight.equal(source["conv1.weight"])
    assert not detector.backbone.body["conv1"].weight.requires_grad
    assert detector.backbone.body["layer3"][-1][0].block.gate.requires_grad
    torch.save({"conv1.weight": source["conv1.weight"]}, tmp_path / "less.pth")
    with pytest.raises(ConfigError, match=r"less.pth: lacks \d+ tensors of resnet18, such as bn1"):
        mask_rcnn(3, weights=str(tmp_path / "less.pth"), **SMALL)


ROWS = {row["row"]: row["overrides"] for row in paper_rows.table("ccnet_t8")["rows"]}


def settings_of(overrides, root):
    options = parsed(InstancesOptions, compose([*overrides, f"root={root}", "weights=none"], "instances"))
    return options.settings()


def test_rows_of_the_paper_compose(coco):
    found = [settings_of(overrides, coco) for overrides in ROWS.values()]
    assert len(found) == 6
    assert {(one["backbone"], one["context"]) for one in found} == {
        (trunk, context) for trunk in ("resnet50", "resnet101") for context in ("none", "nonlocal", "rcca")
    }
    assert {(one["sides"], one["anchor"], one["recurrence"]) for one in found} == {((800, 1333), 32, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_paper_learn(coco, row):
    made = settings_of(ROWS[row], coco) | {"sides": (64, 64), "anchor": 8, "proposals": 8}
    learns(mask_rcnn(3, **made))


def test_every_parameter_learns():
    learns(mask_rcnn(3, context="rcca", **SMALL))


def learns(detector):
    dataset = InstanceDataset(InstanceScenes(2, seed=1, side=64), seed=0)
    images, targets = zip(*(dataset[0, index] for index in range(2)), strict=True)
    losses = detector.train()(list(images), list(targets))
    sum(losses.values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


# the score


def truth(count, seed=3):
    source = InstanceScenes(count, seed=seed, side=64)
    return [as_tensors(source.read(index)[1]) for index in range(count)]


def detections(targets, shift=0):
    return [
        {"boxes": one["boxes"] + shift, "labels": one["labels"], "scores": torch.linspace(0.9, 0.5, len(one["labels"]))}
        | {"masks": one["masks"][:, None].roll(shift, 3).float()}
        for one in targets
    ]


def test_what_is_found_exactly_scores_100():
    targets, score = truth(2), AveragePrecision()
    score.update(detections(targets), targets)
    found = score.compute()
    assert (found["box_ap"], found["mask_ap"]) == (100.0, 100.0)
    assert np.isnan(found["box_ap_large"]), "nothing is that large"
    score.update(detections(targets, shift=40), targets)
    assert score.compute()["box_ap"] < 1, "it starts anew"


def test_a_crowd_is_no_error():
    (target,) = truth(1)
    found, score = detections([target]), AveragePrecision()
    target["iscrowd"][0] = 1
    score.update(found, [target])
    assert score.compute()["mask_ap"] == 100.0


def on_rank(rank, folder):
    """Three images on two processes, one and two of them."""
    address = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    targets, score = truth(3), AveragePrecision()
    found = detections(targets, shift=1)
    score.update(found[rank::2], targets[rank::2])
    (folder / f"{rank}.json").write_text(json.dumps(score.compute()))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_each_image_counts_once_over_processes(tmp_path):
    torch.multiprocessing.spawn(on_rank, (tmp_path,), nprocs=2)
    targets, score = truth(3), AveragePrecision()
    score.update(detections(targets, shift=1), targets)
    alone = json.loads(json.dumps(score.compute()))
    for rank in range(2):
        np.testing.assert_equal(json.loads((tmp_path / f"{rank}.json").read_text()), alone)


# the command


@pytest.mark.slow
def test_it_trains_scores_and_predicts(tmp_path):
    small = ["trunk=resnet18", "sides=[64,64]", "train_size=4", "val_size=2", "batch_size=2", "max_steps=2", "warmup=1"]
    small += ["accelerator=cpu"]
    code, said = call("instances", *small, "context=rcca", f"output={tmp_path}/run")
    assert code == 0, said
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"box_ap", "mask_ap", "context", "parameters", "max_steps"} <= scores.keys()
    assert (tmp_path / "run/validation.png").is_file()
    ckpt = f"ckpt={tmp_path}/run/detector.ckpt"
    code, said = call("instances", *small, ckpt, f"output={tmp_path}/again")
    assert code == 0, said
    again = json.loads((tmp_path / "again/metrics.json").read_text())
    assert {name: again[name] for name in again if "_ap" in name} == {n: v for n, v in scores.items() if "_ap" in n}
    (tmp_path / "photos").mkdir()
    Image.fromarray(InstanceScenes(1, seed=4).read(0)[0]).save(tmp_path / "photos/one.png")
    given = [ckpt, f"images={tmp_path}/photos", f"output={tmp_path}/found", "least_score=0.0", "accelerator=cpu"]
    code, said = call("instances", *given)
    assert code == 0, said
    assert (tmp_path / "found/one.png").is_file()
    for one in json.loads((tmp_path / "found/instances.json").read_text()):
        assert one["image_id"] == "one"
        assert one["segmentation"]["size"] == [128, 128]


def test_mistakes_are_refused(tmp_path):
    for words, message in (
        (["images=."], "images=. without a detector: give ckpt=FILE"),
        (["batch_size=3", "devices=2"], "batch_size=3 is no multiple of devices=2"),
        (["weights=nope"], "weights=nope: no such file; give none, imagenet or a file"),
        (["source=coco_instances", f"root={tmp_path}/none"], "none: no such folder; give the folder of COCO"),
    ):
        code, said = call("instances", *words, f"output={tmp_path}/out")
        assert code == 2
        assert message in said
    (tmp_path / "detector.ckpt").touch()
    code, said = call("instances", f"output={tmp_path}")
    assert code == 2
    assert "holds a detector already" in said
