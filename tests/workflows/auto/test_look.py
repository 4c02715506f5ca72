"""What is in the files, what is assumed, and what is asked."""

import numpy as np
import pandas as pd
import pytest

from ecgtune.data.plausibility import fitting_rates
from ecgtune.data.simulation import simulate
from ecgtune.errors import DataError, QuestionError, RunError
from ecgtune.io.records.reading import RecordFiles
from ecgtune.io.windows import WindowFiles
from ecgtune.io.writing import write_csv
from ecgtune.utils.files import json_value
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto.auto import request_of
from ecgtune.workflows.auto.look import look
from helpers.cli import refused, run
from helpers.records import heartbeats, write_record


def request(data, records=None, **reading):
    return request_of(WindowFiles(data, **reading) if records is None else RecordFiles(data, records))


def looked(data, out, records=None, **reading):
    with ProgressBar(shown=False) as progress:
        return look(request(data, records, **reading), out, progress=progress)


def test_the_rate_of_a_csv_file_is_assumed_where_one_alone_is_plausible(tmp_path):
    write_csv(simulate(60, seed=1), tmp_path / "windows.csv")
    found = looked(tmp_path / "windows.csv", tmp_path / "out")
    assert found["reading"]["sampling_rate"] == 100
    assert "100 Hz" in found["assumed"][0]
    assert (found["task"], found["windows"], found["group"]) == ("binary", 60, "patient")
    assert json_value(tmp_path / "out" / "fingerprint.json") == found
    assert looked(tmp_path / "windows.csv", tmp_path / "other", sampling_rate=100)["assumed"] == []


def test_rates_that_do_not_fit_are_not_assumed():
    windows = simulate(40, seed=1).signal[:, 0]
    assert fitting_rates(windows) == [100.0]
    assert fitting_rates(windows[:, :599]) == []  # no whole seconds


