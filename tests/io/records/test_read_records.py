"""From a table and a folder to windows: the right samples, the cache, and what real folders are full of."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb
from numpy.testing import assert_allclose, assert_array_equal

from ecgtune.config.commands import PredictSettings
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import DataError, SettingError
from ecgtune.io.label_table import TableColumns
from ecgtune.io.readers import registry
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.records import first_pass
from ecgtune.io.records.reading import RecordSettings, inspect_records, read_records
from ecgtune.io.records.selection import Selection
from ecgtune.io.unlabelled import read_unlabelled_records
from helpers.records import heartbeats, write_record
from helpers.sources import import_source  # noqa: F401 (a fixture)


def test_windows_are_the_recordings_that_wfdb_reads(folder):
    table, records = folder(6)
    dataset = read_records(table, records)
    expected = [wfdb.rdrecord(str(records / f"r{i:02}")).p_signal.T for i in range(6)]
    assert_allclose(dataset.signal, np.stack(expected), atol=1e-6)
    assert isinstance(dataset.signal, np.memmap)
    assert not dataset.signal.flags.writeable
    assert (dataset.leads, dataset.sampling_rate, dataset.unit) == (("II",), 200.0, "mV")
    assert (dataset.classes, dataset.task) == (("0", "1"), "binary")
    assert_array_equal(dataset.label, [0, 1] * 3)
    assert_array_equal(dataset.group, dataset.recording)
    assert dataset.group_name == "record"


def test_windows_carry_what_the_table_says_of_their_recording(folder):
    table, records = folder(4)
    rows = ["name,who,where,k,MI,CD", "r02.dat,p,A,1,1,0", "r00,q,B,2,0,", "r03.hea,r,B,3,,1", "records/r01,s,A,1,0,0"]
    table.write_text("\n".join(rows) + "\n")
    columns = TableColumns(recording="name", patient="who", site="where", fold="k", labels=("MI", "CD"))
    dataset = read_records(table, records, columns=columns, settings=RecordSettings(window=4, step=2))
    assert dataset.signal.shape == (16, 1, 800)
    each = slice(None, None, 4)
    assert_array_equal(dataset.recording[each], ["r02", "r00", "r03", "r01"])
    assert_array_equal(dataset.group[each], ["p", "q", "r", "s"])
    assert_array_equal(dataset.site[each], ["A", "B", "B", "A"])
    assert_array_equal(dataset.split[each], ["train", "val", "test", "train"])
    assert_array_equal(dataset.label[each], [[1, 0], [0, -1], [-1, 1], [0, 0]])
    assert dataset.group_name == "patient"
    assert dataset.source.signal_path["step"] == 2
    assert_array_equal(dataset.signal[1, :, :400], dataset.signal[0, :, 400:])
    assert dataset.select([5]).recording[0] == "r00"


def counting(monkeypatch) -> list[int]:
    """How many recordings each later first pass reads."""
    passes: list[int] = []
    original = first_pass.prepare

    def prepare(job):
        passes.append(len(job.paths))
        return original(job)

    monkeypatch.setattr(first_pass, "prepare", prepare)
    return passes


def test_the_second_read_is_from_the_cache_and_follows_the_contents(folder, monkeypatch):
    table, records = folder(4)
    passes = counting(monkeypatch)
    first = read_records(table, records)
    table.write_text(table.read_text().replace("label", "other"))  # other labels, the same windows
    assert_array_equal(read_records(table, records).signal, first.signal)
    content = (records / "r01.dat").read_bytes()
    (records / "r01.dat").write_bytes(content)  # touched, not changed
    assert_array_equal(read_records(table, records).signal, first.signal)
    assert passes == [4]
    write_record(records, "r01", heartbeats(1, seed=9)[0])
    changed = read_records(table, records)
    assert passes == [4, 4]
    assert (changed.signal != first.signal).any(axis=(1, 2)).tolist() == [False, True, False, False]
    assert changed.source.sha256 != first.source.sha256
    read_records(table, records, settings=RecordSettings(mains=50))
    assert passes == [4, 4, 4]


READER = """
import json
import numpy as np
import ecgtune
from ecgtune.io.readers.base import make_recording

def read(path, options):
    return make_recording(path, np.array([json.loads(path.read_text())]) / {}, ["II"], 100.0)

