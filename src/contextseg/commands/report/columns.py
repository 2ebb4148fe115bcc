"""The published columns of a table: which of them are compared with a metric of ours, and what the others are."""

from collections.abc import Mapping
from typing import Any

from contextseg.commands.report.protocols import ENDINGS, KINDS

TITLES = {"miou": "mIoU", "pix_acc": "PixAcc", "mean_acc": "mean acc."}
TITLES |= {f"{metric}_{kind}": f"{title} {kind}" for metric, title in TITLES.items() for kind in KINDS}
MIOU = ("mIoU", "mean_mIoU")  # the first of these in a table is compared
ACCURACIES = {"PixAcc": "pix_acc", "pixel_acc": "pix_acc", "mean_acc": "mean_acc"}
DATA_SETS = {"pcontext": "pascal_context", "voc": "voc2012"}  # short names in columns
SUCCESSES = "successes"  # of runs: those whose loss stayed finite (CCNet, Table 3)
DELTA = "delta"  # the difference that the paper prints, to the row `over` or the base row
COSTS = ("params", "FLOPs", "memory", "time", "FPS", "dFLOPs", "dParams", "dMemory", "GFLOPs_delta", "memory_delta")
CLASSES = {  # of VOC: the papers' names -> ours
    "aero": "aeroplane",
    "bike": "bicycle",
    "table": "diningtable",
    "mbike": "motorbike",
    "plant": "pottedplant",
    "tv": "tvmonitor",
}


def compared(table: Mapping[str, Any], ours: set[str]) -> list[tuple[str, str]]:
    """Pair a published column with each of our metrics; of several data sets, one of ours comes first.

    A column of a single-scale or multi-scale test has its own. A table without accuracies (costs) gets our mIoU beside
    an empty column, a table of another command than `train` nothing.
    """
    if "command" in table:
        return []
    columns = columns_of(table)
    metrics = ACCURACIES | dict.fromkeys(MIOU, "miou")
    if tested := [(column, f"{metrics[column[:-3]]}{column[-3:]}") for column in columns if column.endswith(ENDINGS)]:
        return tested
    by_data = [column for column in columns if data_of(column, table["data"])]
    by_data.sort(key=lambda column: data_of(column, table["data"]) not in ours)
    mious = [column for column in MIOU if column in columns] + by_data
    pairs = [(column, ACCURACIES[column]) for column in columns if column in ACCURACIES]
    if mious or not pairs:
        pairs.insert(0, (mious[0] if mious else MIOU[0], "miou"))
    return pairs


def columns_of(table: Mapping[str, Any]) -> list[str]:
    """Return the published columns of a table, also those whose values only a figure shows."""
    published = (column for row in table["rows"] for column in row["published"])
    return list(dict.fromkeys([*table.get("columns", []), *published]))


def data_of(column: str, data: str) -> str | None:
    """Return the data set in the name of a column of mIoU, such as "mIoU_voc" or "cityscapes_test"; None if none."""
    name = column.removeprefix("mIoU_")
    known = {known: known for known in data.split(", ")} | DATA_SETS
    return next((full for short, full in known.items() if name == short or name.startswith(f"{short}_")), None)
