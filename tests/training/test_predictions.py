"""predictions.csv: what is written is read again, and its header names the positive class."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ecgtune.errors import RunError
from ecgtune.training.predictions import Predictions, predictions_text, read_predictions
from ecgtune.training.run_folder import RunFolder, read_split

ROWS, SPLIT = np.array([4, 7]), np.array(["val", "test"])


@pytest.mark.parametrize(
    ("label", "probability", "classes", "header", "first"),
    [
        ([1, 0], [0.25, 0.5], ("other", "AF"), "row,group,split,label,probability_AF", "4,,val,AF,0.25"),
        ([1, 0], [0.25, 0.5], ("0", "1"), "row,group,split,label,probability_1", "4,,val,1,0.25"),
        (
            [2, 0],
            [[0.5, 0.25, 0.25], [1, 0, 0]],
            ("A", "B", "C"),
            "row,group,split,label,probability_A,probability_B,probability_C",
            "4,,val,C,0.5,0.25,0.25",
        ),
        (
            np.array([[1], [-1]], dtype=np.int8),
            [[0.25], [0.5]],
            ("AF",),
            "row,group,split,label_AF,probability_AF",
            "4,,val,1,0.25",
        ),
    ],
)
def test_predictions_are_read_as_they_were_written(tmp_path, label, probability, classes, header, first):
    label, probability = np.array(label), np.array(probability, dtype=float)
    text = predictions_text(Predictions(ROWS, None, SPLIT, label, probability), classes)
    assert text.splitlines()[:2] == [header, first]
    (tmp_path / "predictions.csv").write_text(text)
    found = read_predictions(tmp_path / "predictions.csv")
    assert_array_equal(found.label, label)
    assert_array_equal(found.probability, probability)
    assert found.group is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " has no rows"),
        ("row,group,split,label\n4,,val,AF\n", " has no column 'probability_CLASS'"),
        ("row,group,split,label,probability_AF\n4,,val,AF,nan\n", ", line 2: ValueError: nan is outside 0 to 1"),
        ("row,group,split,label,probability_AF\n-4,,val,AF,0.5\n", ", line 2: ValueError: row -4"),
        ("row,group,split,label,probability_A,probability_B\n4,,val,C,0.5,0.5\n", ", line 2: ValueError"),
        ("row,group,split,label_A,probability_A\n4,,val,7,0.5\n", ", line 2: ValueError: '7' is no label"),
        ("row,group,split,label,probability_AF\n4,,val\n", " cannot be read"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, content, message):
    (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(RunError, match=rf"predictions\.csv{message}.*another --out$"):
        read_predictions(tmp_path / "predictions.csv")


@pytest.mark.parametrize("row", ["x,train", "-1,train", "1.5,val", "3,unknown", "3"])
def test_a_damaged_split_is_one_line(tmp_path, row):
    (tmp_path / "split.csv").write_text(f"row,split\n0,train\n{row}\n")
    with pytest.raises(RunError, match=r"split\.csv(, line 3:| cannot be read).*another --out$"):
        read_split(RunFolder(tmp_path))
