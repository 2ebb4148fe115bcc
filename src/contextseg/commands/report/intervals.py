"""How far scores can be believed: spread over seeds, interval over images, differences to one run, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from contextseg.commands.report.scored import Scored
from contextseg.errors import ConfigError
from contextseg.runs.store import mean_sd
from contextseg.statistics import ImageCounts, Interval, Resampling, difference, interval
from contextseg.statistics.resampling import FEWEST

TITLES = {"miou": "mIoU", "pix_acc": "pixAcc"}


@dataclass(frozen=True)
class Belief:
    """How it is computed: `block` None is what the data set says; `blocks`: lengths whose intervals are compared."""

    resamples: int = 10_000
    block: int | None = None
    blocks: Sequence[int] = ()

    def of(self, counts: ImageCounts, block: int | None = None) -> Resampling:
        """Return how these images are resampled; those that are no frames one by one, whatever the block."""
        return Resampling(self.resamples, (block or self.block) if counts.block else 1)


def tables(found: Sequence[Scored], how: Belief, against: Sequence[Scored] = ()) -> str:
    """Write markdown: the scores with spread and interval, then the intervals by block length, with what they mean.

    `against`: one configuration, on whatever it was scored; the others are compared with it on the same images. Raises
    `ConfigError` if they were all scored on other images.
    """
    refuse_strangers(found, against)
    columns = [f"{title}, {what}" for title in TITLES.values() for what in titles(against)]
    header = ["configuration", "scored on", "seeds", *columns, "images", "note"]
    rows = [row(one, how, against) for one in found]
    parts = ["## Seeds and images", markdown(header, rows), " ".join(words(how, against))]
    if widths := [cells for one in found if (cells := width_cells(one, how))]:
        lengths = [f"block {length}" for length in how.blocks]
        parts += ["## Block length", markdown(["configuration", "scored on", *lengths], widths), BLOCKS]
    return "\n\n".join(parts) + "\n"


def titles(against: Sequence[Scored]) -> list[str]:
    """Name the columns of a score."""
    compared = [f"Δ to {against[0].name}", "p"] if against else []
    return ["mean ± sd over seeds", "95 % over images", *compared]


def row(one: Scored, how: Belief, against: Sequence[Scored]) -> list[str]:
    """Return the cells of a configuration; those that cannot be computed are empty, and the note says why."""
    notes: list[str] = []
    base = next((other for other in against if other.where == one.where), None)
    over_images, differences, drawn = {}, {}, ""
    try:
        over_images = interval(one.counts, how.of(one.counts[0]))
        drawn = images(one.counts[0], how)
        if how.of(one.counts[0]).few_blocks(one.counts[0]):
            notes.append(f"fewer than {FEWEST} blocks: the interval is too short")
    except ConfigError as error:
        notes.append(f"no interval: {error}")
    if against and over_images and one is not base:
        try:
            if base is None:
                raise ConfigError(f"{against[0].name} was not scored on {one.scored_on}")
            differences = difference(one.counts, base.counts, how.of(one.counts[0]))
        except ConfigError as error:
            notes.append(f"no Δ: {error}")
    cells = [one.name, one.scored_on, str(len(one.seeds))]
    for metric in TITLES:
        cells += [over_seeds(one.values(metric)), between(over_images.get(metric))]
        if against:
            found = differences.get(metric)
            cells += ["base", ""] if one is base else [signed(found), f"{found.p:.2g}" if found else ""]
    return [*cells, drawn, "; ".join(notes)]


def over_seeds(values: Sequence[float]) -> str:
    """Write mean ± sample standard deviation, which one seed does not have."""
    if not values:
        return ""
    mean, sd = mean_sd(list(values))
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def between(found: Interval | None) -> str:
    """Write the two ends of an interval."""
    return f"{found.low:.2f} to {found.high:.2f}" if found else ""


def signed(found: Interval | None) -> str:
    """Write a difference with its interval."""
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})" if found else ""


def images(counts: ImageCounts, how: Belief) -> str:
    """Say how many images there are, and how they are drawn."""
    length = how.of(counts).length(counts)
    return f"{len(counts)}" + ("" if length == 1 else f" in blocks of {length}")


def width_cells(one: Scored, how: Belief) -> list[str]:
    """Return the widths of the interval of mIoU by block length; [] for images that are no frames, or without counts.

    In brackets where fewer than `FEWEST` blocks are drawn.
    """
    try:
        if one.counts[0].block is None or not how.blocks:
            return []
        cells = []
        for length in how.blocks:
            drawn = how.of(one.counts[0], length)
            width = interval(one.counts, drawn)["miou"].width
            cells.append(f"({width:.2f})" if drawn.few_blocks(one.counts[0]) else f"{width:.2f}")
        return [one.name, one.scored_on, *cells]
    except ConfigError:  # the first table says so
        return []


def refuse_strangers(found: Sequence[Scored], against: Sequence[Scored]) -> None:
    """Raise `ConfigError` if nothing was scored where the base was."""
    others = [one for one in found if one not in against]
    if against and others and not {one.where for one in others} & {one.where for one in against}:
        there = "; ".join(dict.fromkeys(one.scored_on for one in others))
        raise ConfigError(
            f"against={against[0].name}: it was scored on {'; '.join(one.scored_on for one in against)}, the others on "
            f"{there}; evaluate both on one split by one protocol"
        )


def words(how: Belief, against: Sequence[Scored]) -> list[str]:
    """Say which number is which."""
    told = [
        "*Mean ± sd over seeds*: how far another initialisation and order of the data moves the score, on the same "
        "images; one seed has no sd.",
        f"*95 % over images*: between these values lie 95 % of the scores of {how.resamples:,} sets of as many images, "
        "drawn with replacement from the same ones; the networks stay as they are. Frames of videos are drawn in "
        "blocks. It is the interval of the mean over the seeds.",
        "Neither contains the other: new images and new seeds together move a score further than each alone.",
    ]
    if against:
        told.append(
            f"*Δ*: difference of the means to {against[0].name} on the same images, with its 95 % interval; images are "
            "drawn for both together, and seeds within each where there are several. A row with one seed says "
            "something of that network only, not of its method. *p*, two-sided: twice the share of resamples on the "
            "rarer side of 0. Of twenty rows that are equal in truth, one has p < 0.05 by chance; more of them where "
            "seeds decide and are few: three of twenty with three seeds a side (docs/statistics.md)."
        )
    return told


BLOCKS = (
    "Width of the 95 % interval of mIoU, by how many frames in a row are drawn together. It grows with the block as "
    "long as neighbours are alike; a block shorter than that makes a score look more certain than it is. In brackets: "
    f"fewer than {FEWEST} blocks, too few to draw from, so the width means little."
)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "/") for cell in cells] for cells in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
