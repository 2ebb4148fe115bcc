"""Generated scenes that separate good context heads: six factors, each aimed at one mechanism of the papers.

A scene shows one factor (`contextseg.data.factors`), which its file describes; `factor` chooses one, several or all.
docs/context_scenes_hard.md tells how to add one, docs/diagnostic.md has the measurements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from contextseg.classes import ClassSet, class_set
from contextseg.contract import IGNORE_INDEX
from contextseg.data.factors.factor import MIN_SIDE, Factor
from contextseg.data.painting import BANK, borders, lit
from contextseg.data.scenes import SEEDS, Scenes
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.datamodule import SegDataModule
from contextseg.errors import ConfigError
from contextseg.typed import Count, Natural, NonNegative


def draw_scene(
    seed: int,
    index: int,
    *,
    factors: Sequence[Factor],
    classes: ClassSet,
    size: int = 96,
    noise: float = 7.0,
    flip: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw image uint8 (size, size, 3) and mask uint8 (size, size) of one scene; void is 255.

    `seed` and `index` decide everything; the factors take turns. `noise` is the sigma of the grey pixel noise. `flip`
    flips all cues of the same picture, and with them the labels that follow.
    """
    rng = np.random.default_rng([seed, index])
    factor = factors[index % len(factors)]
    image, parts = factor.draw(rng, size, flip)
    ids = np.array([classes.names.index(name) for name in factor.paints], np.uint8)
    keep = [factor.paints.index(name) for name in factor.thin]
    mask = ids[parts]
    mask[borders(parts) & ~np.isin(parts, keep)] = IGNORE_INDEX
    return lit(rng, image, mask, noise)


class ContextScenesHard(SegDataModule):
    """Generate scenes by `draw_scene`; train, val and test have the seeds 1, 2 and 3.

    `factors`: the kinds of scenes by name. `factor`: one name or several; None: all, in turn. The classes are those
    that the chosen factors paint, and each chosen factor has a group: the classes that context decides. The last three
    as in `SegDataModule`. Raises `ConfigError` for an unknown factor, or if the factors do not fit in `size`.
    """

    name = "context_scenes_hard"

    def __init__(
        self,
        *,
        factors: Mapping[str, Factor],
        factor: str | Sequence[str] | None = None,
        train_size: Count = 2000,
        val_size: Count = 300,
        test_size: Count = 500,
        size: Count = MIN_SIDE,
        noise: NonNegative = 7.0,
        flip: bool = False,
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        chosen = list(factors) if factor is None else [factor] if isinstance(factor, str) else list(factor)
        if not chosen or any(chosen.count(name) > 1 or name not in list(factors) for name in chosen):
            raise ConfigError(f"data.factor={factor}: choose one or several of {', '.join(factors)}, each once")
        if not MIN_SIDE <= size <= BANK:
            raise ConfigError(f"data.size={size} does not make a scene; give {MIN_SIDE} to {BANK} pixels")
        kinds = [factors[name] for name in chosen]
        classes = class_set(self.name).subset([name for kind in kinds for name in kind.paints])
        self.classes = replace(classes, groups={name: ids for name, ids in classes.groups.items() if name in chosen})
        super().__init__(batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        self.draw = partial(draw_scene, factors=kinds, classes=self.classes, size=size, noise=noise, flip=flip)

    def open(self, split: str) -> Scenes:
        return Scenes(self.draw, seed=SEEDS[split], count=self.sizes[split], num_classes=len(self.classes))
