"""Recordings without labels: every layout, resampling, the cache, and what cannot be read."""

import lzma
import os
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest

from ecgtune.data.signal.filters import resample
from ecgtune.errors import DataError, QuestionError
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.recordings import held_out_records, read_recordings
from helpers.pretraining import beats, write_recordings
from helpers.recordings import digital, write_wfdb


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))


FILES = [("plain.npz",), ("pool_index.npz", "pool.delta16.xz"), ("a.npy", "b.npy", "c.npy")]


def pack(path, samples):
    steps = np.diff(samples, prepend=np.int16(0)).astype(np.int16).view(np.uint16)
    content = (steps & 255).astype(np.uint8).tobytes() + (steps >> 8).astype(np.uint8).tobytes()
    path.write_bytes(lzma.compress(content))


def test_packed_plain_and_folder_are_the_same_recordings(tmp_path):
    signals = [beats(length, 300, length) for length in (3, 5, 4)]
    plain = write_recordings(tmp_path / "plain.npz", signals, ["a", "b", "c"], sampling_rate=300)
    index = write_recordings(
        tmp_path / "pool_index.npz", signals, record=None, record_id=["a", "b", "c"], signal=None, sampling_rate=None,
        fs=300,
    )  # fmt: skip
    pack(tmp_path / "pool.delta16.xz", np.concatenate(signals))
    (tmp_path / "folder").mkdir()
    for name, signal in zip("abc", signals, strict=True):
        np.save(tmp_path / "folder" / f"{name}.npy", signal)
    read = [
        read_recordings(plain, sampling_rate=100.0),
        read_recordings(index, sampling_rate=100.0),
        read_recordings(tmp_path / "folder", sampling_rate=100.0, options=ReadOptions(sampling_rate=300.0)),
    ]
    sums = {file.name: sha256(file.read_bytes()) for file in tmp_path.rglob("*.*") if "cache" not in file.parts}
    for recordings, names in zip(read, FILES, strict=True):
        assert recordings.files == tuple((name, sums[name].hexdigest()) for name in names)
        together = sha256(b"".join(sums[name].digest() for name in names))
        assert recordings.source.sha256 == together.hexdigest()
        assert recordings.record.tolist() == ["a", "b", "c"]
        assert recordings.length.tolist() == [300, 500, 400]
        assert np.array_equal(recordings.samples, read[0].samples)
        for number, signal in enumerate(signals):
            expected = resample(signal[None].astype(float), 300, 100)
            part = recordings.samples[:, recordings.offset[number] : recordings.offset[number + 1]]
            np.testing.assert_allclose(part, expected, atol=0.51)
        assert not recordings.samples.flags.writeable


def test_the_second_read_opens_the_cache_and_a_changed_file_is_read_anew(tmp_path, monkeypatch):
    file = write_recordings(tmp_path / "r.npz")
    first = read_recordings(file, sampling_rate=50.0)
    with monkeypatch.context() as patch:
        patch.setattr("ecgtune.io.recordings.resample", None)
        again = read_recordings(file, sampling_rate=50.0)
    assert np.array_equal(again.samples, first.samples)
    assert again.source == first.source
    write_recordings(tmp_path / "r.npz", [beats(9, 100, 77), beats(8, 100, 78)])
    changed = read_recordings(file, sampling_rate=50.0)
    assert changed.length.tolist() == [450, 400]
    assert changed.source.sha256 != first.source.sha256


def test_millivolts_keep_their_shape(tmp_path):
    signal = beats(10, 100, 0) / 1000.0 + 0.5
    recordings = read_recordings(write_recordings(tmp_path / "r.npz", [signal, signal]), sampling_rate=100.0)
    assert np.corrcoef(recordings.samples[0, :1000], signal)[0, 1] > 0.999999
    assert np.abs(recordings.samples).max() == 32000