ecgtune.register_reader(ecgtune.FileReader("edited", (".edited",), read))
"""


def test_an_edited_reader_reads_again(import_source, monkeypatch, tmp_path, cache_folder):  # noqa: F811
    monkeypatch.setattr(registry, "_ADDED", {})
    for index in range(4):
        (tmp_path / f"r{index}.edited").write_text(json.dumps((1000 * heartbeats(4)[index]).tolist()))
    table = tmp_path / "labels.csv"
    table.write_text("record,label\n" + "".join(f"r{index},{index % 2}\n" for index in range(4)))
    passes = counting(monkeypatch)
    import_source("edited_reader", READER.format(1000))
    first = np.array(read_records(table, tmp_path).signal)
    assert_array_equal(read_records(table, tmp_path).signal, first)
    assert passes == [4]
    import_source("edited_reader", READER.format(500))
    assert_allclose(read_records(table, tmp_path).signal, 2 * first, rtol=1e-6)
    assert len(list(cache_folder.iterdir())) == 1


def test_a_damaged_entry_is_made_again_and_old_versions_go(folder, cache_folder):
    table, records = folder(4)
    first = np.array(read_records(table, records).signal)
    (entry,) = cache_folder.iterdir()
    (entry / "signal.f32").write_bytes(b"half")
    assert_array_equal(read_records(table, records).signal, first)
    write_record(records, "r01", heartbeats(1, seed=9)[0])
    read_records(table, records)
    assert len(list(cache_folder.iterdir())) == 1


@pytest.mark.parametrize("place", ["a folder", "a device", "a pipe"])
def test_an_entry_with_anything_in_place_of_a_file_is_made_again(folder, cache_folder, place):
    table, records = folder(4)
    first = np.array(read_records(table, records).signal)
    (entry,) = cache_folder.iterdir()
    file = entry / {"a folder": "versions.json", "a device": "versions.json", "a pipe": "signal.f32"}[place]
    file.unlink()
    {"a folder": Path.mkdir, "a device": lambda file: file.symlink_to("/dev/zero"), "a pipe": os.mkfifo}[place](file)
    assert_array_equal(read_records(table, records).signal, first)


@pytest.mark.slow
def test_several_processes_give_the_same_windows_in_the_same_order(tmp_path):
    """From a fresh interpreter, as a user's script would; the processes are spawned."""
    table, records = tmp_path / "labels.csv", tmp_path / "records"
    records.mkdir()
    for index, signal in enumerate(heartbeats(34)):
        np.save(records / f"{index}.npy", signal)
    table.write_text("record,label\n" + "".join(f"{index},{index % 2}\n" for index in range(34)))
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, numpy as np\nfrom ecgtune import ReadOptions\n"
        "from ecgtune import RecordSettings, read_records\n"
        "if __name__ == '__main__':\n"
        "    done = []\n"
        "    made = read_records(*sys.argv[1:3], options=ReadOptions(sampling_rate=200.0, unit='mV'),"
        " settings=RecordSettings(workers=2),"
        " progress=lambda n, of: done.append((n, of)))\n"
        "    assert done == [(16, 34), (32, 34), (34, 34)], done\n"
        "    np.save(sys.argv[3], made.signal)\n"
    )
    subprocess.run([sys.executable, script, table, records, tmp_path / "out.npy"], check=True)
    assert_array_equal(np.load(tmp_path / "out.npy")[:, 0], heartbeats(34))


def damage(records: Path, what: str) -> None:
    header, samples = records / "r01.hea", records / "r01.dat"
    if what == "truncated":
        samples.write_bytes(samples.read_bytes()[:1000])
    elif what == "promises more":
        header.write_text(header.read_text().replace(" 2000\n", " 9000\n", 1))
    elif what == "path":
        header.write_text(header.read_text().replace("r01.dat", "../../etc/passwd"))
    elif what == "nonsense":
        header.write_bytes(b"\x00\xff\x13")
    elif what == "gone":
        samples.unlink()
    elif what == "flat":
        write_record(records, "r01", np.full(2000, 0.5))
    elif what == "gap":
        signal = heartbeats(1)[0].astype(np.float64)
        signal[100:300] = np.nan
        write_record(records, "r01", signal)
    elif what == "pipe":
        header.unlink()
        os.mkfifo(header)


def test_processes_are_started_only_for_work_that_is_worth_them(folder, monkeypatch):
    table, records = folder(40)
    shared: list[int] = []

    def in_processes(jobs, workers):
        shared.append(len(jobs))
        return map(first_pass.prepare, jobs)

    monkeypatch.setattr(first_pass, "_in_processes", in_processes)
    monkeypatch.setattr(first_pass.os, "cpu_count", lambda: 4)
    here = read_records(table, records)
    assert shared == []
    monkeypatch.setattr(first_pass, "_WORTH_PROCESSES", 0.0)
    there = read_records(table, records, settings=RecordSettings(mains=50.0))
    assert shared == [1]  # of three jobs two are done before the decision
    assert_array_equal(there.recording, here.recording)
    read_records(table, records, settings=RecordSettings(mains=60.0, workers=1))
    assert shared == [1]
    read_records(table, records, settings=RecordSettings(mains=60.0, window=5.0, workers=2))
    assert shared == [1, 3]


