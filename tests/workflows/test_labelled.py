"""The rows of a run's own test split are those of its data."""

from typing import Any, cast

import pytest

import ecgtune
from ecgtune.errors import RunError
from ecgtune.workflows.labelled import _test_rows

DATA = ecgtune.simulate(8, seed=0)


class OwnRun:
    """A run of the eight windows, as far as its split is asked for."""

    def __init__(self, folder):
        self.folder, self.trained_on, self.runs = folder, {"windows": len(DATA)}, (self,)


@pytest.mark.parametrize(("row", "found"), [("7,test", [7]), ("8,test", None), ("7,val", None)])
def test_rows_that_the_data_do_not_have_are_refused(tmp_path, row, found):
    (tmp_path / "split.csv").write_text(f"row,split\n0,train\n{row}\n")
    run = cast(Any, OwnRun(tmp_path))
    if found is not None:
        assert _test_rows(run, DATA).tolist() == found
        return
    with pytest.raises(RunError, match=r"split\.csv has no rows of the test split below 8; rerun the command"):
        _test_rows(run, DATA)