@pytest.mark.parametrize(
    ("signal", "flat", "clipped"),
    [
        (beats(10, 100, 0), False, False),
        (np.zeros(1000, np.int16), True, False),
        (np.concatenate([beats(4, 100, 0), np.full(600, 5, np.int16)]), True, False),
        (np.concatenate([beats(6, 100, 0), np.full(400, 5, np.int16)]), False, False),
        (np.clip(beats(10, 100, 0), -2000, 500), False, True),
        (np.stack([beats(10, 100, 0), np.zeros(1000, np.int16)]), False, False),
        (np.stack([beats(10, 100, 0), np.clip(beats(10, 100, 1), -2000, 400)]), False, True),
    ],
    ids=["good", "zero", "mostly still", "partly still", "clipped", "one lead off", "one lead clipped"],
)
def test_flat_and_clipped(tmp_path, signal, flat, clipped):
    leads = None if signal.ndim == 1 else np.array(["I", "II"])
    recordings = read_recordings(write_recordings(tmp_path / "r.npz", [signal], leads=leads), sampling_rate=100.0)
    assert (recordings.flat.tolist(), recordings.clipped.tolist()) == ([flat], [clipped])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"offset": None}, ["'offset' and 'record'"]),
        ({"record": None}, ["'offset' and 'record'"]),
        ({"offset": np.array([0, 5])}, ["(13,)", "(2,)"]),
        ({"offset": np.arange(13)[::-1].copy()}, ["must rise"]),
        ({"offset": np.arange(13)}, ["24000 samples", "ends at 12"]),
        ({"offset": np.arange(13) * 2000.05}, ["must rise", "whole numbers", "float64"]),
        ({"offset": np.arange(13).astype(str)}, ["must rise", "whole numbers", "<U"]),
        ({"record": ["a"] * 12}, ["12 recordings of the name 'a'"]),
        ({"record": np.zeros((12, 2))}, ["'record' has shape (12, 2)", "one name per recording"]),
        ({"signal": np.full(24000, 1e300)}, ["R00", "beyond 1e+30"]),
        ({"signal": np.full(24000, np.longdouble(10) ** 4000)}, ["R00", "beyond 1e+30"]),
        ({"unit": 3}, ["'unit' holds"]),
        ({"sampling_rate": 1e-300}, ["rate is 1e-300 Hz"]),
        ({"signal": np.array(["x"] * 24000)}, ["numbers"]),
        ({"signal": np.full(24000, np.nan)}, ["R00", "NaN"]),
        ({"signal": np.zeros((2, 24000))}, ["(2, 24000)", "(1, samples)"]),
        ({"signal": None}, ["no array 'signal'", "beside it"]),
        ({"sampling_rate": None}, ["--sampling-rate"]),
        ({"sampling_rate": -1}, ["-1 Hz"]),
        ({"signal": np.array([None] * 24000)}, ["pickled"]),
    ],
)
def test_archives_that_cannot_be_read(tmp_path, change, parts):
    file = write_recordings(tmp_path / "r.npz", **change)
    with pytest.raises(DataError) as error:
        read_recordings(file, sampling_rate=100.0)
    assert all(part in str(error.value) for part in [str(tmp_path), *parts]), str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").glob("recordings-*"))


def test_a_folder_of_wfdb_records(tmp_path):
    for name, seed in [("a", 1), ("b", 2)]:
        write_wfdb(tmp_path, digital(samples=500, seed=seed), name=name, rate=250)
    (tmp_path / "labels.csv").write_text("record,label\na,1\n")
    recordings = read_recordings(tmp_path, sampling_rate=125.0)
    assert (recordings.record.tolist(), recordings.leads) == (["a", "b"], ("I", "II", "V1"))
    assert recordings.length.tolist() == [250, 250]
    expected = resample(digital(samples=500, seed=2).astype(float), 250, 125)
    found = recordings.samples[:, 250:].astype(float)
    assert min(np.corrcoef(found[lead], expected[lead])[0, 1] for lead in range(3)) > 0.999
    write_wfdb(tmp_path, digital(2, samples=500), name="c", rate=250)
    with pytest.raises(DataError, match=r"c\.hea: has leads I, II at 250 Hz, but a\.hea has I, II, V1 at 250 Hz"):
        read_recordings(tmp_path, sampling_rate=125.0)


@pytest.mark.parametrize(
    ("leads", "factors"),
    [(("II",), (0, 1, 0)), (("V1", "I"), ((0, 0, 1), (1, 0, 0))), (("aVR", "II"), ((-0.5, -0.5, 0), (0, 1, 0)))],
)
def test_stated_leads_alone_are_read_or_derived(tmp_path, leads, factors):
    signals = [digital(samples=500, seed=seed) for seed in (1, 2)]
    files = write_recordings(tmp_path / "pool.npz", signals, leads=np.array(["I", "II", "V1"]))
    for number, signal in enumerate(signals):
        write_wfdb(tmp_path, signal, name=f"R{number:02}", rate=100)
    (tmp_path / "folder").mkdir()
    for file in tmp_path.glob("R0*"):
        file.rename(tmp_path / "folder" / file.name)
    for path in (files, tmp_path / "folder"):
        recordings = read_recordings(path, sampling_rate=100.0, options=ReadOptions(leads=leads))
        assert recordings.leads == leads
        for number, signal in enumerate(signals):
            part = recordings.samples[:, recordings.offset[number] : recordings.offset[number + 1]].astype(float)
            for row, expected in zip(part, np.atleast_2d(factors) @ signal, strict=True):
                assert np.corrcoef(row, expected)[0, 1] > 0.99999


