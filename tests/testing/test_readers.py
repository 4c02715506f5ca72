"""Readers keep their interface; a format from outside the package is read like any other."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ecgtune.errors import DataError, SettingError
from ecgtune.io.readers import registry
from ecgtune.io.readers.base import FileReader, Recording, check_size, make_recording, millivolt_factor, stated_rate
from ecgtune.io.readers.channels import wanted_leads
from ecgtune.io.readers.csv_files import CSV
from ecgtune.io.readers.numpy_files import NPZ
from ecgtune.testing.checks import ConformanceError
from ecgtune.testing.readers import check_reader


def write_npz(folder, recording):
    path = folder / "one.npz"
    np.savez(path, signal=recording.signal, sampling_rate=recording.sampling_rate, unit="mV", leads=recording.leads)
    return path


def write_csv(folder, recording):
    path = folder / "one.csv"
    rows = "\n".join(",".join(f"{value:.5f}" for value in row) for row in recording.signal.T)
    path.write_text(",".join(recording.leads) + "\n" + rows + "\n")
    return path


def write_json(folder, recording):
    path = folder / "one.ecgjson"
    content = {"rate": recording.sampling_rate, "leads": recording.leads, "mV": recording.signal.tolist()}
    path.write_text(json.dumps(content))
    return path


def read_json(path, options):
    content = json.loads(path.read_text())
    check_size(path, len(content["mV"]), len(content["mV"][0]), options)
    leads = wanted_leads(path, content["leads"], options)
    millivolt_factor(path, "mV", options.unit)
    rate = stated_rate(path, content["rate"], options.sampling_rate)
    return make_recording(path, [content["mV"][channel] for channel in leads.values()], list(leads), rate)


JSON = FileReader("JSON of the test", (".ecgjson",), read_json)


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setattr(registry, "_ADDED", {})


@pytest.mark.parametrize(("reader", "write"), [(NPZ, write_npz), (CSV, write_csv)], ids=["npz", "csv"])
def test_readers_keep_the_interface(reader, write):
    check_reader(reader, write)


def test_a_reader_from_outside(added, tmp_path):
    with pytest.raises(ConformanceError, match="not registered"):
        check_reader(JSON, write_json)
    registry.register_reader(JSON)
    registry.register_reader(JSON)  # as when its file is imported again
    check_reader(JSON, write_json)
    write_json(tmp_path, Recording(np.zeros((1, 300), np.float32), ("II",), 250.0, ""))
    assert list(registry.find_recordings(tmp_path)) == ["one"]


def test_a_harmed_reader_is_found(added):
    def in_microvolts(path, options):
        found = read_json(path, options)
        return Recording(found.signal * 1000, found.leads, found.sampling_rate, found.path)

    harmed = registry.register_reader(FileReader("harmed", (".ecgjson",), in_microvolts))
    with pytest.raises(ConformanceError, match="samples differ by"):
        check_reader(harmed, write_json)


def obey_the_flag_rate(path, options):
    return replace(read_json(path, replace(options, sampling_rate=None)), sampling_rate=options.sampling_rate or 250.0)


def obey_the_flag_leads(path, options):
    found = read_json(path, replace(options, lead_names=None))
    return replace(found, leads=options.lead_names or found.leads)


@pytest.mark.parametrize(
    ("read", "flag"), [(obey_the_flag_rate, "--sampling-rate"), (obey_the_flag_leads, "--lead-names")]
)
def test_a_flag_that_overrules_the_file_is_found(read, flag, added):
    harmed = registry.register_reader(FileReader("harmed", (".ecgjson",), read))
    with pytest.raises(ConformanceError, match=f"contradictions: the file states its .* but {flag} .* overrules it"):
        check_reader(harmed, write_json)


def test_a_missing_fact_is_a_question(added):
    def refuse(path, options):
        if options.unit is None:
            raise DataError(f"{path}: no unit")
        return read_json(path, options)

    harmed = registry.register_reader(FileReader("harmed", (".ecgjson",), refuse))
    with pytest.raises(ConformanceError, match=r"no unit. is no question; raise ecgtune\.QuestionError"):
        check_reader(harmed, write_json)


def test_a_reader_has_a_name():
    check_reader("an NPZ archive", write_npz)
    with pytest.raises(SettingError, match="reader 'NPY2' is not known"):
        check_reader("NPY2", write_npz)


@pytest.mark.parametrize("suffix", ["ecgjson", ".EcgJson", "."])
def test_a_suffix_begins_with_a_dot_and_is_in_lower_case(suffix, added):
    with pytest.raises(SettingError, match=r"is not allowed; write it in lower case with a dot, such as '\.ecg"):
        registry.register_reader(FileReader("other", (suffix,), read_json))
    assert registry._ADDED == {}


def test_a_signature_has_an_offset(added):
    with pytest.raises(SettingError, match=r"write \(offset, bytes\) for each, such as signatures=\(\(0, b'ECG1'\),\)"):
        registry.register_reader(FileReader("other", (".ecgjson",), read_json, signatures=(b"ECGJ",)))  # type: ignore
    assert registry._ADDED == {}


def test_the_longest_suffix_decides(added, tmp_path):
    members = lambda path: ("first", "second")  # noqa: E731
    mine = registry.register_reader(FileReader("other", (".my.csv",), read_json, members=members))
    path = tmp_path / "one.My.csv"
    path.write_text("{}")
    assert registry.recording_reader(path) is mine
    assert registry.recording_reader(tmp_path / "one.csv") is CSV
    assert list(registry.find_recordings(tmp_path)) == ["one/first", "one/second"]


def test_a_suffix_has_one_reader(added):
    with pytest.raises(SettingError, match=r"suffix '\.npz' belongs to an NPZ archive; choose another"):
        registry.register_reader(FileReader("other", (".npz",), read_json))
