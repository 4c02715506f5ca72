"""Files of a finished auto that were edited or damaged: refused, and the remedy that is named works."""

import re
import shutil

import pytest

import ecgtune
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows.auto import do, hand_over

SETTINGS = AutoSettings(budget="20min", encoders=("ecg-fm-tiny",), methods=("full",), folds=1, epochs=2)
DATA = ecgtune.simulate(96, seed=1, seconds=3)
#: Files that the same command makes again, and those with which others were made.
MADE_AGAIN = (
    "fingerprint.json",
    "spent.json",
    "plan.toml",
    "choice.json",
    "do/results.json",
    "test.json",
    "curve.json",
)
OTHERS_REST_ON = ("do/plan.json", "split.json", "split.csv", "model/metrics.json")
#: Without these, the trainings are read again.
BEFORE_THE_CHOICE = ("choice.json", "do/results.json", "curve.json", "test.json")
OF_TRAININGS = ("do/measured.json", "do/jobs.json", "job.json", "result.json")


def without(*_):
    raise RunError("the extra is not installed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("auto") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(do, "_SEEDS", 1)
        patch.setattr(hand_over, "export", without)
        patch.setattr(hand_over, "page", without)
        ecgtune.auto(DATA, SETTINGS, out=out)
        yield out


@pytest.fixture
def out(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def refused(out, file, content):
    """The message about a damaged file."""
    file.write_bytes(content)
    with pytest.raises(EcgtuneError) as caught:
        ecgtune.auto(DATA, SETTINGS, out=out)
    message = str(caught.value)
    assert file.name in message
    assert len(message.splitlines()) == 1
    return message


def file_of(out, name):
    return next(out.glob(f"do/probe*/round-0/{name}")) if name in ("job.json", "result.json") else out / name


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"null", b"[]", b"{", b"\xff"])
@pytest.mark.parametrize("name", [*MADE_AGAIN, *OTHERS_REST_ON])
def test_a_file_of_a_finished_auto(out, finished, name, content):
    message = refused(out, out / name, content)
    if name in OTHERS_REST_ON:
        assert "another --out" in message or "in another folder" in message
        return
    assert "remove it and rerun" in message
    (out / name).unlink()
    answer = ecgtune.auto(DATA, SETTINGS, out=out)
    assert json_value(out / "test.json") == json_value(finished / "test.json")
    assert "test AUROC" in answer.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_TRAININGS)
def test_a_file_of_the_trainings(out, finished, name):
    for each in BEFORE_THE_CHOICE:
        (out / each).unlink()
    file = file_of(out, name)
    assert "remove it and rerun" in refused(out, file, b"{}" if name != "do/jobs.json" else b'{"x": {}}')
    file.unlink()
    ecgtune.auto(DATA, SETTINGS, out=out)
    assert json_value(out / "choice.json")["chosen"] == json_value(finished / "choice.json")["chosen"]


@pytest.mark.slow
def test_a_split_that_somebody_changed(out):
    rows = (out / "split.csv").read_text().replace(",test,", ",train,", 1)
    assert "is not as it was drawn" in refused(out, out / "split.csv", rows.encode())


def without_memory(text: str) -> str:
    """Without the memory that is free now, which a reason names."""
    return re.sub(r"[\d.]+ GB", "", text)


def test_a_plan_or_a_fingerprint_that_somebody_changed_is_decided_or_read_again(tmp_path):
    decided = AutoSettings(until="decide", encoders=("ecg-fm-tiny",))
    plan = ecgtune.auto(DATA, decided, out=tmp_path).with_suffix(".toml")
    before = plan.read_text()
    fingerprint = json_value(tmp_path / "fingerprint.json")
    for file, content, message in (
        (plan, before.replace("folds = ", "folds = 1000000000000 #"), "folds is 1000000000000; allowed: 1, or 3 to 50"),
        (plan, before.replace("epochs = 20", "epochs = nan"), "epochs in .training. of .*plan.toml is nan; a whole"),
        (tmp_path / "fingerprint.json", "null", "fingerprint.json: the content is 'None'; a table is needed"),
        (tmp_path / "spent.json", "{}", "spent.json: seconds is missing"),
    ):
        kept = file.read_text()
        file.write_text(content)
        with pytest.raises(EcgtuneError, match=f"{message}.*remove it and rerun"):
            ecgtune.auto(DATA, decided, out=tmp_path)
        file.unlink()
        ecgtune.auto(DATA, decided, out=tmp_path)
        assert file.name == "spent.json" or without_memory(file.read_text()) == without_memory(kept)
    write_json(tmp_path / "fingerprint.json", fingerprint | {"request": {"kind": "windows", "path": "x"}})
    with pytest.raises(RunError, match=r"fingerprint.json: request.kind is not simulated; remove it"):
        ecgtune.auto(DATA, decided, out=tmp_path)