def test_leads_that_a_recording_lacks_are_refused_and_others_may_differ(tmp_path):
    for name, leads in (("a", 3), ("b", 2)):
        write_wfdb(tmp_path, digital(leads, samples=500), name=name, rate=100)
    assert read_recordings(tmp_path, sampling_rate=100.0, options=ReadOptions(leads=("aVL",))).leads == ("aVL",)
    with pytest.raises(DataError, match=r"b\.hea: has no lead V1, its leads are I, II; name those \(--leads\)"):
        read_recordings(tmp_path, sampling_rate=100.0, options=ReadOptions(leads=("II", "V1")))


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("x")]
)
def test_what_is_no_file_in_a_folder_of_arrays_is_told(tmp_path, make):
    np.save(tmp_path / "a.npy", beats(10, 100, 0))
    make(tmp_path / "b.npy")
    with pytest.raises(DataError, match=r"b\.npy: is no regular file, or a link to none; remove it"):
        read_recordings(tmp_path, sampling_rate=100.0, options=ReadOptions(sampling_rate=100.0))


def test_other_mistakes(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.csv").write_text("1,2")
    (tmp_path / "broken.npz").write_text("no archive")
    for name, said in [
        ("nowhere.npz", "no such file"),
        ("empty", "no recording in it"),
        ("text.csv", "no .npz file"),
        ("broken.npz", "cannot be read"),
    ]:
        with pytest.raises(DataError, match=said):
            read_recordings(tmp_path / name, sampling_rate=100.0)
    with pytest.raises(DataError, match="100 Hz, but --sampling-rate says 300"):
        read_recordings(
            write_recordings(tmp_path / "r.npz"), sampling_rate=100.0, options=ReadOptions(sampling_rate=300.0)
        )
    index = write_recordings(tmp_path / "pool_index.npz", signal=None)
    (tmp_path / "pool.delta16.xz").write_bytes(b"no xz")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_recordings(index, sampling_rate=100.0)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="ECGTUNE_CACHE"):
        read_recordings(write_recordings(tmp_path / "r.npz"), sampling_rate=100.0)


def test_held_out_records(tmp_path):
    file = tmp_path / "windows.npz"
    np.savez(file, record=["a", "a", "b", "c"], split=["val", "val", "train", "test"])
    assert held_out_records(file) == {"a", "c"}
    np.savez(file, record=[b"a", b"a", b"b", b"c"], split=[b"Validation", b"dev", b"training", b"Testing"])
    assert held_out_records(file) == {"a", "c"}
    np.savez(file, record=["a", "b"], split=["train", "train"])
    with pytest.raises(DataError, match="none of its 2 windows is in val or test"):
        held_out_records(file)
    np.savez(file, record=["a", "b"], split=["train", "holdout"])
    with pytest.raises(DataError, match="'holdout' is unknown"):
        held_out_records(file)
    np.savez(file, record=["a", "a", "b", "c"])
    with pytest.raises(DataError, match="'record' and 'split'"):
        held_out_records(file)


@pytest.mark.slow
def test_the_pool_is_what_the_windows_were_cut_from(shared, tmp_path):
    """Recordings of the real pool against the windows of the benchmark, whose edges were resampled in another way."""
    recordings = read_recordings(shared / "data" / "pool_cinc2017_300hz_index.npz", sampling_rate=100.0)
    windows = np.load(shared / "data" / "cinc2017_windows.npz")
    signal, start, record = windows["signal"], windows["start_sample"], windows["record"]
    for row in range(0, 200, 20):
        number = int(np.flatnonzero(recordings.record == record[row])[0])
        first = recordings.offset[number] + start[row]
        np.testing.assert_allclose(recordings.samples[0, first + 3 : first + 600], signal[row, 3:], atol=1)