DAMAGES = ["truncated", "promises more", "path", "nonsense", "gone", "flat", "gap", "pipe"]


@pytest.mark.parametrize("what", DAMAGES)
def test_one_bad_file_is_listed_and_stops_nobody(folder, tmp_path, what):
    table, records = folder(4)
    damage(records, what)
    settings = RecordSettings(max_skipped=0.3)
    dataset = read_records(table, records, settings=settings, skipped=tmp_path / "skipped.csv")
    assert_array_equal(dataset.recording, ["r00", "r02", "r03"])
    assert any("1 of 4 labelled recordings left out" in note for note in dataset.source.notes)
    (row,) = csv.DictReader((tmp_path / "skipped.csv").open())
    assert row["recording"] == "r01"
    assert row["file"].endswith("r01.hea")
    assert len(row["reason"]) > 10


def test_pipes_and_devices_in_a_folder_are_listed_for_predictions(folder, tmp_path):
    _, records = folder(2)
    os.mkfifo(records / "pipe.npy")
    (records / "zero.npy").symlink_to("/dev/zero")
    path = SignalPath(200.0, ("II",), window=5.0)
    found = read_unlabelled_records([records], path, PredictSettings(), skipped=tmp_path / "skipped.csv")
    reason = "is a pipe or a device, not a regular file"
    assert [(each.recording, each.reason) for each in found.skipped] == [("pipe", reason), ("zero", reason)]
    assert len((tmp_path / "skipped.csv").read_text().splitlines()) == 3
    assert_array_equal(found.recording, ["r00", "r00", "r01", "r01"])


def test_too_many_bad_files_end_the_run_and_are_still_listed(folder, tmp_path, cache_folder):
    table, records = folder(4)
    damage(records, "truncated")
    with pytest.raises(
        DataError, match=r"1 of 4 labelled recordings cannot be used \(r01\), more than 1 %; r01: .*--max-skipped 0.26"
    ):
        read_records(table, records, skipped=tmp_path / "skipped.csv")
    assert len((tmp_path / "skipped.csv").read_text().splitlines()) == 2
    assert list(cache_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("missing", "reasons", "said"),
    [
        (["gone"], ["cut short", "no unit", "no unit"], "b: no unit"),
        (["gone"] * 2, ["cut short", "no unit"], "a: cut short"),
        (["gone"] * 3, ["cut short", "no unit"], "gone: no recording of this name"),
    ],
)
def test_the_error_names_the_most_common_reason(missing, reasons, said, tmp_path):
    paths = {name: tmp_path / name for name in "abc"[: len(reasons)]}
    selection = Selection(tmp_path, paths, tuple(missing), (), "labels.csv")
    with pytest.raises(DataError, match=f"not one of its . recordings can be used; {said}"):
        selection.skipped(reasons, 0.01, None)


def test_segments_of_a_labelled_record_are_not_unused(folder):
    table, records = folder(4)
    rate, samples = (records / "r01.hea").read_text().splitlines()[0].split()[2:4]
    (records / "whole.hea").write_text(f"whole/1 1 {rate} {samples}\nr01 {samples}\n")
    table.write_text(table.read_text().replace("r01,", "whole,"))
    assert inspect_records(table, records).unused == ()


def test_labels_without_recordings_and_recordings_without_labels(folder, tmp_path):
    table, records = folder(4)
    table.write_text(table.read_text().replace("r01,", "r77,") + "r88,\n")
    (records / "statements.csv").write_text(",description\nSR,sinus rhythm\n")  # a table, no recording
    found = inspect_records(table, records, settings=RecordSettings(max_skipped=0.5), skipped=tmp_path / "s.csv")
    assert (found.absent, found.unused, found.table.unlabelled) == (("r77",), ("r01",), ("r88",))
    assert "r77,,no recording of this name" in (tmp_path / "s.csv").read_text()
    with pytest.raises(DataError, match=r"\(r77\), more than 1 %; r77: no recording of this name in the folder"):
        read_records(table, records)


