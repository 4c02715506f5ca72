"""Which columns of a CSV file of windows are samples, label and group."""

from pathlib import Path

import pytest

from ecgtune.errors import DataError
from ecgtune.io.readers.base import WindowColumns
from ecgtune.io.readers.csv_layout import named_layout

SAMPLES = [f"signal_{number}" for number in range(20)]
NUMBERS = [str(number) for number in range(20)]


@pytest.mark.parametrize(
    ("names", "given", "label", "samples", "note"),
    [
        ([*SAMPLES, "label", "class"], {}, "label", SAMPLES, "not used: 'class'"),
        ([*SAMPLES, "label", "class"], {"group": "class"}, "label", SAMPLES, ""),
        ([*SAMPLES, "class_id", "site"], {}, "class_id", SAMPLES, "the labels are those of column 'class_id'"),
        ([*SAMPLES, *(f"feat_{n}" for n in range(30)), "label"], {}, "label", SAMPLES, "not used: 'feat_0'"),
        (["id", *NUMBERS], {}, "19", NUMBERS[:-1], "not used: 'id'"),
        ([f"V{n}" for n in range(1, 21)] + ["rhythm"], {}, "rhythm", [f"V{n}" for n in range(1, 21)], ""),
    ],
)
def test_columns_by_their_names(names, given, label, samples, note):
    layout = named_layout(Path("f.csv"), 1, tuple(names), WindowColumns(**given))
    assert [names[index] for index in layout.label] == [label]
    assert [names[index] for index in layout.samples] == samples
    assert note in "; ".join(layout.notes)


def test_two_prefixes_may_both_be_the_samples():
    names = [f"{lead}_{number}" for lead in ("I", "II") for number in range(10 + 5 * (lead == "II"))]
    with pytest.raises(DataError, match=r"columns 'II_\.\.\.' and 'I_\.\.\.' may both be the samples"):
        named_layout(Path("f.csv"), 1, (*names, "label"), WindowColumns())
