"""The networks that are looked into, and the images on which."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from contextseg.checkpoint import read_checkpoint, restore
from contextseg.commands.device import device
from contextseg.commands.evaluate.options import checked, each_checkpoint
from contextseg.commands.inspection.options import InspectionOptions
from contextseg.data.source import Source
from contextseg.engine import build
from contextseg.engine.evaluate import refuse_other_classes
from contextseg.errors import ConfigError
from contextseg.explain import Look
from contextseg.segmenter import Segmenter
from contextseg.statistics.means import spread, thinned_block


class Shot(NamedTuple):
    """Hold an image uint8 (H, W, 3), its true train ids (H, W) or None, its name, and its place in the split."""

    image: NDArray
    truth: NDArray | None
    name: str
    place: int


@dataclass(frozen=True)
class Shots:
    """Some images of a split, evenly spread, read one by one."""

    source: Source
    places: tuple[int, ...]
    block: int | None  # how many of them in a row hang together; None: they are no frames

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Shot]:
        for place in self.places:
            image, truth, name = self.source.read(place)
            yield Shot(image, truth if self.source.labelled else None, name, place)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.source.name(place) for place in self.places)


def subjects(cfg: DictConfig, kind: type[InspectionOptions]) -> tuple[Any, dict[str, Segmenter], Shots]:
    """Return the checked options, the networks of `ckpt=` by name, and the images of the first one's data set.

    A name is that of the training; of several with one name, the file is named too. Raises `ConfigError` for a wrong
    option, for an oracle, for a head of clips, for networks of other classes than the data set, and for images that
    cannot be read.
    """
    networks: dict[str, Segmenter] = {}
    ones = each_checkpoint(cfg)
    contents: list[Mapping[str, Any]] = [read_checkpoint(one.ckpt) for one in ones]
    options, _ = checked(kind, contents[0]["config"], ones[0])
    data = build.datamodule(options)
    place = device(options.device)
    names = [each["config"]["name"] for each in contents]
    for one, each, name in zip(ones, contents, names, strict=True):
        network = restore(dict(each), one.ckpt)
        refuse_other_classes(data, network, one.ckpt)
        if network.head.needs_mask:
            raise ConfigError(f"ckpt={one.ckpt}: {type(network.head).__name__} is an oracle: it needs the ground truth")
        if network.head.frames > 1:
            raise ConfigError(f"ckpt={one.ckpt}: {type(network.head).__name__} takes clips; give a network of images")
        networks[f"{name} ({one.ckpt})" if names.count(name) > 1 else name] = network.to(place)
    data.check(splits=(options.split,))
    source = data.source(options.split)
    places = spread(len(source), options.images)
    return options, networks, Shots(source, tuple(places), thinned_block(data.block, len(source), len(places)))


def look_at(network: Segmenter, shot: Shot) -> Look:
    """Return a look of a network at an image."""
    return Look(network, torch.from_numpy(shot.image).permute(2, 0, 1))