@pytest.mark.parametrize(
    ("record", "cure", "said"),
    [
        (
            {"rate": 100},
            {"sampling_rate": 100.0, "window": 5.0},
            r"200 Hz \(4, such as r00\), 100 Hz \(1, such as odd\); .*--resample",
        ),
        (
            {"leads": ("V1",)},
            {"leads": ("II", "V1")},
            r"II \(4, such as r00\), V1 \(1, such as odd\); .*--leads II V1",
        ),
        (
            {"seconds": 7},
            {"window": 7.0},
            r"10 s \(4, such as r00\), 7 s \(1, such as odd\); .*--window .*has 7",
        ),
    ],
)
def test_what_is_mixed_is_named_and_counted_and_has_a_cure(folder, record, cure, said):
    table, records = folder(4)
    rate = record.get("rate", 200)
    signal = heartbeats(1, rate=rate, seconds=record.get("seconds", 10))[0]
    write_record(records, "odd", signal, rate=rate, leads=record.get("leads", ("II",)))
    table.write_text(table.read_text() + "odd,1\n")
    with pytest.raises(DataError, match=said):
        read_records(table, records)
    dataset = read_records(table, records, settings=RecordSettings(**cure))
    assert "odd" in dataset.recording


def test_a_missing_lead_and_a_short_recording_are_told(folder):
    table, records = folder(4)
    settings = RecordSettings(leads=("I", "II"), window=12.0)
    notes = " ".join(read_records(table, records, settings=settings).source.notes)
    assert "4 recordings without a lead" in notes
    assert "4 recordings shorter than the window" in notes


def test_settings_of_the_files_reach_the_reader(tmp_path):
    (tmp_path / "records").mkdir()
    for index, signal in enumerate(heartbeats(4)):
        np.save(tmp_path / "records" / f"{index}.npy", signal * 1000)
    (tmp_path / "labels.csv").write_text("record,label\n0,a\n1,b\n2,a\n3,b\n")
    with pytest.raises(DataError, match=r"not one of its 4 labelled .*--unit"):
        read_records(tmp_path / "labels.csv", tmp_path / "records")
    dataset = read_records(
        tmp_path / "labels.csv", tmp_path / "records", options=ReadOptions(sampling_rate=200.0, unit="uV")
    )
    assert_allclose(dataset.signal[:, 0], heartbeats(4), atol=1e-4)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("record,label\nx,1\ny,0\n", r"none of its 2 recordings is in .*\(x; the folder has r00"),
        ("record,label\nr00,1\nr00.dat,0\n", "'r00' and 'r00.dat' are the same recording"),
    ],
)
def test_tables_that_do_not_fit_the_folder(folder, names, said):
    table, records = folder(2)
    table.write_text(names)
    with pytest.raises(DataError, match=said):
        read_records(table, records)


def test_a_folder_that_is_not_there(folder):
    table, records = folder(2)
    with pytest.raises(DataError, match="no such folder"):
        read_records(table, records / "x")


@pytest.mark.parametrize("settings", [{"max_skipped": 2.0}, {"workers": 0}, {"sampling_rate": 5.0}])
def test_settings_that_cannot_be(settings):
    with pytest.raises((SettingError, DataError)):
        RecordSettings(**settings)


def test_a_file_that_changes_meanwhile_is_refused(folder, monkeypatch, cache_folder):
    table, records = folder(3)
    original = first_pass.prepare

    def prepare(job):
        (records / "r00.dat").write_bytes((records / "r00.dat").read_bytes() + b"more")
        return original(job)

    monkeypatch.setattr(first_pass, "prepare", prepare)
    with pytest.raises(DataError, match="changed while it was read"):
        read_records(table, records)
    assert list(cache_folder.iterdir()) == []


def test_real_recordings(shared):
    records = shared / "data" / "records"
    columns = TableColumns(labels=("NORM", "MI", "STTC", "CD", "HYP"), fold="strat_fold")
    ptbxl = read_records(records / "ptbxl" / "labels.csv", records / "ptbxl", columns=columns)
    assert ptbxl.signal.shape == (40, 12, 5000)
    stored = np.load(shared / "data" / "ptbxl500_500hz.npz")["X"][:1].astype(np.float32) / 1000
    assert_allclose(ptbxl.signal[:1], stored, atol=1e-3)
    settings = RecordSettings(sampling_rate=100.0, window=6.0)
    cinc = read_records(records / "cinc2017" / "labels.csv", records / "cinc2017", settings=settings)
    assert cinc.signal.shape[1:] == (1, 600)
    assert len(np.unique(cinc.recording)) == 60
