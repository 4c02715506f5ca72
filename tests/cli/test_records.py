"""A folder of recordings and its table on the command line: check, train, compare, cross-validate."""

import csv
import html
import json

import numpy as np
import pytest

import ecgtune
from helpers.cli import refused, run
from helpers.records import heartbeats, write_record

RHYTHMS = ("AF", "other", "other")
QUICK = ["--method", "probe", "--epochs", "2", "--batch-size", "4", "--device", "cpu", "--quiet"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """24 recordings of 24 patients, and `labels.csv`, in the current folder."""
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for index, signal in enumerate(heartbeats(24, seconds=6)):
        write_record(tmp_path / "records", f"r{index:02}", signal)
    rows = [f"r{i:02},p{i},{i % 2},{i // 2 % 2},{i % 5 + 1},{'ABC'[i % 3]},{RHYTHMS[i % 3]}" for i in range(24)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["record,patient,AF,PVC,k,where,rhythm", *rows]) + "\n")
    return table


def test_check_tells_what_is_there(data, capsys):
    run("data", "check", "labels.csv", "--records", "records", "--label", "AF", "--fold", "k", "--quiet")
    out = capsys.readouterr().out
    for part in (
        "24 of 24 with a label",
        "200 Hz (24)",
        "12 of 24 (50.0 %)",
        "validation 4, test 5",
        "test: 4 windows",
    ):
        assert part in out


def test_check_of_a_file_of_windows(data, capsys):
    run("simulate", "windows.csv", "--windows", "60")
    capsys.readouterr()
    run("data", "check", "windows.csv", "--sampling-rate", "100", "--quiet")
    out = capsys.readouterr().out
    dataset = ecgtune.read_dataset("windows.csv", sampling_rate=100)
    for part in (
        "60 of 1 lead and 600 samples at 100 Hz (6 s)",
        f"{int(dataset.label.sum())} of 60",
        f"{len(set(dataset.group))} patients, each in one split",
        "split: drawn 70/15/15 by patient",
    ):
        assert part in out
    assert "warning" not in out


