"""The curves after a restart: rows that are damaged or missing are told of."""

import pytest

from contextseg.engine.history import History

ROWS = [f"{step},{step / 10}" for step in (10, 20, 30, 40)]


@pytest.mark.parametrize(
    ("rows", "step", "kept", "said"),
    [
        (ROWS, 45, [10, 20, 30, 40], []),
        ([*ROWS, "50,5.0"], 45, [10, 20, 30, 40], []),  # of a step that is done again
        (ROWS[:3], 35, [10, 20, 30], []),  # the next row is due at step 40, after the checkpoint
        (ROWS[:2], 35, [10, 20], ["ends at step 20, the checkpoint is of step 35: rows are lost"]),
        ([*ROWS[:2], "30"], 35, [10, 20], ["1 rows are damaged", "rows are lost"]),
        ([*ROWS[:2], "3\ufffd,1", ROWS[3]], 35, [10, 20], ["1 rows are damaged", "rows are lost"]),
        ([*ROWS[:2], "21,9.9"], 29, [10, 20, 21], []),  # a row of an evaluation
        ([], 35, [], ["ends at step 0"]),
        (None, 35, [], ["ends at step 0"]),
    ],
)
def test_rows_that_are_not_there_are_told_of(tmp_path, caplog, rows, step, kept, said):
    if rows is not None:
        (tmp_path / "metrics.csv").write_text("\n".join(["step,loss", *rows]))
    history = History(str(tmp_path))
    history.resume(step)
    assert list(history.rows) == kept
    assert len(caplog.records) == len(said)
    for record, words in zip(caplog.records, said, strict=True):
        assert words in record.getMessage()
