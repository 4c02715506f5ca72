"""The report of a sweep from its files alone."""

import json
import re

import pytest

from ecgtune.errors import RunError
from ecgtune.reporting.sweep import read_sweep, write_sweep

HEADER = (
    "method,trial,optimisation.learning_rate,method.rank,state,val_auroc,val_accuracy,best_epoch,epochs,seconds,"
    "trainable"
)
ROWS = [
    "lora,0,0.002,16,finished,0.80,0.7,2,3,30.0,1000",
    "lora,1,0.0123456,4,finished,0.85,0.75,3,3,20.0,500",
    "lora,2,0.02,8,diverged,,,,,,700",
    "probe,0,,,finished,0.70,0.6,1,3,70.0,100",
    "probe,1,,,finished,0.70,0.61,1,3,50.0,100",
]
SETTINGS = {
    "format": 1, "created": "2026-01-02T03:04:05+00:00", "command": "ecgtune sweep windows.csv", "file": "windows.csv",
    "machine": {"processor": "one"}, "seed": 0, "trials": 3,
    "split": {"warnings": ["split by row"], "counts": {"train": {"windows": 85}, "val": {"windows": 17}}},
    "methods": {name: {"recipe": f'name = "{name}"\n', "space": {}, "weights": "random"} for name in ("lora", "probe")},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(SETTINGS))
    (tmp_path / "trials.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    return tmp_path


def test_trials_are_read_and_the_best_is_the_first_of_equals(folder):
    sweep = read_sweep(folder)
    assert [trial.auroc for trial in sweep.trials["lora"]] == [0.80, 0.85, None]
    assert sweep.best("lora").settings == {"optimisation.learning_rate": "0.0123456", "method.rank": "4"}
    assert sweep.best("probe").number == 0
    assert sweep.best("probe").rate is None


def test_the_report_says_what_was_found_and_what_it_is_for(folder):
    text = re.sub(r"\s+", " ", write_sweep(folder).read_text())
    assert "Highest validation AUROC: 0.850, lora with learning_rate 0.01235, rank 4." in text
    assert "The sweep has no access to the test windows." in text
    assert "split by row" in text
    assert "<td>3</td><td>1</td><td>0.800</td> <td>0.850</td><td>0.750</td><td>500</td>" in text
    assert "2.0 min" in text  # 70 s and 50 s of the probe
    assert 'aria-label="Validation AUROC of every trial' in text
    figure = (folder / "figures" / "rates.svg").read_text()
    assert ">lora<" in figure
    assert ">Learning rate<" in figure
    assert ">Trial<" in figure  # the probe's rate was kept


def test_methods_with_one_trial_or_none(folder):
    (folder / "trials.csv").write_text("\n".join([HEADER, ROWS[2]]) + "\n")
    text = write_sweep(folder).read_text()
    assert "Every trial diverged" in text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("method,trial\nlora,0\n", " has no column 'val_auroc'"),
        (HEADER + "\nother,0,,,finished,1,1,1,1,1,1\n", ", line 2: ValueError: 'other' is no method of the sweep"),
        (HEADER + "\nlora,0,,,finished,nan,1,1,1,1,1\n", ", line 2: ValueError: nan is outside 0 to 1"),
        (None, " is missing"),
    ],
)
def test_a_damaged_table_is_told(folder, damage, message):
    (folder / "trials.csv").unlink() if damage is None else (folder / "trials.csv").write_text(damage)
    with pytest.raises(RunError, match=rf"trials\.csv{message}; rerun the sweep command"):
        read_sweep(folder)