@pytest.mark.parametrize(
    ("leads", "flags", "said"),
    [
        (("I", "II"), [], "the leads do not fit ecg-fm-tiny, the default model: this model reads one lead"),
        (("I", "II"), ["--lead", "II"], None),
        (("I", "II"), ["--model", "ecg-fm-tiny"], "do not fit ecg-fm-tiny: this model reads one lead, but 2"),
        (("I", "V1"), ["--model", "resnet-1d"], None),
    ],
)
def test_check_warns_of_leads_that_do_not_fit_the_encoder(leads, flags, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number, pair in enumerate(heartbeats(48, seconds=6).reshape(24, 2, -1)):
        write_record(tmp_path / "records", f"r{number:02}", pair, leads=leads)
    (tmp_path / "labels.csv").write_text("record,AF\n" + "".join(f"r{n:02},{n % 2}\n" for n in range(24)))
    run("data", "check", "labels.csv", "--records", "records", "--quiet", "--workers", "1", *flags)
    out = capsys.readouterr().out
    assert ("warning: the leads" in out) == (said is not None)
    assert said is None or said in out


def test_check_names_the_positive_class_and_looks_at_names_of_classes(data, capsys):
    data.write_text(data.read_text().replace(",other", ",None"))
    run("data", "check", "labels.csv", "--records", "records", "--label", "rhythm", "--quiet")
    out = " ".join(capsys.readouterr().out.split())
    assert "positive class: AF ('None' is a name of a negative class; --positive None for the other)" in out
    assert "note: 'None' is a class, although it looks like a missing value; --missing None leaves" in out
    line = refused(
        capsys, "data", "check", "labels.csv", "--records", "records", "--label", "rhythm", "--missing", "None"
    )
    assert "8 windows, all with the label 'AF'; two classes are needed; left out as missing: 'None' (16)" in line


def test_labels_from_headers(data, capsys, tmp_path):
    for index in range(24):
        with (tmp_path / "records" / f"r{index:02}.hea").open("a") as header:
            header.write(f"# Dx: {'164889003' if index % 2 else '426783006,59118001'}\n")
    run("data", "check", "records", "--labels-from-headers", "--labels", "AF", "RBBB", "--quiet")
    out = " ".join(capsys.readouterr().out.split())
    assert "24 of 24 with a label can be read" in out
    assert "AF: 12 of 24 (50.0 %)" in out
    with (tmp_path / "records" / "r00.hea").open("a") as header:
        header.write("#" * (1 << 20))
    assert "r00.hea: has " in refused(capsys, "data", "check", "records", "--labels-from-headers")
    line = refused(capsys, "fine-tune", "labels.csv", "--records", "records", "--labels-from-headers")
    assert "DATA is the folder" in line


def test_check_ends_with_status_2_and_says_all_that_is_wrong(data, capsys):
    write_record(data.parent / "records", "r03", heartbeats(1, rate=100, seconds=7)[0], rate=100)
    line = refused(capsys, "data", "check", "labels.csv", "--records", "records", "--label", "AF", "--quiet")
    assert "2 sampling rates" in line
    assert "2 lengths" in line


def test_near_duplicates_across_splits_are_refused_and_allowed(data, capsys):
    write_record(data.parent / "records", "r04", 3 * heartbeats(24, seconds=6)[3])
    tokens = ["data", "check", "labels.csv", "--records", "records", "--label", "AF", "--fold", "k", "--quiet"]
    assert "r03 and r04" in refused(capsys, *tokens)
    run(*tokens, "--allow-duplicates")
    assert "warning: 1 pair of recordings with the same signal" in capsys.readouterr().out


def test_train_from_recordings_at_the_models_rate(data, tmp_path):
    tokens = ["fine-tune", "labels.csv", "--records", "records", "--label", "AF", "--fold", "k", "--window", "3"]
    run(*tokens, *QUICK, "--out", "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["data"]["sampling_rate"] == 100
    assert metrics["data"]["signal_path"]["window"] == 3
    assert metrics["split"]["unit"] == "patient"
    assert "validation 4, test 5" in metrics["split"]["origin"]


@pytest.mark.usefixtures("rendered")
def test_the_positive_class_is_named_everywhere(data, capsys, tmp_path):
    tokens = ["labels.csv", "--records", "records", "--label", "rhythm"]
    run("compare", *tokens, "--methods", "probe", "--seeds", "1", *QUICK[2:], "--out", "cmp")
    line = "Positive class: AF ('other' is a name of a negative class)."
    assert line in " ".join(capsys.readouterr().out.split())
    folder = tmp_path / "cmp" / "probe" / "seed-0"
    named = [tmp_path / "cmp" / "table.md", tmp_path / "cmp" / "report.html", folder / "report.html"]
    for file in [*named, folder / "README.md"]:
        assert "Positive class: AF" in html.unescape(file.read_text()).replace(
            "| Positive class | ", "Positive class: "
        )
    assert "positive class AF" in (tmp_path / "cmp" / "figures" / "methods.svg").read_text()
    for file in (tmp_path / "cmp" / "results.json", folder / "metrics.json"):
        assert json.loads(file.read_text())["positive"]["class"] == "AF"
    table = list(csv.DictReader((tmp_path / "cmp" / "table.csv").open()))
    assert {row["Positive class"] for row in table} == {"AF"}
    for kind in ("probe", "majority"):
        stored = list(csv.DictReader((tmp_path / "cmp" / kind / "seed-0" / "predictions.csv").open()))
        assert {row["label"] for row in stored} == {"AF", "other"}
        assert list(stored[0])[-1] == "probability_AF"
    found = ecgtune.load_run(folder)
    assert (found.positive, found.classes) == ("AF", ("other", "AF"))
    assert "test f1 of AF: " in found.summary()
    assert "--positive" not in (folder / "README.md").read_text()
    run("predict", folder, "records", "--out", "predicted", "--quiet")
    for name in ("predictions.csv", "recordings.csv"):
        assert "probability_AF" in (tmp_path / "predicted" / name).read_text().splitlines()[0]
    assert "holds another run" in refused(capsys, "compare", *tokens, *QUICK[2:], "--positive", "other", "--out", "cmp")


def test_recordings_that_are_z_scored_whole_need_no_normalisation(data, capsys):
    tokens = ["fine-tune", "labels.csv", "--records", "records", "--label", "AF", "--recording-zscore", *QUICK]
    assert "--normalisation none" in refused(capsys, *tokens, "--out", "run")
    run(*tokens, "--normalisation", "none", "--out", "run")
    assert ecgtune.load_run("run").metrics["data"]["signal_path"]["zscore"]


def test_compare_over_folds(data, capsys, tmp_path):
    tokens = ["compare", "labels.csv", "--records", "records", "--label", "AF", "--folds", "3", "--methods", "probe"]
    run(*tokens, "--no-baselines", "--seeds", "1", *QUICK[2:], "--out", "cv")
    out = capsys.readouterr().out
    assert "| Method |" in out
    assert "3 rounds" in out
    summary = json.loads((tmp_path / "cv" / "rounds.json").read_text())
    assert len(summary["rounds"]) == 3
    assert "3 folds by patient" in summary["rounds"][0]["split"]
    values = summary["rows"][0]["metrics"]["accuracy"]
    each = [json.loads((tmp_path / "cv" / f"round-{i + 1}" / "results.json").read_text()) for i in range(3)]
    assert values["values"] == [one["rows"][0]["metrics"]["accuracy"]["mean"] for one in each]
    assert values["mean"] == pytest.approx(np.mean(values["values"]))
    assert values["std"] == pytest.approx(np.std(values["values"], ddof=1))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (
            ["fine-tune", "labels.csv", "--window", "3"],
            "--window is an option of recordings",
        ),
        (["fine-tune", "labels.csv", "--records", "records", "--group", "patient"], "--patient"),
        (["fine-tune", "labels.csv", "--records", "records", "--lead", "II", "--leads", "I"], "both given"),
        (["compare", "labels.csv", "--records", "records", "--label", "AF", "--nested"], "--nested needs --folds"),
        (["compare", "labels.csv", "--records", "records", "--label", "AF", "--leave-site-out"], "with --site"),
        (["fine-tune", "labels.csv", "--records", "records", "--label", "AF", "--patient", "who"], "no column 'who'"),
    ],
)
def test_flags_that_do_not_fit(data, capsys, tokens, said):
    assert said in refused(capsys, *tokens)


def test_auto_takes_all_recordings(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("record,label\na,x\n")
    said = refused(
        capsys, "auto", tmp_path / "labels.csv", "--records", tmp_path, "--limit", 9, "--out", tmp_path / "out"
    )
    assert "--limit is for files of windows" in said
    assert not (tmp_path / "out").exists()
