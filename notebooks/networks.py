"""What the notebooks share: a network by its name, trained once and then found again, and one question to several.

STEPS        optimizer steps of a training (1500)
RUNS         the folder that keeps the runs, RUNS/<name>/<date>_<time> (./runs)
CHECKPOINTS  a folder of .ckpt files of one data set, whose images are shown too
CHECKPOINT, PHOTO  a .ckpt file and an image, for 06_your_image
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from IPython.display import IFrame
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from contextseg import load_checkpoint, viz
from contextseg.checkpoint import read_checkpoint
from contextseg.commands.attend.command import examples
from contextseg.commands.attend.gallery import Example, scaled_down
from contextseg.commands.attend.inline import inline
from contextseg.commands.compose import compose
from contextseg.commands.train.command import train
from contextseg.data.pixels import Reading, read_image
from contextseg.engine import build
from contextseg.explain import Look, context_maps, context_picture, record_attention
from contextseg.explain.context import maps_of
from contextseg.explain.draw_context import extent, marked_sheet
from contextseg.runs.configuration import flatten
from contextseg.runs.folder import RunFolder
from contextseg.segmenter import Segmenter

STEPS = int(os.environ.get("STEPS") or 1500)
SETTINGS = ("seed", "width", "data", "backbone", "neck", "head", "loss", "optim", "schedule")
TILE = 200  # pixels of the longer side of a photo beside others
RUNS = Path(os.environ.get("RUNS") or "runs")


def configuration(name: str, *overrides: str) -> DictConfig:
    """What `python src/train.py name=<name> <overrides>` composes, with this number of steps.

    A trial, below 1,000 steps, is scored on few images.
    """
    trial = ["data.val_size=20"] if STEPS < 1000 else []
    often = ["resume=auto", "trainer.save_every_steps=100"]  # so that an interrupted cell loses little
    return compose([*overrides, *trial, *often, f"name={name}", f"trainer.max_steps={STEPS}", f'paths.runs="{RUNS}"'])


def finished(cfg: DictConfig) -> Path | None:
    """The newest finished run of this name, number of steps, and settings (those that it knew)."""
    now = flatten(OmegaConf.to_container(cfg, resolve=True))
    for folder in sorted((RUNS / cfg.name).glob("*/"), reverse=True):
        metrics, before = RunFolder(folder).read_metrics(), flatten(RunFolder(folder).read_config())
        common = [key for key in before.keys() & now.keys() if key.partition(".")[0] in SETTINGS]
        same = all(before[key] == now[key] for key in common)
        if metrics.get("status") == "finished" and metrics.get("steps") == cfg.trainer.max_steps and same:
            return folder
    return None


def trained(name: str, *overrides: str) -> Segmenter:
    """The network of the run that is finished, or of one that is trained now; in evaluation mode."""
    cfg = configuration(name, *overrides)
    folder = finished(cfg) or train(cfg).folder
    return load_checkpoint(folder / "checkpoints/last.ckpt")


def photographs(networks: Mapping[str, Segmenter], scene: Example) -> tuple[Mapping[str, Segmenter], Example]:
    """The networks in `CHECKPOINTS` and a validation image of the first one's data set; without it, those given."""
    files = sorted(Path(os.environ["CHECKPOINTS"]).glob("*.ckpt")) if os.environ.get("CHECKPOINTS") else []
    if not files:
        return networks, scene
    images = examples(read_checkpoint(files[0])["config"])
    return {file.stem: load_checkpoint(file) for file in files}, images[len(images) // 2 - 1] if images else scene


def example() -> tuple[Path, Path]:
    """A checkpoint and a photo: `CHECKPOINT` and `PHOTO`, if set; else of OCR, trained here, and of a scene."""
    if os.environ.get("CHECKPOINT") and os.environ.get("PHOTO"):
        return Path(os.environ["CHECKPOINT"]), Path(os.environ["PHOTO"])
    cfg = configuration("ocr", "head=ocr")
    folder = finished(cfg) or train(cfg).folder
    photo = RUNS / "scene.png"
    Image.fromarray(build.instantiate(cfg.data, "data").source("val").read(3)[0]).save(photo)
    return folder / "checkpoints/last.ckpt", photo


def view(checkpoint: Path, photo: Path) -> Callable[[float, float], Image.Image]:
    """Look at a photo with the network of a checkpoint, once; returned: the sheet of maps for a place of it.

    The place is given in shares of width and height, each from 0 to 1.
    """
    network = load_checkpoint(checkpoint)
    image = read_image(photo, Reading(network.value_range, upright=True))
    look = Look(network, torch.from_numpy(image).permute(2, 0, 1))
    labels, (height, width) = look.probabilities()[1][0].numpy(), look.size

    def at(across: float, down: float) -> Image.Image:
        point = min(int(across * width), width - 1), min(int(down * height), height - 1)
        return Image.fromarray(context_picture(image, labels, maps_of(look, point), point, network.named_classes))

    return at


def page(checkpoint: Path, photo: Path) -> IFrame:
    """The page of `attend serve=true` as the output of a cell, with the network of a checkpoint and a photo."""
    network = load_checkpoint(checkpoint)
    image = read_image(photo, Reading(network.value_range, upright=True))
    return inline({type(network.head).__name__: network}, [Example(photo.name, image)])


def asked(
    networks: Mapping[str, Segmenter], image: np.ndarray, mask: np.ndarray, point: tuple[int, int], kind: str = ""
) -> Image.Image:
    """Image (H, W, 3), mask (H, W), pixel (x, y) -> image, truth, and where each network's context came from.

    `kind`: of the maps that `context_maps` returns, such as "gradient"; the head's own first one if it is empty.
    """
    tiles = {"image": image}
    for label, network in networks.items():
        maps = context_maps(network, torch.from_numpy(image).permute(2, 0, 1), point)
        chosen = kind or next(iter(maps))
        text = f"{label}: {chosen}\n{extent(maps[chosen])}"
        tiles |= {"truth": viz.colour_mask(mask, network.classes), text: viz.heat(maps[chosen], image)}
    tiles = {text: scaled_down(tile, TILE) for text, tile in tiles.items()}
    return Image.fromarray(marked_sheet(tiles, point, image.shape))


def segmented(networks: Mapping[str, Segmenter], scenes: Sequence, indices: Sequence[int]) -> Image.Image:
    """Images of a source, a row each: image, truth, and what each network makes of it."""
    tiles = []
    for index in indices:
        image, mask, _ = scenes.read(index)
        shown = {"image": image, "truth": mask}
        shown |= {name: n.predict(torch.from_numpy(image).permute(2, 0, 1)).numpy() for name, n in networks.items()}
        classes = next(iter(networks.values())).classes
        pictures = [tile if tile.ndim == 3 else viz.colour_mask(tile, classes) for tile in shown.values()]
        tiles += [viz.caption(viz.enlarge(tile, 160), name) for name, tile in zip(shown, pictures, strict=True)]
    return Image.fromarray(viz.sheet(tiles, columns=2 + len(networks)))


def heard_in(network: Segmenter, image: np.ndarray, tap: str) -> Tensor:
    """What a tap of the head hears on an image (H, W, 3), its pixels hw as (h, w) of the logits."""
    with record_attention(network.head) as heard:
        size = tuple(network.logits(torch.from_numpy(image).permute(2, 0, 1)[None]).shape[-2:])
    (values,) = heard[tap]
    pixels = values.shape[1:].index(size[0] * size[1])
    return values[0].unflatten(pixels, size)


def prior(network: Segmenter, image: np.ndarray) -> Tensor:
    """The prior (hw, hw) of a CPNet on an image (H, W, 3) of its window; row = pixel, column = partner."""
    with record_attention(network.head) as heard:
        network.predict(torch.from_numpy(image).permute(2, 0, 1))
    return heard["context_prior.prior"][0][0]


def cell(point: tuple[int, int], size: tuple[int, int], mask: np.ndarray) -> tuple[int, int]:
    """The (row, column) on a map of `size` (h, w) in which a pixel (x, y) of an image with this mask (H, W) lies."""
    row, column = (at * cells // side for at, cells, side in zip(point[::-1], size, mask.shape, strict=True))
    return row, column
