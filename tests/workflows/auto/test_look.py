"""What is in the files, what is assumed, and what is asked."""

import numpy as np
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
from helpers.cli import refused
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
    names = ",".join([*(f"signal_{i}" for i in range(300)), "AF", "sex"])
    rows = [",".join(f"{v:.3f}" for v in rng.normal(size=300)) + f",{k % 2},{k % 3 % 2}" for k in range(40)]
    (tmp_path / "windows.csv").write_text("\n".join([names, *rows]))
    line = refused(capsys, "auto", "windows.csv")
    assert "--label" in line
    assert "--sampling-rate" in line
    assert not (tmp_path / "runs").exists()
    with pytest.raises(QuestionError, match="--sampling-rate"):  # noise has no heart rate
        looked(tmp_path / "windows.csv", tmp_path / "out", label="AF")


def test_published_statements_and_folds_are_taken(tmp_path):
    rows = ["record,patient_id,scp_codes,strat_fold"]
    for index, signal in enumerate(heartbeats(12)):
        write_record(tmp_path / "records", f"r{index:02}", signal)
        code = "NORM" if index % 2 else "IMI"
        rows.append(f"r{index:02},p{index},\"{{'{code}': 100.0}}\",{index % 10 + 1}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    found = looked(tmp_path / "table.csv", tmp_path / "out", tmp_path / "records")
    assert (found["reading"]["columns"]["scp"], found["reading"]["columns"]["fold"]) == ("superclass", "strat_fold")
    assert len(found["assumed"]) == 2
    assert set(found["split"]) == {"train", "val", "test"}
    assert found["recordings"] == 12


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
