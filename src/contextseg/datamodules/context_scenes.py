"""Generated scenes on which context decides: 71 % of the pixels cannot be classified locally.

Each image has two random bits, each 0 or 1 with equal probability. The scene bit says whether the two ground textures
are sand and sea or road and glass; one cue alone shows it, a parasol or a car. The furniture bit says whether all wood
is table or bed; a mug or a pillow shows it. The cues stand in a strip of foliage along one border, far away from most
ambiguous pixels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Lt

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.painting import (
    AMPLITUDE,
    BANK,
    BASE,
    FOLIAGE,
    GRAIN,
    RIPPLE,
    WOOD,
    bank,
    borders,
    car,
    crop,
    gains,
    grid,
    lit,
    mug,
    paint_cue,
    parasol,
    pillow,
    turned,
    wavy_line,
)
from contextseg.data.scenes import SEEDS, Scenes
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.errors import ConfigError
from contextseg.typed import Count, Natural, NonNegative

CLASSES = class_set("context_scenes")
# The parts beside the textures; the bits turn parts into classes.
POLE, SCENE_CUE, FURNITURE_CUE = range(4, 7)


def draw_scene(
    seed: int,
    index: int,
    *,
    size: int = 128,
    cue_radius: Sequence[int] = (8, 10),
    strip: Sequence[int] = (24, 30),
    noise: float = 7.0,
    furniture_share: float = 0.27,
    flip: Sequence[bool] = (False, False),
) -> tuple[np.ndarray, np.ndarray]:
    """Draw image uint8 (size, size, 3) and mask uint8 (size, size) of one scene; void is 255.

    `seed` and `index` decide everything. `cue_radius` and `strip` (height) are inclusive ranges in pixels, `noise` is
    the sigma of the grey pixel noise, `furniture_share` the approximate share of wood. Slabs grow with `size`; all
    else keeps its size in pixels. `flip` flips the (scene, furniture) bit: the same picture with the other cue, and
    the labels that follow from it.
    """
    rng = np.random.default_rng([seed, index])
    scene, furniture = (bool(bit) != bool(turn) for bit, turn in zip(rng.integers(2, size=2), flip, strict=True))
    height = int(rng.integers(strip[0], strip[1] + 1))

    parts = np.full((size, size), FOLIAGE, np.uint8)
    ground = parts[height:]
    _paint_ground(rng, ground)
    _paint_slabs(rng, ground, scale=size / 128 * (furniture_share / 0.27) ** 0.5, margin=36 * size // 128)
    _paint_blobs(rng, ground)
    image = _textured(rng, parts)
    _paint_poles(rng, ground, image[height:])
    right = rng.permutation(2)  # the half of the strip in which each cue stands
    _paint_cue(rng, (parasol, car)[scene], SCENE_CUE, right[0], cue_radius, parts[:height], image[:height])
    _paint_cue(rng, (mug, pillow)[furniture], FURNITURE_CUE, right[1], cue_radius, parts[:height], image[:height])

    mask = _class_ids(scene, furniture)[parts]
    mask[borders(parts) & (parts != POLE)] = IGNORE_INDEX  # without their borders poles would vanish
    return lit(rng, image, mask, noise)


def _class_ids(scene: bool, furniture: bool) -> np.ndarray:
    """Return the class id of each part, in their order."""
    grain, ripple, scene_cue = ("road", "glass", "car") if scene else ("sand", "sea", "parasol")
    wood, furniture_cue = ("bed", "pillow") if furniture else ("table", "mug")
    names = ("foliage", grain, ripple, wood, "pole", scene_cue, furniture_cue)
    return np.array([CLASSES.names.index(name) for name in names], np.uint8)


def _textured(rng: np.random.Generator, parts: np.ndarray) -> np.ndarray:
    """Paint parts (H, W) below POLE, float32 (H, W, 3), with a random crop and channel gains for each texture."""
    gain = gains(rng, 4, 3)
    crops = [crop(rng, texture, len(parts)) for texture in bank()[:4]]
    pattern = np.choose(parts, crops)[..., None]
    return (BASE * gain)[parts] + (AMPLITUDE[:, None] * gain)[parts] * pattern


# Shapes; `ground` is the view of the parts below the strip.


def _paint_ground(rng: np.random.Generator, ground: np.ndarray) -> None:
    ground[:] = np.where(wavy_line(rng, ground.shape) > 0, GRAIN, RIPPLE)


def _paint_slabs(rng: np.random.Generator, ground: np.ndarray, *, scale: float, margin: int) -> None:
    height, width = ground.shape
    for _ in range(rng.integers(3, 5)):
        y0, x0 = rng.uniform((margin, 0.1 * width), (0.95 * height, 0.9 * width))
        along, across = turned(rng, ground.shape, y0, x0)
        along /= scale * rng.integers(40, 64) / 2
        across /= scale * rng.integers(32, 52) / 2
        inside = along**2 + across**2 < 1 if rng.random() < 0.5 else np.maximum(abs(along), abs(across)) < 1
        ground[inside] = WOOD


def _paint_blobs(rng: np.random.Generator, ground: np.ndarray) -> None:
    y, x = grid(*ground.shape)
    for _ in range(rng.integers(1, 4)):
        y0, x0 = rng.uniform(0, 1, 2) * ground.shape
        ground[(y - y0) ** 2 + (x - x0) ** 2 <= rng.integers(4, 9) ** 2] = FOLIAGE


def _paint_poles(rng: np.random.Generator, ground: np.ndarray, image: np.ndarray) -> None:
    for _ in range(rng.integers(1, 4)):
        along, across = turned(rng, ground.shape, *(rng.uniform(0.1, 0.9, 2) * ground.shape))
        length, half_width = rng.integers(24, 60), rng.uniform(1.5, 2.5)
        inside = (abs(along) < length / 2) & (abs(across) < half_width)
        ground[inside] = POLE
        image[inside] = rng.choice([30, 230])


def _paint_cue(rng: np.random.Generator, shape, part: int, right: int, radii: Sequence[int], parts, image) -> None:
    """Paint a cue into the strip `parts` (h, W) and `image` (h, W, 3)."""
    height, width = parts.shape
    radius = int(rng.integers(radii[0], radii[1] + 1))
    centre = int(rng.integers(radius + 1, width // 2 - radius)) + right * (width // 2)
    paint_cue(rng, shape, part, radius, (height // 2, centre), parts, image)


class ContextScenes(SegDataModule):
    """Generate scenes by `draw_scene`, which describes the options; train, val and test have the seeds 1, 2 and 3.

    `flip=[true, false]` flips the scene bit of every image, `[false, true]` the furniture bit. The last three as in
    `SegDataModule`. Raises `ConfigError` if the cues do not fit.
    """

    name = "context_scenes"
    classes = CLASSES
    context_rules: ClassVar = {
        rule: ([CLASSES.names.index(cue) for cue in cues], CLASSES.ids(rule))
        for rule, cues in {"scene": ("parasol", "car"), "furniture": ("mug", "pillow")}.items()
    }

    def __init__(
        self,
        *,
        train_size: Count = 2000,
        val_size: Count = 300,
        test_size: Count = 500,
        size: Count = 128,
        cue_radius: tuple[Count, Count] = (8, 10),
        strip: tuple[Count, Count] = (24, 30),
        noise: NonNegative = 7.0,
        furniture_share: Annotated[float, Gt(0), Lt(1)] = 0.27,
        flip: tuple[bool, bool] = (False, False),
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        super().__init__(batch_size=batch_size, num_workers=num_workers, transform=transform)
        _require(cue_radius[0] <= cue_radius[1], "cue_radius", cue_radius, "[smallest, largest] in pixels")
        lowest = 2 * cue_radius[1] + 2
        _require(lowest <= strip[0] <= strip[1], "strip", strip, f"[lowest, highest], {lowest} pixels at least")
        smallest = max(strip[1] + 48, 4 * cue_radius[1] + 4)
        _require(smallest <= size <= BANK, "size", size, f"{smallest} to {BANK} pixels")
        _require(0 < furniture_share < 1, "furniture_share", furniture_share, "a share between 0 and 1")
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        self.draw = partial(
            draw_scene,
            size=size,
            cue_radius=tuple(cue_radius),
            strip=tuple(strip),
            noise=noise,
            furniture_share=furniture_share,
            flip=tuple(flip),
        )

    def open(self, split: str) -> Scenes:
        return Scenes(self.draw, seed=SEEDS[split], count=self.sizes[split], num_classes=len(self.classes))


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"data.{name}={value} does not make a scene; give {wanted}")
