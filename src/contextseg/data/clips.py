"""Clips: labelled images with the frames around them."""

from collections.abc import Sequence

import numpy as np

from contextseg.data.holdout import Subset
from contextseg.data.source import Sample, Source
from contextseg.errors import ConfigError


class Clips(Subset):
    """Give each image of a labelled source as the middle frame of a clip.

    images  the source of all frames; its masks are not read
    places  of each labelled image, the indices in `images` of the T frames of its clip
    """

    def __init__(self, labelled: Source, images: Source, places: Sequence[Sequence[int]]):
        super().__init__(labelled, range(len(labelled)))
        self._images, self._places = images, places
        self.frames = len(places[0]) if places else 1

    @property
    def images(self) -> Source:
        return self._images

    def places(self, index: int) -> Sequence[int]:
        return self._places[index]

    def read_clip(self, index: int) -> Sample:
        """Read a clip uint8 (T, H, W, 3), of one frame the image (H, W, 3), and the mask of its middle frame.

        Raises `ConfigError` if a frame has not the size of the labelled one.
        """
        if self.frames == 1:
            return self.read(index)
        mask, name = self.read_mask(index)
        frames = {place: self.images.load(place)[0] for place in dict.fromkeys(self.places(index))}
        for place, frame in frames.items():
            if frame.shape[:2] != mask.shape:
                raise ConfigError(
                    f"{self.images.where(place)} is a frame of {frame.shape[1]}x{frame.shape[0]} beside {name} of "
                    f"{mask.shape[1]}x{mask.shape[0]} (width x height); give both the same size"
                )
        return np.stack([frames[place] for place in self.places(index)]), mask, name
