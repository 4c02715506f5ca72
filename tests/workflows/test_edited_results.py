"""Result files that somebody edited: every reader works, or raises an error of one line."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ecgtune
from ecgtune.deployment.hub import stage
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.reporting.folders import read_comparison
from ecgtune.training.predictions import read_predictions
from ecgtune.training.run_folder import RunFolder, chosen_on
from ecgtune.utils.files import json_value, write_json
from ecgtune.workflows import reports
from helpers.methods import slow
from helpers.settings import loop

DATA = ecgtune.simulate(60, seed=1, seconds=3)
GONE = object()
#: Values in place of each one of a file.
CHANGES = {"missing": GONE, "null": None, "text": "text"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    """A comparison of one run."""
    out = tmp_path_factory.mktemp("edited") / "comparison"
    settings = loop(epochs=2, batch_size=32, device="cpu", precision="fp32")
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), **settings._asdict())
    recipe = replace(recipe, model=replace(recipe.model, name=encoder))
    ecgtune.compare(DATA, recipe, ecgtune.CompareSettings(seeds=1, baselines=False), out=out)
    return out


@pytest.fixture
def comparison(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "comparison")
    return tmp_path / "comparison"


def run_of(comparison: Path) -> Path:
    return comparison / json_value(comparison / "results.json")["rows"][0]["runs"][0]


def places(value, depth, place=()):
    """Each key of a JSON value and of those in it, down to a depth."""
    if isinstance(value, dict) and depth:
        for key, part in value.items():
            yield (*place, key)
            yield from places(part, depth - 1, (*place, key))


def edit(file: Path, original, place, value) -> None:
    content = json.loads(json.dumps(original))
    entry = content
    for key in place[:-1]:
        entry = entry[key]
    if value is GONE:
        del entry[place[-1]]
    else:
        entry[place[-1]] = value
    file.write_text(json.dumps(content))


def answers(read, what: str) -> bool:
    """Whether `read` works; fails the test unless its error is one line for the user."""
    try:
        read()
    except Exception as error:
        if not isinstance(error, EcgtuneError) or len(str(error).splitlines()) > 1:
            raise AssertionError(what) from error
        return False
    return True


def push(run: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    stage(ecgtune.load_run(run), out, "user/name", None)


def compare(run: Path, _: Path) -> None:
    metrics = RunFolder(run).read_metrics()
    test = read_predictions(run / "predictions.csv", metrics).of("test")
    record = RunRecord("a", "a", "method", 0, "a", metrics, test.label, test.probability, test.group, test.row)
    compare_runs([record], resamples=10)


READERS = {
    "summary": lambda run, _: (repr(ecgtune.load_run(run)), ecgtune.load_run(run).summary()),
    "predict": lambda run, _: ecgtune.load_run(run).predict(DATA.signal[:1], DATA.sampling_rate),
    "evaluate": lambda run, out: ecgtune.evaluate(run, DATA, out=out / "evaluation"),
    "stress": lambda run, out: ecgtune.stress(run, DATA, ecgtune.StressSettings(only=("invert",)), out=out / "stress"),
    "report": lambda run, _: ecgtune.write_report(run, cases=0),
    "compare": compare,
    "push": push,
}
QUICK = ("summary", "predict", "compare")


@pytest.mark.parametrize(
    ("change", "readers"),
    [("missing", QUICK), *slow(("missing", tuple(READERS)), ("null", QUICK), ("text", QUICK))],
    ids=["missing", "missing, every reader", "null", "text"],
)
def test_each_reader_of_metrics_works_or_refuses_them_in_one_line(comparison, tmp_path, change, readers):
    run, refused = run_of(comparison), set()
    file = run / "metrics.json"
    original = json_value(file)
    for number, place in enumerate(places(original, 4)):
        edit(file, original, place, CHANGES[change])
        if not answers(RunFolder(run).read_metrics, f"{place}"):
            refused.add(place)
            continue
        for name in readers:
            answers(partial(READERS[name], run, tmp_path / str(number)), f"{name} with {place} as {change}")
    if change == "missing":
        read = {("parameters",), ("threshold",), ("data", "signal_path"), ("split", "counts"), ("group",)}
        read |= {("window", "metrics", name, "ci_low") for name in ("accuracy", "f1", "auroc")}
        assert refused >= read


@pytest.mark.parametrize("change", ["missing", "null"])
def test_each_reader_of_a_comparison_works_or_refuses_it_in_one_line(comparison, change):
    file = comparison / "results.json"
    original = json_value(file)
    for place in places(original, 2):
        edit(file, original, place, CHANGES[change])
        answers(partial(ecgtune.write_report, comparison, cases=0), f"report with {place} as {change}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "rows has 0 entries"),
        ({"recommendation": {"take": "a"}}, "recommendation.metric is missing"),
    ],
)
def test_a_comparison_without_a_run_to_show_is_refused(comparison, change, message):
    file = comparison / "results.json"
    write_json(file, json_value(file) | change)
    with pytest.raises(RunError, match=message):
        ecgtune.write_report(comparison)


def test_a_run_that_is_named_often_is_not_read_often(comparison):
    content = json_value(comparison / "results.json")
    for often, message in ((100_000, "at most|1000 are needed"), (2, "names a run twice")):
        content["rows"][0]["runs"] = content["rows"][0]["runs"][:1] * often
        write_json(comparison / "results.json", content)
        with pytest.raises(RunError, match=message):
            ecgtune.write_report(comparison)


def test_damaged_results_do_not_reset_the_count_of_looks_at_the_test_windows(comparison, encoder):
    file = comparison / "results.json"
    file.write_text("{")
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe())
    with pytest.raises(RunError, match=r"results\.json"):
        ecgtune.compare(DATA, recipe, ecgtune.CompareSettings(seeds=1, baselines=False), model=encoder, out=comparison)
    assert file.read_text() == "{"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("\n", "\n999999", 1), "row .* is beyond the 60 windows"),
        (lambda text: text.replace("probability_", "probability_other", 1), "its columns are not those of the classes"),
    ],
)
def test_predictions_that_are_not_of_the_run_are_refused(comparison, tmp_path, change, reason):
    run = run_of(comparison)
    file = run / "predictions.csv"
    file.write_text(change(file.read_text()))
    with pytest.raises(RunError, match=reason):
        ecgtune.evaluate(run, ecgtune.simulate(40, seed=2, seconds=3), out=tmp_path / "evaluation")
    ecgtune.write_report(run)


def test_a_null_accuracy_is_compared_with_that_of_the_predictions(comparison, tmp_path):
    run = run_of(comparison)
    content = json_value(run / "metrics.json")
    content["window"]["metrics"]["accuracy"]["value"] = None
    write_json(run / "metrics.json", content)
    with pytest.raises(RunError, match=r"predictions\.csv gives an accuracy of"):
        compare(run, tmp_path)


LINK = "METHOD/loop"  # to itself


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["a" * 300], r"the run 'a{40}' cannot be found \(File name too long\)"),
        (["a" * 5000], r"runs\[0\] is 'a{40}'"),
        (["a\0b"], r"the run 'a\\\\x00b' cannot be found"),
        ([LINK], "the run 'METHOD/loop' cannot be found"),
    ],
    ids=["300 letters", "5000 letters", "a zero byte", "a loop"],
)
def test_a_run_that_no_folder_can_be_is_one_short_line(comparison, runs, message):
    (comparison / "METHOD").mkdir()
    (comparison / LINK).symlink_to(comparison / LINK)
    content = json_value(comparison / "results.json")
    content["rows"][0]["runs"] = runs
    write_json(comparison / "results.json", content)
    with pytest.raises(RunError, match=message) as caught:
        read_comparison(comparison)
    assert len(str(caught.value)) < 1000


def test_two_methods_of_one_name_are_refused(comparison):
    content = json_value(comparison / "results.json")
    shutil.copytree(run_of(comparison), comparison / "other")
    content["rows"].append(content["rows"][0] | {"runs": ["other"]})
    write_json(comparison / "results.json", content)
    with pytest.raises(RunError, match=r"results\.json has two rows of one name"):
        read_comparison(comparison)


def test_a_split_that_is_no_file_is_refused(comparison):
    run = RunFolder(run_of(comparison))
    run.split.unlink()
    run.split.mkdir()
    with pytest.raises(RunError, match=r"split\.csv cannot be read"):
        chosen_on(run)


def test_a_log_with_many_terms_is_refused(tmp_path):
    from ecgtune.training.run_folder import read_log

    row = {"epoch": 1, "seconds": 1.0} | {f"train_{number}": 0.0 for number in range(2000)}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError, match="has 2002 entries"):
        read_log(tmp_path / "log.jsonl", 1)


def test_large_matrices_have_colours_alone(tmp_path):
    from matplotlib.axes import Axes

    from ecgtune.reporting.figures import write_confusion
    from ecgtune.reporting.folders import FinishedRun

    classes = [str(number) for number in range(200)]
    metrics = {"classes": classes, "window": {"confusion": np.eye(200, dtype=int).tolist()}}
    run = FinishedRun(tmp_path, metrics, [], "", {}, None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "text", lambda *_, **__: pytest.fail("a cell has text"))
        write_confusion(tmp_path / "confusion.svg", [run], "many", "#000000")


def test_evidence_of_a_run_beside_the_root_is_added(monkeypatch):
    written = []
    monkeypatch.setattr(reports, "exclusive", lambda *_, **__: nullcontext())
    monkeypatch.setattr(reports, "write_run_report", written.append)
    reports.add_evidence(SimpleNamespace(folder=Path("/model")), Path("/model/evaluation"))
    assert written == [Path("/model")]
