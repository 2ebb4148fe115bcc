"""Costs beside scores, as a table in markdown."""

from collections.abc import Sequence

from contextseg.commands.report.costs import Costs, Measured
from contextseg.commands.report.intervals import markdown, over_seeds
from contextseg.commands.report.scored import Scored

Place = tuple[str, str, str]  # data set, split, protocol
COLUMNS = ["parameters, M", "of these trained, M", "FLOPs, G", "forward, ms", "training memory, MiB"]


def table(found: Sequence[Scored], measured: Measured) -> str:
    """Write a row for each configuration, with a column of mIoU for each place where one was scored."""
    there = places(found)
    rows = [
        [*cells(one), *(mean(scored(found, one.name, place)) for place in there), note(one, measured)]
        for one in measured.costs
    ]
    header = ["configuration", *COLUMNS, *(f"mIoU, {title(place)}" for place in there), "note"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return "\n\n".join(["## Costs", markdown(header, rows), " ".join(caption(measured))]) + "\n"


def cells(one: Costs) -> list[str]:
    """Write the name and the numbers of a configuration; without numbers, empty cells."""
    if one.fault:
        return [one.name, *[""] * len(COLUMNS)]
    numbers = [one.parameters / 1e6, one.trained / 1e6, one.flops / 1e9]
    return [one.name, *(f"{number:,.2f}" for number in numbers), digits(one.ms), f"{one.memory / 2**20:,.0f}"]


def digits(ms: float) -> str:
    """Write milliseconds with about three digits: more would not come again."""
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"


def places(found: Sequence[Scored]) -> list[Place]:
    """List where trained configurations were scored."""
    return list(dict.fromkeys(one.where[:3] for one in found if one.config))


def title(place: Place) -> str:
    """Write data set, split and protocol."""
    data, split, protocol = place
    return f"{data} {split}, {protocol}"


def scored(found: Sequence[Scored], name: str, place: Place) -> Scored | None:
    """Return the scores of a configuration at a place, after as many steps as there are; None if it has none."""
    there = [one for one in found if one.name == name and one.where[:3] == place and one.values("miou")]
    return max(there, key=lambda one: one.where[3] or 0, default=None)


def mean(one: Scored | None) -> str:
    """Write the mIoU over seeds."""
    return over_seeds(one.values("miou")) if one else ""


def note(one: Costs, measured: Measured) -> str:
    """Write why there are no numbers, and the batch size where the rows have several."""
    if one.fault:
        return f"no costs: {one.fault}"
    return f"batches of {one.batch_size}" if len(batches(measured)) > 1 else ""


def batches(measured: Measured) -> set[int]:
    """Return the batch sizes of the trainings."""
    return {one.batch_size for one in measured.costs if not one.fault}


def caption(measured: Measured) -> list[str]:
    """Say what each number is, and on which machine milliseconds were taken."""
    height, width = measured.size
    several = batches(measured)
    batch = f"a batch of {next(iter(several))}" if len(several) == 1 else "a batch"
    return [
        f"For images of {height}x{width} (height, width).",
        "*Parameters* and *FLOPs* are those of inference, without the auxiliary head that some trainings have; "
        "*trained* omits a frozen backbone. FLOPs: 2 per multiply-add of convolutions and matrix products.",
        f"*Forward* is of this machine ({measured.times.machine}): the median of {measured.times.rounds} passes of one "
        "image in float32, without reading or resizing it, in turn over all rows; half of the passes of a row are "
        f"within {measured.times.spread:.0f} % of it. On another machine the order may be another.",
        f"*Training memory*: what autograd keeps for {batch}, in float32, without weights, gradients and optimizer; a "
        "frozen backbone keeps nothing but the maps that the head gets (docs/complexity.md).",
        "*mIoU*: mean ± sd over seeds.",
    ]
