"""Scores by the sequences of a video: whether a method is better everywhere, or on one drive."""

from collections.abc import Mapping, Sequence

from contextseg.commands.report.intervals import markdown, over_seeds
from contextseg.commands.report.scored import Scored
from contextseg.errors import ConfigError
from contextseg.statistics import SCORES, ImageCounts
from contextseg.statistics.bootstrap import refuse_other_images
from contextseg.statistics.scores import scores
from contextseg.statistics.sequences import frames_of, titles

MOST = 12  # sequences, for each of which a table has a column
MEANING = (
    "mIoU of the frames of each sequence alone, mean ± sd over seeds. It is the mean over the classes that are in the "
    "sequence or predicted there, so it compares configurations on one sequence, not sequences with each other."
)
Frames = Mapping[str, Sequence[int]]  # indices of the images of each sequence


def tables(found: Sequence[Scored]) -> str:
    """Write a table for each split of a data set with frames of several sequences, in markdown; "" if there is none.

    Configurations without counts of their images are omitted: the table of seeds and images says so.
    """
    splits: dict[tuple[str, ...], list[tuple[Scored, Frames]]] = {}
    for one in found:
        if len(frames := frames_by_sequence(one)) > 1:
            splits.setdefault((*one.where[:3], *frames), []).append((one, frames))
    parts = [table(scored) for scored in splits.values()]
    return "\n\n".join(["## By sequence", *parts, MEANING]) + "\n" if parts else ""


def frames_by_sequence(one: Scored) -> Frames:
    """Return the frames of each sequence; {} for images that are no frames of videos, and without usable counts."""
    try:
        refuse_other_images(one.counts)
    except ConfigError:
        return {}
    first = one.counts[0]
    return {} if first.block is None else frames_of(first.names)


def table(scored: Sequence[tuple[Scored, Frames]]) -> str:
    """Write the table of one split, the frames of which are in the same sequences; of too many only their number."""
    one, frames = scored[0]
    if len(frames) > MOST:
        return f"{one.scored_on}: {len(frames)} sequences, more than the {MOST} that a table can show."
    columns = [f"{title}, {len(of)} frames" for title, of in zip(titles(list(frames)), frames.values(), strict=True)]
    rows = [
        [one.name, one.scored_on, *(over_seeds([miou(seed, of) for seed in one.counts]) for of in frames.values())]
        for one, frames in scored
    ]
    return markdown(["configuration", "scored on", *columns], rows)


def miou(counts: ImageCounts, images: Sequence[int]) -> float:
    """Compute the mIoU of some of the images, in percent."""
    return float(scores(counts.totals[list(images)].sum(0))[SCORES.index("miou")])
