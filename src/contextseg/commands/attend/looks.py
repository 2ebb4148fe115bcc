"""What the networks saw: the latest looks are kept, so that a network runs once per image."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from contextseg.commands.attend.gallery import Exhibit
from contextseg.errors import ConfigError
from contextseg.explain import Look
from contextseg.segmenter import Segmenter

KEPT = 8  # looks of all networks together: one holds a number for each pair of places, 30 MB at 480 x 360 and stride 8


class Looks:
    """Hand out looks, one question per network at a time: what is recorded belongs to one pass."""

    def __init__(self, networks: Sequence[Segmenter]):
        self.networks, self.locks = networks, [threading.Lock() for _ in networks]
        self.kept: OrderedDict[tuple[int, str], Look] = OrderedDict()
        self.keeping = threading.Lock()

    @contextmanager
    def at(self, model: int, exhibit: Exhibit) -> Iterator[Look]:
        """Yield the look of network number `model` at an image. Raises `ConfigError` if there is no such network."""
        if not 0 <= model < len(self.networks):
            raise ConfigError(f"there is no model {model} on this page; it has {len(self.networks)}, from 0")
        with self.keeping:
            look = self.kept.pop((model, exhibit.key), None)
            if look is None:
                look = Look(self.networks[model], torch.from_numpy(exhibit.image).permute(2, 0, 1))
            self.kept[model, exhibit.key] = look
            if len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        with self.locks[model]:
            yield look
