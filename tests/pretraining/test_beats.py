"""Beats: found where they are, and handed to each crop that holds them."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecgtune.errors import DataError, SettingError
from ecgtune.io.recordings import read_recordings
from ecgtune.pretraining import beats as beats_module
from ecgtune.pretraining.beats import MAX_BEATS, Beats, find_beats
from helpers.pretraining import beats, peaks_of_beats, write_recordings

SECONDS, RATE = 20, 100


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """Ten recordings with beats, one of noise, a flat one and one too short for a detector."""
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    signals = [beats(SECONDS, RATE, seed) for seed in range(10)]
    noise = np.random.default_rng(0).integers(-5, 5, SECONDS * RATE).astype(np.int16)
    signals += [noise, np.zeros(SECONDS * RATE, np.int16), np.ones(3, np.int16)]
    return read_recordings(write_recordings(tmp_path / "r.npz", signals), sampling_rate=RATE)


def test_every_beat_but_those_at_the_edge_is_found_where_it_is(recordings):
    found = find_beats(recordings, range(10)).position
    assert (np.diff(found) > 0).all()
    for number in range(10):
        first, last = recordings.offset[number : number + 2]
        true = peaks_of_beats(SECONDS, RATE, number)
        ours = found[(found >= first) & (found < last)] - first
        away = np.abs(true[:, None] - ours)
        assert away.min(axis=0).max() <= 1  # nothing that is none
        inside = (true > 0.7 * RATE) & (true < (SECONDS - 0.5) * RATE)
        assert away.min(axis=1)[inside].max() <= 1  # none is missed
        assert len(ours) >= 10


@pytest.mark.filterwarnings("error")
def test_recordings_without_beats_are_no_error(recordings):
    assert find_beats(recordings, [11, 12]).position.tolist() == []
    assert find_beats(recordings, []).position.dtype == np.int64


def test_only_the_recordings_that_are_asked_for_are_looked_at(recordings):
    some = find_beats(recordings, [7, 2]).position
    everything = find_beats(recordings, range(13)).position
    inside = [(everything >= recordings.offset[n]) & (everything < recordings.offset[n + 1]) for n in (2, 7)]
    assert np.array_equal(some, everything[inside[0] | inside[1]])


def test_what_was_found_is_kept_for_the_same_samples_and_detector(recordings, monkeypatch, tmp_path):
    looked_at = []

    def spy(recordings, rows, detect=beats_module._detect):
        looked_at.append(list(rows))
        return detect(recordings, rows)

    monkeypatch.setattr(beats_module, "_detect", spy)
    first = find_beats(recordings, [2, 1]).position
    assert np.array_equal(find_beats(recordings, [1, 2]).position, first)
    assert looked_at == [[1, 2]]
    find_beats(recordings, [1])
    monkeypatch.setattr(beats_module, "version", lambda name: "another")
    find_beats(recordings, [1])
    find_beats(replace(recordings, sampling_rate=2.0 * RATE), [1])
    find_beats(replace(recordings, samples=recordings.samples + np.int16(1)), [1])
    assert looked_at[1:] == [[1]] * 4
    (first_entry,) = (file for file in (tmp_path / "cache").glob("beats-*.npy") if len(np.load(file)) == len(first))
    first_entry.write_bytes(first_entry.read_bytes()[:-9])  # damaged
    monkeypatch.undo()
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "cache"))
    assert np.array_equal(find_beats(recordings, [1, 2]).position, first)
    assert not list((tmp_path / "cache").glob("*partial*"))


def test_a_cache_folder_that_cannot_be_written_is_one_line(recordings, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ECGTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="ECGTUNE_CACHE") as caught:
        find_beats(recordings, [11])
    assert "\n" not in str(caught.value)
    assert "No space" not in str(caught.value)


def test_without_the_detector_there_is_one_line_that_says_what_to_install(recordings, monkeypatch):
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(SettingError, match=r"pip install 'ecgtune\[pretrain\]', or set rhythm = 0") as caught:
        find_beats(recordings, [0])
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    position=st.sets(st.integers(0, 400), max_size=80),
    start=arrays(np.float64, st.integers(1, 5), elements=st.floats(0, 300)),
    whole=st.booleans(),
    factor=st.floats(0.5, 2),
    samples=st.integers(2, 200),
)
def test_beats_within_crops_are_those_of_a_loop(position, start, whole, factor, samples):
    start = np.rint(start) if whole else start
    factors = np.where(np.arange(len(start)) % 2, factor, 1.0)
    known = np.array(sorted(position), dtype=np.int64)
    place, present = Beats(known).within(start, factors, samples)
    assert place.shape == present.shape
    assert (np.diff(present.astype(int), axis=1) <= 0).all()  # from the left
    for row in range(len(start)):
        last = start[row] + factors[row] * (samples - 1)
        expected = [(p - start[row]) / factors[row] for p in known if start[row] <= p <= last][:MAX_BEATS]
        assert place[row, present[row]].tolist() == expected
    assert not place[~present].any()
