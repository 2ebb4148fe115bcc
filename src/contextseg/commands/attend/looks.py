"""What the networks saw: the latest looks are kept, so that a network runs once per image."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock, RLock

import torch

from contextseg.commands.attend.gallery import Exhibit
from contextseg.errors import ConfigError
from contextseg.explain import Look
from contextseg.segmenter import Segmenter

KEPT = 8  # looks of all networks together: one holds maps of the backbone and of the head, 100 MB for a large head


class Looks:
    """Hand out the looks of networks, and keep the latest. Threads may ask at once."""

    def __init__(self, networks: Sequence[Segmenter]):
        self.networks, self.locks = networks, [RLock() for _ in networks]
        self.kept: OrderedDict[tuple[int, str], Look] = OrderedDict()
        self.keeping = Lock()

    def at(self, model: int, exhibit: Exhibit) -> Look:
        """Return the look of network number `model` at an image. Raises `ConfigError` if there is no such network."""
        if not 0 <= model < len(self.networks):
            raise ConfigError(f"there is no model {model} on this page; it has {len(self.networks)}, from 0")
        with self.keeping:
            look = self.kept.pop((model, exhibit.key), None)
            if look is None:
                pixels = torch.from_numpy(exhibit.image).permute(2, 0, 1)
                look = Look(self.networks[model], pixels, self.locks[model])
            self.kept[model, exhibit.key] = look
            if len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        return look
