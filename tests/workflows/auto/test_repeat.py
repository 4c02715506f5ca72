"""What cannot be repeated is refused with a reason, and a repetition says whether its results are the same."""

import pytest

from ecgtune.config.auto import AutoSettings
from ecgtune.errors import RunError, SettingError
from ecgtune.utils.files import write_json
from ecgtune.workflows.auto.repeat import check_repeated, compared
from helpers.auto import FINGERPRINT

FOUND = FINGERPRINT | {"reading": {"kind": "windows", "path": "/here/windows.csv", "positive": None}}

ENTRY = {"value": 0.8, "ci_low": 0.7, "ci_high": 0.9}
TESTED = {
    "runs": ["model"],
    "window": {"n": 9, "metrics": dict.fromkeys(("accuracy", "f1", "auroc"), ENTRY)},
    "group": {"reason": "no groups"},
    "threshold": {"value": 0.5, "rule": "fixed"},
}


@pytest.fixture
def first(tmp_path):
    write_json(tmp_path / "first" / "fingerprint.json", FOUND)
    write_json(tmp_path / "first" / "test.json", TESTED)
    return tmp_path / "first"


def test_the_same_files_elsewhere_can_be_repeated(first):
    check_repeated(first, {**FOUND, "reading": {**FOUND["reading"], "path": "/there/windows.csv"}})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sha256": "abd"}, "the files differ"),
        ({"reading": {**FOUND["reading"], "positive": "AF"}}, "positive of the reading differs"),
    ],
)
def test_other_files_or_flags_are_refused(first, changed, told):
    with pytest.raises(RunError, match=told):
        check_repeated(first, FOUND | changed)


def test_an_unfinished_folder_is_refused(first):
    (first / "test.json").unlink()
    with pytest.raises(RunError, match="no finished auto"):
        check_repeated(first, FOUND)


def test_decisions_are_those_of_the_folder():
    assert AutoSettings(repeat="runs/auto", jobs=2, until="do").repeat == "runs/auto"
    with pytest.raises(SettingError, match="leave out --batch-size"):
        AutoSettings(repeat="runs/auto", batch_size=8)


def test_it_says_whether_the_results_are_the_same(first, tmp_path):
    write_json(tmp_path / "test.json", TESTED)
    assert "are those of" in compared(tmp_path, first)
    write_json(tmp_path / "test.json", TESTED | {"runs": ["model-1", "model-2"]})
    assert "differ from those of" in compared(tmp_path, first)
