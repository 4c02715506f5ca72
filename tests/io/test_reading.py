"""A refused file leaves nothing running."""

import threading

import pytest

from ecgtune.errors import DataError
from ecgtune.io.windows import WindowSettings, read_dataset


def test_a_refused_file_leaves_no_thread_behind(tmp_path, monkeypatch):
    """Threads of an abandoned read would be joined by the garbage collector, from any place: a deadlock was seen."""
    monkeypatch.setattr("ecgtune.io.readers.csv_files._PIECE_BYTES", 64)
    file = tmp_path / "one_sample.csv"
    file.write_text("signal_0,label\n" + "0.5,1\n0.25,0\n" * 200)
    with pytest.raises(DataError, match="1 sample") as error:
        read_dataset(file, sampling_rate=100, settings=WindowSettings(cache=False))
    alive = [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name]
    assert error.value is not None  # the traceback, and with it every frame of the read, is still held here
    assert alive == []


def test_samples_beyond_a_volt_are_told_with_file_and_lead(npz_file, signal):
    huge = signal.copy()
    huge[3, 5] = 1e17
    path = npz_file(signal=huge, unit="mV", leads=["V1"])
    for _ in range(2):  # from the file, and from the cache
        (note,) = read_dataset(path).source.notes
        assert all(part in note for part in ("windows.npz", "1 window", "window 3", "lead V1", "sample 5", "1 V")), note
    assert read_dataset(npz_file(signal=signal, unit="mV", leads=["V1"])).source.notes == ()
