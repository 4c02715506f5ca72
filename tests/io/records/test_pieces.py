"""Recordings that are longer than what is read at once: parts of time, pieces, and the same windows as of the whole."""

import numpy as np
import pytest

from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import DataError
from ecgtune.io.readers.base import LongRecordingError, ReadOptions
from ecgtune.io.readers.registry import read_recording
from ecgtune.io.records import pieces
from ecgtune.io.records.pieces import windows_in_pieces
from ecgtune.io.records.reading import RecordSettings, inspect_records
from helpers.recordings import write_csv, write_edf, write_hdf5, write_wfdb
from helpers.records import heartbeats

RATE, SECONDS = 125, 300
FACTS = {"sampling_rate": float(RATE), "unit": "uV", "lead_names": ("I", "II")}


@pytest.fixture(scope="module")
def steps() -> np.ndarray:
    """Five minutes of two leads in microvolts."""
    beats = heartbeats(2, rate=RATE, seconds=SECONDS)
    return np.round(1000 * beats).astype(np.int64)


def npy(path, values):
    np.save(path, values)
    return path


FORMATS = {
    "WFDB": lambda folder, steps: write_wfdb(folder, steps, leads=("I", "II"), rate=RATE),
    "WFDB, 212": lambda folder, steps: write_wfdb(folder, steps // 2, leads=("I", "II"), rate=RATE, fmt="212"),
    "EDF": lambda folder, steps: write_edf(folder / "rec.edf", steps, leads=("I", "II"), rate=RATE, limit=3276),
    "NPY": lambda folder, steps: npy(folder / "rec.npy", steps),
    "HDF5": lambda folder, steps: write_hdf5(folder / "rec.h5", steps),
    "CSV": lambda folder, steps: write_csv(folder / "rec.csv", steps, ("I", "II")),
}


def options(name: str, **other) -> ReadOptions:
    return ReadOptions(
        **(FACTS if name in ("NPY", "HDF5") else FACTS | {"lead_names": None} if name == "CSV" else {}), **other
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_part_of_time_is_that_part_of_the_whole(name, steps, tmp_path):
    path = FORMATS[name](tmp_path, steps[:, : 20 * RATE])
    whole = read_recording(path, options(name)).signal
    part = read_recording(path, options(name, start=3.2, stop=7.6)).signal
    np.testing.assert_array_equal(part, whole[:, 400:950])
    end = read_recording(path, options(name, start=18.0, stop=99.0)).signal
    np.testing.assert_array_equal(end, whole[:, 18 * RATE :])
    with pytest.raises(DataError, match="lasts 20 s, and nothing of it lies between --from and --to"):
        read_recording(path, options(name, start=20.0))


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "CSV"])
def test_part_and_leads_are_chosen_before_the_limit_counts(name, steps, tmp_path):
    path = FORMATS[name](tmp_path, steps)
    most = steps.shape[1] + 10
    with pytest.raises(LongRecordingError, match=r"at most \d+ are read at once.*--from and --to") as error:
        read_recording(path, options(name, max_values=most))
    assert (error.value.leads, error.value.sampling_rate, error.value.seconds) == (("I", "II"), RATE, SECONDS)
    assert read_recording(path, options(name, max_values=most, leads=("II",))).leads == ("II",)
    assert read_recording(path, options(name, max_values=most, start=150.0)).seconds == 150


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 10.0},
        {"window": 10.0, "step": 2.5, "band": (0.5, 40.0), "mains": 50.0},
        {"window": 5.0, "sampling_rate": 100.0, "band": (0.5, 40.0)},
        {"window": 10.0, "sampling_rate": 360.0, "leads": ("II",)},
    ],
)
@pytest.mark.parametrize("start", [None, 20.0])
def test_windows_of_pieces_are_those_of_the_whole(settings, start, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_VALUES", 2 * RATE * 60)
    path = FORMATS["WFDB"](tmp_path, steps)
    signal_path = SignalPath(**{"sampling_rate": float(RATE), "leads": ("I", "II")} | settings)
    whole = read_recording(path, ReadOptions(start=start))
    expected = signal_path(whole.signal, whole.leads, whole.sampling_rate).windows
    asked = ReadOptions(start=start, max_values=2 * RATE * 120)
    with pytest.raises(LongRecordingError) as long:
        read_recording(path, asked)
    found: list[np.ndarray] = []
    _, count, _ = windows_in_pieces(path, long.value, asked, signal_path, found.append)
    assert len(found) > 3
    assert count == len(expected)
    np.testing.assert_allclose(np.concatenate(found), expected, atol=2e-3 if "band" in settings else 5e-4)


def test_a_long_recording_in_a_folder(steps, tmp_path, monkeypatch):
    """A lost electrode for a minute, and a table of two recordings, of which one is short."""
    monkeypatch.setattr(pieces, "PIECE_VALUES", 2 * RATE * 60)
    steps = steps.copy()
    steps[:, RATE * 120 : RATE * 180] = 0
    (tmp_path / "records").mkdir()
    write_wfdb(tmp_path / "records", steps, "a", ("I", "II"), RATE)
    write_wfdb(tmp_path / "records", steps[:, : RATE * 20] // 2 + 7, "b", ("I", "II"), RATE)
    (tmp_path / "labels.csv").write_text("record,label\na,AF\nb,SR\n")
    asked = ReadOptions(max_values=2 * RATE * 100)
    found = inspect_records(
        tmp_path / "labels.csv", tmp_path / "records", options=asked, settings=RecordSettings(window=10.0, workers=1)
    )
    assert found.dataset is not None
    assert {name: known.windows for name, known in found.facts.items()} == {"a": 24, "b": 2}
    assert found.facts["a"].seconds == SECONDS
    with pytest.raises(DataError, match=r"--from and --to .*--window"):
        inspect_records(tmp_path / "labels.csv", tmp_path / "records", options=asked)