def test_gaps_are_closed_and_long_ones_left_out(tmp_path, caplog):
    whole = beats(20, 100, 0).astype(np.float32)
    short, long = whole.copy(), whole.copy()
    short[500:505] = np.nan
    long[[300, 1900]] = np.nan
    long[600:700] = np.nan
    file = write_recordings(tmp_path / "r.npz", [short, long, whole[700:].copy()])
    recordings = read_recordings(file, sampling_rate=100.0)
    assert recordings.length.tolist() == [2000, 1300, 1300]
    assert f"{file}: 1 of 3 recordings ('R01'): gaps of more than 0.1 s" in caplog.text
    parts = [recordings.samples[0, start:stop] for start, stop in pairwise(recordings.offset)]
    assert np.corrcoef(parts[0], whole)[0, 1] > 0.99
    assert np.corrcoef(parts[1], parts[2])[0, 1] > 0.999


def test_a_recording_that_is_too_long_is_to_be_split(tmp_path):
    write_wfdb(tmp_path, digital(2, 200))
    with pytest.raises(DataError, match=r"at most 300 are read at once; split it into shorter files$"):
        read_recordings(tmp_path, sampling_rate=250, options=ReadOptions(max_values=300))


def test_csv_recordings_are_read_where_the_folder_has_no_others(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    signal = np.random.default_rng(0).normal(size=(3, 400)).round(3)
    for number, values in enumerate(signal):
        np.savetxt(folder / f"r{number}.csv", values, header="II", comments="", fmt="%.3f")
    (folder / "labels.csv").write_text("record,label\nr0,AF\nr1,SR\n")
    with pytest.raises(QuestionError, match=r"r0.csv.*--unit .*--sampling-rate"):
        read_recordings(folder, sampling_rate=100.0)
    options = ReadOptions(sampling_rate=100.0, unit="mV")
    pool = read_recordings(folder, sampling_rate=100.0, options=options)
    assert pool.record.tolist() == ["r0", "r1", "r2"]
    assert np.corrcoef(pool.samples[0, :400], signal[0])[0, 1] > 0.999
    np.save(folder / "other.npy", signal[0])
    assert read_recordings(folder, sampling_rate=100.0, options=options).record.tolist() == ["other"]


@pytest.mark.parametrize(
    ("facts", "unit", "change", "said"),
    [
        (
            {"unit": "V"},
            None,
            1,
            "2 of 2 recordings (lead II of 'a' and 1 more): the median absolute amplitude is above",
        ),
        ({}, "V", 1, "2 of 2 recordings (lead II of 'a' and 1 more): the median absolute amplitude is above 20 mV"),
        ({"unit": "uV"}, None, 1, None),
        ({}, None, 1, None),
        ({"unit": "steps"}, None, 1, None),
        ({}, None, 1e17, "2 of 2 recordings ('a' and 1 more): lead II has samples beyond 1 V, which no ECG has in"),
        (
            {"unit": "mV"},
            None,
            np.repeat([1e-3, 1e14], [1400, 100]),
            "2 of 2 recordings ('a' and 1 more): lead II has samples beyond 1 V, which no ECG has;",
        ),
    ],
)
def test_amplitudes_that_no_ecg_has_are_told_at_every_reading(tmp_path, caplog, facts, unit, change, said):
    signals = [beats(5, 300, seed) * change for seed in (1, 2)]
    path = write_recordings(tmp_path / "p.npz", signals, ["a", "b"], sampling_rate=300, **facts)
    for _ in range(2):
        caplog.clear()
        read_recordings(path, sampling_rate=100.0, options=ReadOptions(unit=unit))
        assert (f"{path}: {said}" in caplog.text) if said else not caplog.text


def test_amplitudes_of_recordings_are_told_with_the_folder(tmp_path, caplog):
    (tmp_path / "records").mkdir()
    for name in ("a", "b"):
        write_wfdb(tmp_path / "records", 10 * digital(samples=3000), name=name, adc_gain=[1e-3] * 3)
    read_recordings(tmp_path / "records", sampling_rate=100.0)
    said = "records: 2 of 2 recordings ('a' and 1 more): the median absolute amplitude is above 20 mV"
    assert said in caplog.text


def test_the_unit_of_the_file_gives_the_millivolts(tmp_path):
    path = write_recordings(tmp_path / "p.npz", [beats(5, 300, 1)], ["a"], sampling_rate=300, unit="uV")
    assert read_recordings(path, sampling_rate=100.0).millivolts.tolist() == [1e-3]
    with pytest.raises(DataError, match=r"p\.npz: says that its unit is uV, but --unit says mV"):
        read_recordings(path, sampling_rate=100.0, options=ReadOptions(unit="mV"))
