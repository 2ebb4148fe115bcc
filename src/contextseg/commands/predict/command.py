"""Labelling images, videos and a webcam with a checkpoint alone, without configuration or data set."""

import logging
from collections.abc import Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import Progress

from contextseg.checkpoint import load_checkpoint
from contextseg.commands.device import device
from contextseg.commands.predict import inputs, video
from contextseg.commands.predict.options import PredictOptions
from contextseg.commands.predict.outputs import ImageWriter, paint, refuse_long, save_labels
from contextseg.console import print_error, progress
from contextseg.data.pixels import Reading
from contextseg.engine import build
from contextseg.errors import ConfigError
from contextseg.files import side_file
from contextseg.inference.clips import FileClips, sliding
from contextseg.inference.labeller import Labeller

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """The outcome of the inputs."""

    labelled: list[Path | int]
    skipped: list[str]  # the reason for each of the others


def main(options: PredictOptions) -> int:
    """Label the inputs; return exit code 1 if some were skipped."""
    skipped = predict(options).skipped
    if skipped:
        print_error(f"{len(skipped)} of the inputs skipped: {'; '.join(skipped)}")
    return int(bool(skipped))


def predict(cfg: PredictOptions) -> Outcome:
    """Label the inputs `input=` and write them in the formats `formats=` into the folder `output=`.

    A file that cannot be read is skipped and reported in the outcome. Raises `ConfigError` for a network that cannot
    predict.
    """
    place = device(cfg.device)
    found = inputs.find(cfg.input)
    names = inputs.output_names([*found.images, *found.videos])
    network = load_checkpoint(cfg.ckpt).to(place)
    if network.head.needs_mask:
        raise ConfigError(f"ckpt={cfg.ckpt}: {type(network.head).__name__} needs the ground truth and cannot predict")
    predictor = build.predictor(cfg.eval, network)
    asked = partial(Labeller, network, predictor, batch_size=cfg.batch_size, tile=cfg.tile)
    outcome = Outcome([], [])
    with ImageWriter(cfg.output, cfg.formats, network.named_classes) as writer, progress() as bar:
        if found.images:
            labeller = asked(probabilities="probabilities" in cfg.formats)
            reading = Reading(cfg.value_range or network.value_range, cfg.max_megapixels, upright=True)
            shown = FileClips(found.images, reading, network.head.frames, cfg.clip_step)
            if network.head.frames > 1 and (alone := shown.alone()):
                log.warning("%d of %d images have no frame beside them and stand for all", alone, len(found.images))
            label_images(found.images, names, labeller, writer, outcome, bar, shown)
        labeller = asked(probabilities=False)
        for source in found.videos:
            label_video(source, names[source], labeller, cfg, outcome, bar)
    total = len(found.images) + len(found.videos)
    log.info("%d of %d inputs labelled: %s", len(outcome.labelled), total, cfg.output)
    return outcome


def label_images(
    files: list[Path],
    names: dict[Path | int, str],
    labeller: Labeller,
    writer: ImageWriter,
    outcome: Outcome,
    bar: Progress,
    shown: FileClips,
) -> None:
    """Label image files and write the results; a broken file is added to `outcome.skipped`, the rest goes on."""
    task = bar.add_task("images", total=len(files), note="")
    by_name = {names[file]: file for file in files}

    def images() -> Iterator[tuple[str, np.ndarray]]:
        for file in files:
            try:
                writer.check(file, names[file])
                image = shown(file)
                labeller.check(str(file), image)
            except ConfigError as error:
                skip(outcome, error)
                bar.advance(task)
            else:
                bar.update(task, note=file.name)
                yield names[file], image

    for done in labeller(images()):
        file = by_name[done.name]
        writer.write(done, file.name)
        outcome.labelled.append(file)
        bar.advance(task)


def label_video(
    source: Path | int, name: str, labeller: Labeller, cfg: PredictOptions, outcome: Outcome, bar: Progress
) -> None:
    """Label a video or webcam; write overlays as a video, labels as a PNG per frame, as `cfg.video_formats` says.

    A video that cannot be read, or breaks off, is added to `outcome.skipped`; the results of its frames are kept.
    """
    folder, classes, overlays = cfg.output, labeller.network.named_classes, "overlays" in cfg.video_formats
    path = folder / "videos" / f"{name}.mp4"
    try:
        refuse_long(source, path.name)
        with (
            video.Frames(source, cfg.frames) as frames,
            side_file(path) if overlays else nullcontext(path) as side,
            closing(video.OverlayVideo(side, frames.fps)) as result,
        ):
            task = bar.add_task(name, total=frames.total, note="")
            with video.until_stopped(frames.name, stoppable=isinstance(source, int)):
                clips = sliding(frames, labeller.network.head.frames, cfg.clip_step)
                for done in labeller((f"{i:06d}", clip) for i, clip in enumerate(clips)):
                    if "labels" in cfg.video_formats:
                        save_labels(done.labels, classes, folder / "labels" / name / f"{done.name}.png")
                    if overlays:
                        result.write(paint(done.image, done.labels, classes))
                    bar.advance(task)
            frames.check_some()
        frames.check_whole()
    except ConfigError as error:
        skip(outcome, error)
    else:
        outcome.labelled.append(source)


def skip(outcome: Outcome, error: ConfigError) -> None:
    """Log the error and add it to `outcome.skipped`."""
    log.warning("skipped: %s", error)
    outcome.skipped.append(str(error))
