"""Our numbers in the published columns that are not compared, such as costs and classes; "" where there is none."""

from contextseg.commands.report.columns import CLASSES, DELTA, SUCCESSES, data_of
from contextseg.commands.report.compare import Comparison, Line
from contextseg.runs.store import Group, mean_sd


def ours_beside(comparison: Comparison, line: Line, column: str) -> str:
    """Write our number of a row in a column of `Comparison.beside`."""
    if column == SUCCESSES:
        return line.successes
    if column == DELTA:
        return difference(comparison.our_difference(line, comparison.pairs[0][1], delta_base(comparison, line)))
    if data := data_of(column, comparison.data):
        return on_data(comparison, line, column, data)
    if line.group and line.group.choices["data"] == comparison.data and (found := of_class(line.group, column)):
        return spread(found)
    return comparison.counted.get(line.label, {}).get(column, "")


def delta_base(comparison: Comparison, line: Line) -> Line:
    """Return the row to which the paper prints the difference of a row."""
    return next((other for other in comparison.lines if other.label == line.over), comparison.base_of(line))


def on_data(comparison: Comparison, line: Line, column: str, data: str) -> str:
    """Write our mIoU on another data set of the table, of the runs with most steps.

    The first column of a data set has it: the others are of more training data (coarse labels), which a configuration
    does not tell.
    """
    columns = [*dict(comparison.pairs), *comparison.beside]
    first = next(other for other in columns if data_of(other, comparison.data) == data)
    groups = [group for group in (line.group, *line.others) if group and group.choices["data"] == data]
    return spread(groups[0].values("miou")) if groups and column == first else ""


def of_class(group: Group, column: str) -> list[float]:
    """Return the IoU of the class that a column names, by seed."""
    found = (group.finished[seed].get("iou", {}).get(CLASSES.get(column, column)) for seed in sorted(group.finished))
    return [value for value in found if isinstance(value, int | float)]


def spread(values: list[float]) -> str:
    """Write mean ± sd (seeds); "" without a value."""
    if not values:
        return ""
    mean, sd = mean_sd(values)
    return f"{mean:.2f}{'' if sd is None else f' ± {sd:.2f}'} ({len(values)})"


def difference(found: tuple[float, float | None] | None) -> str:
    """Write a difference ± its standard error; "" for None."""
    if found is None:
        return ""
    return f"{found[0]:+.2f}" + ("" if found[1] is None else f" ± {found[1]:.2f}")
