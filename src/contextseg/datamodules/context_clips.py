"""Generated clips on which another frame decides: the labelled one cannot be understood by itself.

Textures drift behind four panes in a hedge: grain above left, wood below right, ripple in the other two. All are of
one of two scenes, sand, sea and table or road, glass and bed, and look the same in both. A parasol or a car tells
which. It is seen in one frame only, never in the labelled one, in the corner of the pane of grain. So it differs from
the grain in time, from the ripple in time and in row or column, and from the wood in time, row and column at once: a
pane needs as many loops of 3-D criss-cross attention.
"""

from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from contextseg.classes import class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.clips import Clips
from contextseg.data.painting import (
    BANK,
    FOLIAGE,
    GRAIN,
    RIPPLE,
    WOOD,
    bank,
    borders,
    car,
    crop,
    gains,
    paint_cue,
    parasol,
    patch,
)
from contextseg.data.scenes import SEEDS, FramesOf, MiddleFrames
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.errors import ConfigError
from contextseg.typed import Count, Natural, NonNegative

CLASSES = class_set("context_clips")
FIRST = {FOLIAGE: "foliage", GRAIN: "sand", RIPPLE: "sea", WOOD: "table"}  # in the other scene: the class after it
YELLOW, RED = (250, 220, 60), (220, 40, 40)  # parasol and car
SPEED = 2  # pixels from frame to frame at most, each way
MARGIN = 4 * SPEED  # pixels of texture beyond the borders of the middle frame: enough for 9 frames


def draw_clip(
    seed: int,
    index: int,
    *,
    frames: int = 5,
    size: int = 48,
    hedge: int = 12,
    cue_radius: int = 5,
    noise: float = 7.0,
    flip: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw frames uint8 (T, size, size, 3) and the mask uint8 (size, size) of the middle one; void is 255.

    `seed` and `index` decide everything, and the middle frame is the same for every number of `frames`. `hedge`:
    between the panes, and `cue_radius`, in pixels; `noise`: the sigma of the grey pixel noise. `flip` turns over what
    the cue says: the same frames with the other cue, and the labels that follow from it.
    """
    rng = np.random.default_rng([seed, index])
    scene, middle, world = int(rng.integers(2)) ^ flip, frames // 2, (size + 2 * MARGIN,) * 2
    parts = panes(size, hedge)
    textures = np.stack([patch(rng, texture, world) for texture in FIRST])  # (4, H', W', 3)
    velocity, gain, turns = rng.integers(-SPEED, SPEED + 1, 2), gains(rng, 3, spread=0.08), int(rng.integers(4))
    when, where = rng.random(), rng.integers(cue_radius + 1, cue_radius + 3, 2)
    others = [t for t in range(frames) if t != middle]
    seen = others[int(when * len(others))] if others else None
    cue, colour, place = (parasol, car)[scene], (YELLOW, RED)[scene], (int(where[0]), int(where[1]))
    beside = rng.spawn(frames)  # the noise of a frame depends on no other

    clip = np.empty((frames, size, size, 3), np.uint8)
    for t in range(frames):
        top, left = MARGIN + (t - middle) * velocity
        image = np.choose(parts[..., None], textures[:, top : top + size, left : left + size])
        if t == seen:
            paint_cue(rng, cue, 0, cue_radius, place, np.empty_like(parts), image, colour)
        image = image * gain + noise * crop(beside[t - middle], bank()[-1], size)[..., None]
        clip[t] = np.rot90(image.clip(0, 255).astype(np.uint8), turns)

    ids = [CLASSES.names.index(name) + (scene if name != "foliage" else 0) for name in FIRST.values()]
    mask = np.array(ids, np.uint8)[parts]
    mask[borders(parts)] = IGNORE_INDEX
    return clip, np.ascontiguousarray(np.rot90(mask, turns))


def panes(size: int, hedge: int) -> np.ndarray:
    """Return the texture of each pixel uint8 (size, size): four panes and the hedge between them."""
    parts = np.full((size, size), FOLIAGE, np.uint8)
    first, second = slice(0, (size - hedge) // 2), slice((size + hedge) // 2, size)
    for rows, columns, texture in (
        (first, first, GRAIN),
        (first, second, RIPPLE),
        (second, first, RIPPLE),
        (second, second, WOOD),
    ):
        parts[rows, columns] = texture
    return parts


class ContextClips(SegDataModule):
    """Generate clips by `draw_clip`; train, val and test have the seeds 1, 2 and 3.

    frames    T; 1: images alone, without a cue
    shuffled  the other frames of a clip are those of another scene: a control, in which the cue decides nothing

    The last three as in `SegDataModule`. Raises `ConfigError` if the cue does not fit into a pane.
    """

    name = "context_clips"
    classes = CLASSES

    def __init__(
        self,
        *,
        frames: Annotated[int, Ge(1), Le(9)] = 5,
        shuffled: bool = False,
        train_size: Count = 1000,
        val_size: Count = 300,
        test_size: Count = 300,
        size: Count = 48,
        hedge: Count = 12,
        cue_radius: Annotated[int, Ge(4), Le(12)] = 5,
        noise: NonNegative = 7.0,
        flip: bool = False,
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        super().__init__(batch_size=batch_size, num_workers=num_workers, transform=transform)
        pane = (size - hedge) // 2
        if not 2 * cue_radius + 4 <= pane or size > BANK - 2 * MARGIN:
            raise ConfigError(
                f"data.size={size} with data.hedge={hedge} makes panes of {pane} pixels; give {2 * cue_radius + 4} or "
                f"more for a cue of radius {cue_radius}, and a size of {BANK - 2 * MARGIN} at most"
            )
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        self.shuffled = shuffled
        self.draw = partial(
            draw_clip, frames=frames, size=size, hedge=hedge, cue_radius=cue_radius, noise=noise, flip=flip
        )

    def open(self, split: str) -> Clips:
        frames, count = self.draw.keywords["frames"], self.sizes[split]
        scenes = MiddleFrames(self.draw, seed=SEEDS[split], count=count, num_classes=len(self.classes))
        others = [(scene + self.shuffled) % count for scene in range(count)]  # the scene of the other frames
        places = [
            [(scene if t == frames // 2 else other) * frames + t for t in range(frames)]
            for scene, other in enumerate(others)
        ]
        return Clips(scenes, FramesOf(scenes, frames), places)
