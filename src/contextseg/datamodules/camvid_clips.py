"""CamVid with the frames around each labelled one: CCNet's video segmentation (Section 4.7, Table 9)."""

import logging
from pathlib import Path
from typing import Literal

from contextseg.data.clips import Clips
from contextseg.data.neighbours import around, place, spacing
from contextseg.data.pairing import find
from contextseg.data.source import Source, Unlabelled
from contextseg.data.transforms import TrainTransform
from contextseg.datamodules.camvid import CamVid
from contextseg.errors import ConfigError
from contextseg.typed import Count, Natural

log = logging.getLogger(__name__)


class CamVidClips(CamVid):
    """Read CamVid with T frames around each labelled one, which is the middle one. Other settings as in `CamVid`.

    frames  T; 1: images alone
    video   a folder with the frames of the videos as pictures, at any depth, named as the labelled ones:
            <sequence>_<number>; null: the neighbours are the labelled frames of the same split, which are 30 numbers
            apart in train and test, and 2 in val
    step    frames from one of a clip to the next: of the video, or of the labelled ones

    A clip never crosses a sequence, a split (or what `holdout` keeps back), or a gap of more than 31 numbers: there the
    end frame is repeated. Raises `ConfigError` if `video` lacks a sequence.
    """

    def __init__(
        self,
        *,
        root: str,
        frames: Count = 5,
        video: str | None = None,
        step: Count = 1,
        layout: Literal["segnet", "official"] = "segnet",
        batch_size: Count = 8,
        num_workers: Natural = 0,
        transform: TrainTransform | None = None,
    ):
        super().__init__(root=root, layout=layout, batch_size=batch_size, num_workers=num_workers, transform=transform)
        self.frames, self.video, self.step = frames, Path(video) if video else None, step
        self._clips: dict[str, Clips] = {}

    def source(self, split: str) -> Source:
        """Return the clips of a split, found once. Raises as `SegDataModule.source` does."""
        labelled = super().source(split)
        if self.frames == 1:
            return labelled
        if split not in self._clips:
            self._clips[split] = self.clips(split, labelled)
        return self._clips[split]

    def clips(self, split: str, labelled: Source) -> Clips:
        """Find the clips around the labelled frames of a split, and log how far their frames are apart."""
        names, images, walls = [labelled.name(index) for index in range(len(labelled))], labelled, []
        if self.video:
            others = [super(CamVidClips, self).source(other) for other in self.splits() if other != split]
            walls = [other.name(index) for other in others for index in range(len(other))]
            files = self.unlabelled_frames(names)
            known = [labelled.files(index) for index in range(len(labelled))]
            images = Unlabelled([*(pair[0] for pair in known if pair), *files], len(self.classes))
            names = names + [file.stem for file in files]
        places = around(names, self.frames, self.step, walls)[: len(labelled)]
        log.info(
            "%s: clips of %d frames, %d numbers apart (median); %d of %d repeat an end frame",
            *(split, self.frames, spacing(names, places)),
            *(sum(len({*clip}) < self.frames for clip in places), len(places)),
        )
        return Clips(labelled, images, places)

    def unlabelled_frames(self, labelled: list[str]) -> list[Path]:
        """Return the frames of the video folder, without the labelled ones.

        Raises `ConfigError` if the folder is not there, or lacks a sequence of the labelled frames.
        """
        assert self.video is not None
        files = {place(file.stem): file for file in find(self.video, "**/*").values()} if self.video.is_dir() else {}
        known = {place(name) for name in labelled}
        if missing := sorted({sequence for sequence, _ in known} - {sequence for sequence, _ in files}):
            raise ConfigError(
                f"data.video={self.video}: holds no frame of {', '.join(missing)}; give a folder of pictures named as "
                f"the labelled ones, such as {labelled[0]}.png, or null"
            )
        return [file for key, file in sorted(files.items()) if key not in known]
