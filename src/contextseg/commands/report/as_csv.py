"""Writing a comparison as CSV: a line per row and published column, each number in a column of its own."""

import csv
import io
from collections.abc import Iterator

from contextseg.commands.report.beside import ours_beside
from contextseg.commands.report.compare import Comparison, Line
from contextseg.commands.report.text import notes
from contextseg.runs.store import mean_sd

NAMES = ["table", "row", "metric", "published_as", "published", "ours", "ours_mean", "ours_sd", "seeds"]
NAMES += ["published_difference", "ours_difference", "ours_difference_se", "base", "state"]
NAMES += ["published_data", "published_backbone", "data", "backbone", "steps", "note"]
Cells = dict[str, object]


def rows_as_csv(comparison: Comparison) -> str:
    """Write the table without its caption.

    A compared column has a metric and unrounded numbers; the others have what the table shows, in `ours`.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, NAMES, lineterminator="\n")
    writer.writeheader()
    for line in comparison.lines:
        common = facts(comparison, line)
        writer.writerows(common | cells for cells in [*scores(comparison, line), *others(comparison, line)])
    for label, published in comparison.quoted:
        common = {"table": comparison.name, "row": label, "state": "quoted", "published_data": comparison.data}
        for column, metric in [*comparison.pairs, *((column, "") for column in comparison.beside)]:
            writer.writerow(common | {"metric": metric, "published_as": column, "published": published.get(column)})
    return file.getvalue()


def facts(comparison: Comparison, line: Line) -> Cells:
    """Return what all lines of a row share."""
    group = line.group
    return {
        "table": comparison.name,
        "row": line.label,
        "published_data": comparison.data,
        "published_backbone": (line.backbone or "").removeprefix("backbone="),
        "data": group and group.choices["data"],
        "backbone": group and group.choices["backbone"],
        "steps": group and group.steps,
        "note": notes(comparison, line),
    }


def scores(comparison: Comparison, line: Line) -> Iterator[Cells]:
    """Yield the numbers of the compared columns."""
    for column, metric in comparison.pairs:
        values = line.values(metric)
        mean, sd = mean_sd(values) if values else (None, None)
        difference, error = comparison.our_difference(line, metric) or (None, None)
        yield {
            "metric": metric,
            "published_as": column,
            "published": line.published.get(column),
            "ours_mean": rounded(mean),
            "ours_sd": rounded(sd),
            "seeds": len(values),
            "published_difference": rounded(comparison.published_difference(line, column)),
            "ours_difference": rounded(difference),
            "ours_difference_se": rounded(error),
            "base": comparison.base_of(line).label,
            "state": f"failed ({line.failed})" if line.state == "failed" else line.state,
        }


def others(comparison: Comparison, line: Line) -> Iterator[Cells]:
    """Yield what stands in the columns beside them; one in which the row has nothing is omitted."""
    for column in comparison.beside:
        published, ours = line.published.get(column), ours_beside(comparison, line, column)
        if published is not None or ours:
            yield {"published_as": column, "published": published, "ours": ours}


def rounded(number: float | None) -> float | None:
    """Take off what binary fractions add: 0.30000000000000004."""
    return None if number is None else round(number, 4)
