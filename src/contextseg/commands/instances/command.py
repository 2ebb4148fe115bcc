"""Training, scoring and using a detector of instances."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from torchvision.models.detection import MaskRCNN

from contextseg import viz
from contextseg.commands.instances.options import InstancesOptions
from contextseg.commands.predict.inputs import find, output_names
from contextseg.console import progress
from contextseg.data.pixels import Reading, read_image
from contextseg.errors import ConfigError
from contextseg.files import write_atomically
from contextseg.instances import checkpoint
from contextseg.instances.coco import CocoInstances
from contextseg.instances.data import InstanceData, InstanceDataset
from contextseg.instances.detector import mask_rcnn
from contextseg.instances.module import InstanceModule
from contextseg.instances.pictures import drawn
from contextseg.instances.scenes import InstanceScenes
from contextseg.instances.target import InstanceSource

log = logging.getLogger(__name__)
SHOWN = 6  # validation images in the picture


def main(options: InstancesOptions) -> None:
    """Do what the options ask for."""
    instances(options)


def instances(options: InstancesOptions) -> dict:
    """Train and score a detector, or with `ckpt` score it, or with `images` find instances.

    Returns the scores, or the number of instances by image. Raises `ConfigError` for data of other classes.
    """
    if options.ckpt is not None and options.images is not None:
        return found_in(options)
    L.seed_everything(options.seed, verbose=False)
    training = options.ckpt is None
    train, val = sources(options, training)
    if options.ckpt is None:
        detector, names = mask_rcnn(len(val.names), **options.settings()), list(val.names)
    else:
        detector, names = checkpoint.load(options.ckpt)
        if names != list(val.names):
            raise ConfigError(f"ckpt={options.ckpt}: its classes are not those of source={options.source}")
    data = InstanceData(
        train,
        val,
        batch_size=options.batch_size,
        max_steps=options.max_steps,
        seed=options.seed,
        num_workers=options.num_workers,
    )
    module = InstanceModule(detector, lr=options.lr, max_steps=options.max_steps, warmup=options.warmup)
    trainer = L.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        max_steps=options.max_steps,
        use_distributed_sampler=False,
        limit_val_batches=1.0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=options.max_steps + 1,
        enable_checkpointing=False,
        logger=CSVLogger(options.output, name="", version="log") if training else False,
        log_every_n_steps=10,
        enable_model_summary=False,
    )
    if training:
        trainer.fit(module, data)
        if trainer.is_global_zero:
            checkpoint.save(options.output / "detector.ckpt", detector, options.settings(), names)
    trainer.validate(module, data, verbose=False)
    if trainer.is_global_zero:
        report(options, detector, val, names, module.scores)
    return module.scores


def sources(options: InstancesOptions, training: bool) -> tuple[InstanceSource | None, InstanceSource]:
    """Return the training images, if they are needed, and those of validation."""
    if options.source == "coco_instances":
        train = CocoInstances(options.root, "train", train=True) if training else None
        return train, CocoInstances(options.root, "val")
    return InstanceScenes(options.train_size, seed=1), InstanceScenes(options.val_size, seed=2)


def report(
    options: InstancesOptions, detector: MaskRCNN, val: InstanceSource, names: Sequence[str], scores: dict
) -> None:
    """Write metrics.json and a sheet of validation images, truth beside what was found; log the scores."""
    facts = {"source": options.source, "images": len(val), "seed": options.seed} | options.settings()
    if options.ckpt is None:
        facts |= {"max_steps": options.max_steps, "batch_size": options.batch_size, "lr": options.lr}
    facts |= {"parameters": sum(p.numel() for p in detector.parameters())}
    rounded = {name: None if np.isnan(value) else round(value, 2) for name, value in scores.items()}
    write_atomically(options.output / "metrics.json", json.dumps(facts | rounded, indent=1) + "\n")
    detector.eval()
    device, tiles = next(detector.parameters()).device, []
    dataset = InstanceDataset(val)
    for index in np.linspace(0, len(val) - 1, min(SHOWN, len(val))).astype(int):
        image, target = dataset[0, int(index)]
        with torch.no_grad():
            (found,) = detector([image.to(device)])
        pair = [drawn(image, one, list(names), options.least_score) for one in (target, found)]
        tiles.append(viz.caption(np.concatenate(pair, axis=1), f"{index}: truth, found"))
    viz.save(viz.sheet(tiles, columns=2), options.output / "validation.png")
    log.info(
        "box AP %.1f, mask AP %.1f on %d images; %s", scores["box_ap"], scores["mask_ap"], len(val), options.output
    )


@torch.no_grad()
def found_in(options: InstancesOptions) -> dict:
    """Find instances in images: a picture of each, and instances.json in COCO's format of results.

    There `image_id` is the name of the picture and `category_id` the place of the class, from 1.
    """
    from pycocotools import mask as codes

    assert options.ckpt is not None
    detector, names = checkpoint.load(options.ckpt)
    device = "cuda" if options.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    detector.to(device)
    results, counts = [], {}
    names_of = output_names(find(str(options.images)).images)
    with progress() as bar:
        for path, name in bar.track(names_of.items(), description="finding instances"):
            assert isinstance(path, Path)
            pixels = read_image(path, Reading(upright=True))
            image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
            (found,) = detector([image.to(device)])
            viz.save(drawn(image, found, names, options.least_score), options.output / f"{name}.png")
            keep = found["scores"] >= options.least_score
            counts[name] = int(keep.sum())
            parts = (found[key][keep].cpu().numpy() for key in ("boxes", "labels", "scores", "masks"))
            for box, label, score, mask in zip(*parts, strict=True):
                code = codes.encode(np.asfortranarray((mask[0] > 0.5).astype(np.uint8)))
                left, top, right, bottom = (round(float(value), 2) for value in box)
                results.append(
                    {"image_id": name, "category_id": int(label), "category": names[int(label) - 1]}
                    | {"bbox": [left, top, round(right - left, 2), round(bottom - top, 2)]}
                    | {"score": round(float(score), 4)}
                    | {"segmentation": {"size": list(mask.shape[1:]), "counts": code["counts"].decode()}}
                )
    write_atomically(options.output / "instances.json", json.dumps(results) + "\n")
    log.info("%d instances in %d images; %s", len(results), len(counts), options.output)
    return counts
