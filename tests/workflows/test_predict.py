"""Predictions of finished runs for files of windows and for recordings, none of which need labels."""

import csv
import os
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.cli.main import main
from ecgtune.deployment.run import Ensemble
from ecgtune.errors import EcgtuneError
from ecgtune.evaluation.decision import Decision, Threshold
from ecgtune.io.writing import write_csv
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.training.predictions import read_predictions
from ecgtune.utils.csv_cells import read_csv
from helpers.cli import refused, run
from helpers.models import TINY
from helpers.recordings import write_edf
from helpers.records import heartbeats, write_record
from helpers.settings import loop

SHORT = loop(epochs=2, batch_size=8, device="cpu")
LABELS = ("MI", "HYP")
COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 recordings of two leads, 7 s at 200 Hz, a table of them, and runs on 3 s windows of lead II at 100 Hz."""
    path = tmp_path_factory.mktemp("predict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(path / "cache"))
        signals = heartbeats(2 * COUNT, seconds=7)
        for number in range(COUNT):
            pair = signals[2 * number : 2 * number + 2]
            write_record(path / "records", f"r{number:02}", pair, leads=("I", "II"))
        rows = [f"r{n:02},{n % 2},{int(n % 4 < 2)},{'NAO'[n % 3]}" for n in range(COUNT)]
        (path / "labels.csv").write_text("\n".join(["record,MI,HYP,rhythm", *rows]) + "\n")
        (path / "encoder").mkdir()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            save_encoder(EcgFM(TINY), path / "encoder", {})
        settings = ecgtune.RecordSettings(sampling_rate=100, leads=("II",), window=3, band=(0.5, 40))
        columns = {
            "binary": ecgtune.TableColumns(label="MI"),
            "multiclass": ecgtune.TableColumns(label="rhythm"),
            "multilabel": ecgtune.TableColumns(labels=LABELS),
        }
        for task, named in columns.items():
            data = ecgtune.read_records(path / "labels.csv", path / "records", columns=named, settings=settings)
            tune(path, data, task)
            tune(path, data, f"{task}-3", seed=3)
        tune(path, ecgtune.simulate(60, seed=1), "windows")
    return path


def tune(path, data, name: str, seed: int = 2) -> None:
    model = ecgtune.load_model(path / "encoder", classes=data.classes)
    ecgtune.fine_tune(
        data,
        ecgtune.Recipe(method=ecgtune.LinearProbe(), **SHORT._asdict()),
        model=model,
        out=path / name,
        seed=seed,
    )


@pytest.fixture(autouse=True)
def _own_cache(folder, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(folder / "cache"))


def table(file) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_predictions_of_the_training_recordings_are_those_of_the_run(folder, tmp_path, task):
    found = ecgtune.predict(folder / task, folder / "records", out=tmp_path)
    stored = read_predictions(folder / task / "predictions.csv")
    own = found.probability[:, 1] if task == "binary" else found.probability
    np.testing.assert_allclose(own[stored.row], stored.probability, rtol=0, atol=1e-6)
    run = ecgtune.load_run(folder / task)
    rows = table(tmp_path / "predictions.csv")
    assert [(row["recording"], row["window"]) for row in rows[:3]] == [("r00", "0"), ("r00", "1"), ("r01", "0")]
    assert len(rows) == 2 * COUNT
    names = [f"probability_{name}" for name in (["1"] if task == "binary" else run.classes)]
    np.testing.assert_array_equal([[float(row[name]) for name in names] for row in rows], own.reshape(len(rows), -1))
    for row, answer in zip(rows, found.prediction, strict=True):
        if task == "multilabel":
            assert tuple(name for name in LABELS if row[f"prediction_{name}"] == "1") == answer
        else:
            assert row["prediction"] == answer
    of_recordings = table(tmp_path / "recordings.csv")
    assert [row["recording"] for row in of_recordings] == [f"r{n:02}" for n in range(COUNT)]
    means = own.reshape(COUNT, 2, -1).mean(axis=1)
    np.testing.assert_allclose([[float(row[name]) for name in names] for row in of_recordings], means, atol=1e-12)
    if task == "binary":
        decided = [run.classes[int(p >= run.threshold)] for p in means[:, 0]]
        assert [row["prediction"] for row in of_recordings] == decided


def test_recordings_whose_names_are_no_utf8_train_and_predict(folder, tmp_path):
    records, names = tmp_path / "records", [os.fsdecode(b"caf\xe9%02d.edf" % number) for number in range(COUNT)]
    records.mkdir()
    try:
        for name, signal in zip(names, heartbeats(COUNT, seconds=7), strict=True):
            values = (1000 * signal[None]).round().clip(-3000, 3000)
            write_edf(records / "new.edf", values, leads=("II",), rate=200).rename(records / name)
    except (OSError, UnicodeError):
        pytest.skip("this file system has no such names")
    rows = [rf"caf\udce9{number:02},{number % 2}" for number in range(COUNT)]  # as messages show them
    (tmp_path / "labels.csv").write_text("\n".join(["record,MI", *rows]) + "\n")
    settings = ecgtune.RecordSettings(leads=("II",), window=3)
    data = ecgtune.read_records(tmp_path / "labels.csv", records, settings=settings)
    ecgtune.fine_tune(
        data,
        ecgtune.Recipe(method=ecgtune.LinearProbe(), **SHORT._asdict()),
        model=ecgtune.load_model(folder / "encoder", classes=data.classes),
        out=tmp_path / names[0],
    )
    assert set(read_predictions(tmp_path / names[0] / "predictions.csv").group) <= {name[:-4] for name in names}
    ecgtune.predict(tmp_path / names[0], records, out=tmp_path / "new")
    assert {row["recording"] for row in read_csv(tmp_path / "new" / "recordings.csv")} == {name[:-4] for name in names}


def test_recordings_of_the_training_are_noted(folder, tmp_path, capsys):
    rows = table(folder / "binary" / "split.csv")
    used = {name: {row["origin"] for row in rows if row["split"] == name} for name in ("train", "val", "test")}
    trained, tested = sorted(used["train"]), sorted(used["test"])
    several = f"1 of {len(tested) + 1} recordings may have trained the run"  # of other samples, as here
    for number, (names, said) in enumerate({(*tested, trained[0]): several, (*tested,): ""}.items()):
        for name in names:
            write_record(tmp_path / str(number) / "more", name, heartbeats(2, seconds=7), leads=("I", "II"))
        found = ecgtune.predict(folder / "binary", tmp_path / str(number), out=tmp_path / f"{number}-out")
        assert len(found.recordings) == len(names)
        assert [said in note and trained[0] in note for note in found.notes] == [True] * bool(said)
    file = write_csv(ecgtune.simulate(60, seed=1), tmp_path / "windows.csv")
    data = ecgtune.read_dataset(file, sampling_rate=100)
    ecgtune.fine_tune(data, ecgtune.recipe("probe", epochs=2, device="cpu"), out=tmp_path / "run")
    run("predict", tmp_path / "run", file, "--sampling-rate", "100", "--out", tmp_path / "answers", "--quiet")
    assert "windows.csv is the file that the run was trained on" in capsys.readouterr().out


def test_the_maximum_of_a_recordings_windows(folder, tmp_path):
    settings = ecgtune.PredictSettings(recording="maximum")
    found = ecgtune.predict(folder / "binary", folder / "records", settings, out=tmp_path)
    highest = found.probability[:, 1].reshape(COUNT, 2).max(axis=1)
    np.testing.assert_array_equal([pair[0][1] for pair in found.recordings.values()], highest)


def test_a_table_says_which_recordings_and_needs_no_labels(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.csv").write_text("record,age\nr05.hea,71\nr03,\n")
    tokens = ["predict", folder / "binary", "some.csv", "--records", folder / "records", "--quiet"]
    main([str(token) for token in [*tokens, "--step", "1", "--out", "answers"]])
    rows = table(tmp_path / "answers" / "predictions.csv")
    assert [(row["recording"], row["window"]) for row in rows] == [
        (name, str(number)) for name in ("r05", "r03") for number in range(5)
    ]
    assert "10 windows of 2 recordings: answers/predictions.csv" in capsys.readouterr().out


def test_unusable_recordings_are_listed_and_too_many_are_refused(folder, tmp_path, capsys):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "labels.csv").write_text("Record,rhythm\na,N\n")  # no recording
    for name in ("a", "b"):
        write_record(tmp_path / "records", name, heartbeats(1, seconds=7)[0])
    write_record(tmp_path / "records", "other", heartbeats(1, seconds=7)[0], leads=("V1",))
    (tmp_path / "records" / "torn.hea").write_text("torn 1 200")
    settings = ecgtune.PredictSettings(max_skipped=0.01)
    with pytest.raises(EcgtuneError, match=r"2 of 4 recordings cannot be used \(other, torn\), more than 1 %"):
        ecgtune.predict(folder / "binary", tmp_path / "records", settings, out=tmp_path / "no")
    assert not (tmp_path / "no" / "predictions.csv").exists()
    with pytest.raises(SystemExit) as stop:
        run("predict", folder / "binary", tmp_path / "records", "--out", tmp_path / "out", "--quiet")
    assert stop.value.code == 3
    assert "2 recordings could not be used" in capsys.readouterr().err
    assert [row["recording"] for row in table(tmp_path / "out" / "recordings.csv")] == ["a", "b"]
    skipped = table(tmp_path / "out" / "skipped.csv")
    assert [row["recording"] for row in skipped] == ["other", "torn"]
    assert "II" in skipped[0]["reason"]
    (tmp_path / "good.csv").write_text("record\na\n")
    settings = ecgtune.PredictSettings(records=tmp_path / "records")
    assert not ecgtune.predict(folder / "binary", tmp_path / "good.csv", settings, out=tmp_path / "out").skipped
    assert not (tmp_path / "out" / "skipped.csv").exists()


@pytest.mark.parametrize("name", ["r05.hea", "r05"])
def test_one_recording_by_its_file_or_its_name(folder, tmp_path, name):
    run("predict", folder / "binary", folder / "records" / name, "--out", tmp_path / "one", "--quiet")
    everything = ecgtune.predict(folder / "binary", folder / "records", out=tmp_path / "all")
    rows = table(tmp_path / "one" / "predictions.csv")
    assert [row["recording"] for row in rows] == ["r05", "r05"]
    expected = everything.probability[everything.recording == "r05", 1]
    np.testing.assert_allclose([float(row["probability_1"]) for row in rows], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (["records/r05.hea", "records/r03.dat"], ["r05", "r03"]),
        (["records/r05.hea", "records/r05.dat", "records/r05"], ["r05"]),
        (["records/r05", "more"], ["records/r05", "more/day/r05"]),
        (["more", "more/day/r05.hea"], ["day/r05"]),
    ],
)
def test_several_recordings_and_folders(folder, tmp_path, data, names):
    write_record(folder / "more" / "day", "r05", heartbeats(2, seconds=7), leads=("I", "II"))
    places = [folder / each for each in data]
    run("predict", folder / "binary", *places, "--out", tmp_path / "out", "--quiet")
    assert [row["recording"] for row in table(tmp_path / "out" / "recordings.csv")] == names
    rows = table(tmp_path / "out" / "predictions.csv")
    assert [(row["recording"], row["window"]) for row in rows] == [(name, str(n)) for name in names for n in range(2)]
    found = [ecgtune.load_run(folder / "binary").predict(each)[:, 1] for each in dict.fromkeys(map(record_of, places))]
    np.testing.assert_allclose([float(row["probability_1"]) for row in rows], np.concatenate(found), atol=1e-6)


def record_of(place):
    """The one recording of a place."""
    return place / "day" / "r05.hea" if place.name == "more" else place.with_suffix(".hea")


def test_several_files_of_windows_and_a_recording(folder, tmp_path, capsys):
    signal = ecgtune.simulate(6, seed=1).signal[:, 0]
    np.savez(tmp_path / "named.npz", signal=signal[:4], record=["a", "a", "b", "b"], sampling_rate=100)
    np.savez(tmp_path / "bare.npz", signal=signal[4:], sampling_rate=100)
    write_record(tmp_path / "day", "r1", heartbeats(1, seconds=6)[0])
    places = [tmp_path / name for name in ("named.npz", "bare.npz", "day")]
    run("predict", folder / "windows", *places, "--out", tmp_path / "out", "--quiet")
    names = ["named.npz/a", "named.npz/a", "named.npz/b", "named.npz/b", "bare.npz", "bare.npz", "day/r1"]
    rows = table(tmp_path / "out" / "predictions.csv")
    assert [row["recording"] for row in rows] == names
    expected = ecgtune.load_run(folder / "windows").predict(signal)[:, 1]
    np.testing.assert_allclose([float(row["probability_1"]) for row in rows[:6]], expected, atol=1e-6)
    assert [row["recording"] for row in table(tmp_path / "out" / "recordings.csv")] == list(dict.fromkeys(names))
    assert "bare.npz: names no recordings; its windows are taken for one recording, bare.npz" in capsys.readouterr().out


def test_no_data_and_more_than_one_table_are_refused(folder, tmp_path, capsys):
    assert "data" in refused(capsys, "predict", folder / "binary").lower()
    table = folder / "labels.csv"
    message = refused(capsys, "predict", folder / "binary", table, table, "--records", folder / "records")
    assert "DATA is one table" in message
    with pytest.raises(EcgtuneError, match="no data are given"):
        ecgtune.predict(folder / "binary", [], out=tmp_path / "out")


def test_a_recording_that_is_repeated_to_fill_a_window_has_a_note(folder, tmp_path):
    for name, seconds in (("long", 3), ("short", 2)):
        write_record(tmp_path / "records", name, heartbeats(1, seconds=seconds)[0])
    found = ecgtune.predict(folder / "binary", tmp_path / "records", out=tmp_path / "out")
    assert found.repeated == {"short": 2.0}
    for file in ("recordings.csv", "predictions.csv"):
        notes = [row["note"] for row in table(tmp_path / "out" / file)]
        assert notes == ["", "repeated: 2 s recorded, window of 3 s"]


def test_a_file_without_a_rate_has_that_of_the_run_and_it_is_said(folder, tmp_path, caplog):
    np.savez(tmp_path / "w.npz", signal=ecgtune.simulate(20, seed=1).signal[:, 0])
    with caplog.at_level("INFO", "ecgtune"):
        found = ecgtune.predict(folder / "windows", tmp_path / "w.npz", out=tmp_path / "out")
    assert len(found.probability) == 20
    assert "w.npz: states no sampling rate; 100 Hz, the run's, is assumed (--sampling-rate)" in caplog.text


def test_windows_with_and_without_labels_get_the_same_predictions(folder, tmp_path):
    data = ecgtune.simulate(60, seed=1)
    write_csv(data, tmp_path / "labelled.csv")
    np.savez(tmp_path / "bare.npz", signal=data.signal[:, 0], sampling_rate=100)
    lines = (tmp_path / "labelled.csv").read_text().splitlines()
    place = lines[0].split(",").index("label")
    rows = [",".join(cell for index, cell in enumerate(line.split(",")) if index != place) for line in lines]
    (tmp_path / "bare.csv").write_text("\n".join(rows) + "\n")
    rate, run = ecgtune.PredictSettings(sampling_rate=100), ecgtune.load_run(folder / "windows")
    found = {
        name: ecgtune.predict(run, tmp_path / name, given, out=tmp_path / f"{name}-out")
        for name, given in (("labelled.csv", rate), ("bare.csv", rate), ("bare.npz", ecgtune.PredictSettings()))
    }
    expected = run.predict(data.signal)
    for each in found.values():
        np.testing.assert_allclose(each.probability, expected, rtol=0, atol=1e-4)  # the CSV is rounded
    assert found["bare.npz"].recording is None
    assert not found["bare.npz"].recordings
    assert not (tmp_path / "bare.npz-out" / "recordings.csv").exists()
    assert set(found["bare.csv"].recordings) == set(data.group.tolist())


def test_many_windows_go_through_in_batches(folder, tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", signal=ecgtune.simulate(60, seed=1).signal[:, 0], sampling_rate=100)
    whole = ecgtune.predict(folder / "windows", tmp_path / "w.npz", out=tmp_path / "whole")
    monkeypatch.setattr(import_module("ecgtune.workflows.predict"), "BATCH", 7)
    parts = ecgtune.predict(folder / "windows", tmp_path / "w.npz", out=tmp_path / "parts")
    np.testing.assert_allclose(parts.probability, whole.probability, rtol=0, atol=1e-6)


def test_tables_that_cannot_be_written_leave_the_old_ones(folder, tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", signal=ecgtune.simulate(60, seed=1).signal[:, 0], sampling_rate=100)
    ecgtune.predict(folder / "windows", tmp_path / "w.npz", out=tmp_path / "out")
    before = (tmp_path / "out" / "predictions.csv").read_bytes()

    def stop(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(EcgtuneError, match="cannot be written"):
        ecgtune.predict(folder / "windows", tmp_path / "w.npz", out=tmp_path / "out")
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == before
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"sampling_rate": 200}, {}, "windows of 3 s, but the run was trained on windows of 6 s"),
        ({"leads": ["V1"]}, {}, "has no lead II, its leads are V1; name the one to take with --lead"),
        ({"leads": ["V1"]}, {"lead": "V2"}, "has no lead V2"),
        ({}, {"lead": "Q"}, "'Q' is unknown"),
        ({}, {"step": 1.0}, "--step is about recordings"),
        ({}, {"recording_column": "x"}, "--recording-column is about recordings"),
        ({}, {"run": "binary"}, "went through band as a whole"),
        ({}, {"run": "nowhere"}, "no run with a model"),
        ({}, {"device": "tpu"}, "'tpu'"),
        ({}, {"data": "none.npz"}, "no such file"),
    ],
)
def test_signals_that_do_not_fit_are_refused_in_one_line(folder, tmp_path, arrays, options, said):
    content = {"signal": ecgtune.simulate(20, seed=1).signal[:, 0], "sampling_rate": 100} | arrays
    np.savez(tmp_path / "w.npz", **{name: value for name, value in content.items() if value is not None})
    run, data = options.pop("run", "windows"), options.pop("data", "w.npz")
    with pytest.raises(EcgtuneError) as error:
        ecgtune.predict(folder / run, tmp_path / data, ecgtune.PredictSettings(**options), out=tmp_path / "out")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_without_header(folder, tmp_path):
    signal = ecgtune.simulate(5, seed=1).signal[:, 0]
    settings, told = ecgtune.PredictSettings(sampling_rate=100), []
    for name, rows in {
        "samples": signal,
        "labels": np.column_stack([signal, [0, 1, 0, 1, 1]]),
        "more": np.column_stack([signal, signal[:, :2]]),
    }.items():
        np.savetxt(tmp_path / f"{name}.csv", rows, delimiter=",")
        if name != "more":
            file, out = tmp_path / f"{name}.csv", tmp_path / name
            told.append(ecgtune.predict(folder / "windows", file, settings, out=out))
    np.testing.assert_array_equal(told[0].probability, told[1].probability)
    assert ["taken for a label" in " ".join(each.notes) for each in told] == [False, True]
    with pytest.raises(EcgtuneError, match=f"no header, and {signal.shape[1] + 2} columns; .*, or these and a label"):
        ecgtune.predict(folder / "windows", tmp_path / "more.csv", settings, out=tmp_path / "out")


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_an_ensemble_predicts_the_mean_of_its_runs(folder, tmp_path, task):
    names = [folder / task, folder / f"{task}-3"]
    one, two = (ecgtune.predict(name, folder / "records", out=tmp_path / name.name) for name in names)
    tokens = ["predict", names[0], folder / "records", "--ensemble", names[1], "--out", tmp_path / "both", "--quiet"]
    main([str(token) for token in tokens])
    both = ecgtune.predict(names, folder / "records", out=tmp_path / "again")
    assert np.abs(one.probability - two.probability).max() > 1e-3
    np.testing.assert_array_equal(both.probability, (one.probability + two.probability) / 2)
    for table in ("predictions.csv", "recordings.csv"):
        assert (tmp_path / "both" / table).read_bytes() == (tmp_path / "again" / table).read_bytes()
    ensemble = ecgtune.load_run(*names)
    assert (ensemble.classes, ensemble.task) == (ecgtune.load_run(names[0]).classes, task)
    assert all(str(name) in ensemble.summary() for name in names)
    signal = ecgtune.simulate(6, seed=1, seconds=3).signal
    predicted = ensemble.predict(signal)
    np.testing.assert_array_equal(predicted, np.mean([run.predict(signal) for run in ensemble.runs], axis=0))
    if task == "multiclass":
        assert ensemble.classify(signal) == [ensemble.classes[index] for index in predicted.argmax(axis=1)]


def test_thresholds_of_an_ensemble_are_the_means_of_its_runs(folder):
    first, second = ecgtune.load_run([folder / "multilabel", folder / "multilabel-3"]).runs
    fitted = [Threshold(0.2, "f1"), Threshold(0.5, "fixed")]
    other = [Threshold(0.4, "f1"), Threshold(0.5, "fixed")]
    both = Ensemble(
        (
            replace(first, decision=Decision("multilabel", tuple(fitted))),
            replace(second, decision=Decision("multilabel", tuple(other))),
        )
    )
    np.testing.assert_allclose(both.decision.values, [0.3, 0.5])
    assert both.decision.sentence(LABELS) == "MI 0.3, mean of the runs' thresholds; HYP 0.5, fixed"


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (["multiclass"], "has task multiclass, but"),
        (["windows"], "windows of 600 samples at 100 Hz, but"),
        (["binary"], "given twice"),
        (["nowhere"], "no run with a model"),
    ],
)
def test_runs_that_make_no_ensemble_are_refused(folder, others, said):
    with pytest.raises(EcgtuneError) as error:
        ecgtune.load_run([folder / "binary", *(folder / name for name in others)])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
