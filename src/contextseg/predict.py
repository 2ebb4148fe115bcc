"""Label images with a checkpoint alone: no configuration of the training, no data set."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image

from contextseg import build, viz
from contextseg.callbacks.progress import progress
from contextseg.checkpoint import load_checkpoint
from contextseg.contract import ConfigError
from contextseg.data.source import read_image
from contextseg.segmenter import Segmenter

log = logging.getLogger(__name__)
EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}


def predict(cfg: DictConfig) -> list[Path]:
    """Write labels and overlays of the image(s) `cfg.input` into the folder `cfg.output`; returns the label files.

    A file that cannot be read is skipped; at the end that is a `ConfigError`, so that the exit code says it.
    """
    place = device(cfg.device)
    files = images(Path(cfg.input))
    network = load_checkpoint(cfg.ckpt).to(place)
    predictor = build.predictor(cfg, network)
    output = Path(cfg.output)
    for folder in ("labels", "overlays"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    names = output_names(files)
    written, broken = [], []
    with progress() as bar:
        for file in bar.track(files, description="predict"):
            try:
                image = read_image(file)
            except ConfigError as error:
                broken.append(str(error))
                continue
            labels = label(network, predictor, image)
            written.append(output / "labels" / f"{names[file]}.png")
            save_labels(labels, network, written[-1])
            picture = viz.overlay(image, labels, network.classes)
            Image.fromarray(picture).save(output / "overlays" / f"{names[file]}.png")
    log.info("%d of %d images labelled: %s", len(written), len(files), output)
    if broken:
        raise ConfigError(f"{len(broken)} of {len(files)} files skipped: {'; '.join(broken[:5])}")
    return written


def images(path: Path) -> list[Path]:
    """The image itself, or the images of a folder in order. Raises `ConfigError` if there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(f"input={path}: no such file or folder")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in EXTENSIONS)
    if not files:
        raise ConfigError(f"input={path}: no image in this folder (looked for {' '.join(sorted(EXTENSIONS))})")
    return files


def output_names(files: list[Path]) -> dict[Path, str]:
    """A name for each file: its stem, or the whole name where two files share a stem."""
    stems = [file.stem for file in files]
    return {file: file.stem if stems.count(file.stem) == 1 else file.name.replace(".", "_") for file in files}


def device(wanted: str) -> torch.device:
    """The device meant by `device=`: "auto" is a GPU if there is one."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted not in ("cpu", "cuda") or (wanted == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"device={wanted}: choose auto or cpu{', or cuda' if torch.cuda.is_available() else ''}")
    return torch.device(wanted)


def label(network: Segmenter, predictor: Callable, image: np.ndarray) -> np.ndarray:
    """Image uint8 (H, W, 3) -> labels uint8 (H, W)."""
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].to(network.backbone.mean.device)
    return predictor(network.logits, batch)[0].cpu().numpy()


def save_labels(labels: np.ndarray, network: Segmenter, path: Path) -> None:
    """Write train ids (H, W) as an indexed PNG in the colours of the classes."""
    picture = Image.fromarray(labels)
    picture.putpalette([value for colour in network.classes.palette for value in colour])
    picture.save(path)