def test_open_questions_are_asked_together(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = ",".join([*(f"signal_{i}" for i in range(300)), "AF", "MI"])
    rows = [",".join(f"{v:.3f}" for v in rng.normal(size=300)) + f",{k % 2},{k % 3 % 2}" for k in range(40)]
    (tmp_path / "windows.csv").write_text("\n".join([names, *rows]))
    line = refused(capsys, "auto", "windows.csv")
    assert "--label" in line
    assert "--sampling-rate" in line
    assert not (tmp_path / "runs").exists()
    with pytest.raises(QuestionError, match="--sampling-rate"):  # noise has no heart rate
        looked(tmp_path / "windows.csv", tmp_path / "out", label="AF")


def test_the_label_alone_is_asked_for_where_the_rate_is_assumed(tmp_path):
    windows = simulate(60, seed=1)
    columns = {f"signal_{index}": samples for index, samples in enumerate(windows.signal[:, 0].T)}
    for name, labels in (("none", {}), ("two", {"AF": windows.label, "MI": windows.label})):
        pd.DataFrame(columns | labels).to_csv(tmp_path / f"{name}.csv", index=False)
        with pytest.raises(QuestionError) as question:
            looked(tmp_path / f"{name}.csv", tmp_path / name)
        (asked,) = question.value.questions
        assert "--label" in asked
    assert "100 Hz" in looked(tmp_path / "two.csv", tmp_path / "out", label="AF")["assumed"][0]


def test_open_questions_of_a_table_and_of_its_recordings_are_asked_together(tmp_path):
    (tmp_path / "records").mkdir()
    for index, signal in enumerate(heartbeats(4)):
        np.save(tmp_path / "records" / f"r{index}.npy", signal)
    (tmp_path / "table.csv").write_text("record,first,second\nr0,0,1\nr1,1,0\nr2,0,1\nr3,1,0\n")
    with pytest.raises(QuestionError) as question:
        looked(tmp_path / "table.csv", tmp_path / "out", tmp_path / "records")
    for flag in ("--label", "--unit", "--sampling-rate"):
        assert flag in str(question.value)


@pytest.mark.parametrize(
    ("folds", "fold", "said"),
    [
        (
            (1, 1, 1, 1, 9, 9, 10, 10),
            "strat_fold",
            "the folds of column strat_fold are the split; --fold names another",
        ),
        (
            (1, 1, 1, 1, 9, 9, 1, 10),
            None,
            "a split by the folds of column strat_fold would lack a class, so one is drawn",
        ),
    ],
)
def test_published_statements_are_taken_and_folds_where_they_have_all_classes(tmp_path, folds, fold, said):
    rows = ["record,patient_id,scp_codes,strat_fold"]
    for index, (signal, number) in enumerate(zip(heartbeats(8), folds, strict=True)):
        write_record(tmp_path / "records", f"r{index:02}", signal)
        code = "NORM" if index % 2 else "IMI"
        rows.append(f"r{index:02},p{index},\"{{'{code}': 100.0}}\",{number}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    found = looked(tmp_path / "table.csv", tmp_path / "out", tmp_path / "records")
    assert (found["reading"]["columns"]["scp"], found["reading"]["columns"].get("fold")) == ("superclass", fold)
    assert found["assumed"][-1].startswith(said)
    assert found["split"] == ({"train": 4, "val": 2, "test": 2} if fold else None)
    assert found["recordings"] == 8


def test_a_folder_of_another_auto_is_refused(tmp_path):
    write_csv(simulate(60, seed=1), tmp_path / "windows.csv")
    looked(tmp_path / "windows.csv", tmp_path / "out")
    with pytest.raises(RunError, match="another auto"):
        looked(tmp_path / "windows.csv", tmp_path / "out", sampling_rate=200)


def test_copies_of_one_signal_are_refused_before_they_fill_the_file(tmp_path, monkeypatch):
    windows = simulate(20, seed=1)
    names, signal = [f"r{number}" for number in range(20)], np.repeat(windows.signal[:1], 20, axis=0)
    np.savez(tmp_path / "w.npz", signal=signal, label=windows.label, record=names, sampling_rate=100, leads=["II"])
    assert len(looked(tmp_path / "w.npz", tmp_path / "out")["duplicates"]) == 190
    monkeypatch.setattr("ecgtune.workflows.auto.look._MOST_PAIRS", 100)
    with pytest.raises(DataError, match="190 pairs of records have the same signal; leave the copies out"):
        looked(tmp_path / "w.npz", tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_the_column_of_labels_that_was_taken_is_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sentence = "the labels are those of column 'rhythm'"
    windows = simulate(60, seed=1)
    columns = {f"signal_{index}": samples for index, samples in enumerate(windows.signal[:, 0].T)}
    pd.DataFrame(columns | {"rhythm": windows.label, "site": "north"}).to_csv("windows.csv", index=False)
    for index, signal in enumerate(heartbeats(8)):
        write_record(tmp_path / "records", f"r{index}", signal)
    rows = "".join(f"r{index},{'AF' if index % 2 else 'SR'},{1 + index // 2}\n" for index in range(8))
    (tmp_path / "table.csv").write_text(f"record,rhythm,fold\n{rows}")
    for out, *data in (
        ("first", "windows.csv"),
        ("from the cache", "windows.csv"),
        ("of recordings", "table.csv", "--records", "records"),
    ):
        run("auto", *data, "--until", "look", "--out", out)
        assert capsys.readouterr().err.count(sentence) == 1
    notes = json_value(tmp_path / "first" / "fingerprint.json")["quality"]["notes"]
    assert notes[:2] == [sentence, "columns that are not used: 'site'"]


def test_differences_between_recordings_are_stated_without_a_flag(tmp_path):
    for index, signal in enumerate(heartbeats(4)):
        write_record(tmp_path / "records", f"r{index}", signal[: -200 * (index // 2)] if index > 1 else signal)
    (tmp_path / "table.csv").write_text("record,label\nr0,0\nr1,1\nr2,0\nr3,1\n")
    found = looked(tmp_path / "table.csv", tmp_path / "out", tmp_path / "records")
    assert found["problems"] == ["the recordings have 2 lengths: 10 s (2, such as r0), 9 s (2, such as r2)"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--site", "site"), "--site is an option of recordings; give their folder with --records"),
        (("--resample", "50"), "--resample is an option of recordings"),
        (("--from", "1"), "--from is an option of recordings"),
        (("--leads", "I", "II"), "auto takes one or all; name one"),
        (("--leads", "I", "--lead", "II"), "--lead and --leads are both given"),
        (("--records", ".", "--skipped", "a.csv"), "--skipped is not for auto"),
    ],
)
def test_flags_without_an_effect_are_refused(tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    write_csv(simulate(60, seed=1), tmp_path / "windows.csv")
    assert said in refused(capsys, "auto", "windows.csv", *flags)
    assert not (tmp_path / "runs").exists()


def test_one_lead_of_a_file_of_windows_is_taken(tmp_path):
    windows = simulate(20, seed=1)
    signal = np.repeat(windows.signal, 2, axis=1) * [[[1], [2]]]
    np.savez(tmp_path / "w.npz", signal=signal, label=windows.label, sampling_rate=100, leads=["I", "V1"])
    run("auto", tmp_path / "w.npz", "--leads", "V1", "--until", "look", "--out", tmp_path / "out")
    assert json_value(tmp_path / "out" / "fingerprint.json")["leads"] == {"V1": 20}
