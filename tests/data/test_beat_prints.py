"""Fingerprints by beats: planted copies are found, other recordings are not, and signals cannot be rebuilt."""

import numpy as np
import pytest

from ecgtune.data.beat_prints import SERIES, BeatPrints, beat_prints, matching_pairs, overlap
from ecgtune.data.signal.filters import resample
from ecgtune.data.simulation import simulate

RATE = 250.0


@pytest.fixture(scope="module")
def recordings():
    """A hundred recordings of ten seconds of as many patients."""
    return list(simulate(100, seed=3, seconds=10, sampling_rate=RATE, patients=100).signal[:, 0].astype(np.float64))


@pytest.fixture(scope="module")
def known(recordings):
    return beat_prints(recordings, RATE, [f"r{number:03}" for number in range(100)])


def found(signals, rates, known):
    pairs, _ = matching_pairs(beat_prints(signals, rates), known)
    own = pairs[:, 0] == pairs[:, 1]
    return len(np.unique(pairs[own, 0])), int((~own).sum())


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda x, rng: (x, RATE), 100),
        (lambda x, rng: (rng.uniform(0.1, 5) * x + rng.uniform(-3, 3), RATE), 100),
        (lambda x, rng: (-x, RATE), 100),
        (lambda x, rng: (resample(x, RATE, 360.0), 360.0), 98),
        (lambda x, rng: (resample(x, RATE, 100.0), 100.0), 98),
        (lambda x, rng: (x[int(rng.integers(0, 750)) :][:1750], RATE), 92),
        (lambda x, rng: (resample(3 * x[int(rng.integers(0, 500)) :][:2000], RATE, 500.0), 500.0), 95),
    ],
    ids=["same", "gain", "polarity", "360 Hz", "100 Hz", "30 % cut off", "all"],
)
def test_changed_copies_are_found_and_no_others(recordings, known, change, least):
    rng = np.random.default_rng(0)
    made = [change(signal, rng) for signal in recordings]
    hits, others = found([signal for signal, _ in made], [rate for _, rate in made], known)
    assert hits >= least
    assert others <= 1


def test_a_window_is_found_in_its_recording_and_named(recordings, known):
    window = recordings[7][500:2000]
    (pair, *_) = overlap(beat_prints([window], RATE, ["w"]), known)
    assert (pair.first, pair.second) == ("w", "r007")
    assert pair.intervals >= SERIES


def test_signals_without_beats_match_nothing(known):
    flat, short, missing = np.zeros(2500), np.ones(30), np.full(2500, np.nan)
    noise = np.random.default_rng(0).normal(size=2500)
    prints = beat_prints([flat, short, missing, noise], RATE)
    assert prints.count[:3].tolist() == [0, 0, 0]
    assert prints.comparable.tolist()[:3] == [False] * 3
    assert len(matching_pairs(prints, known)[0]) == 0
    assert len(matching_pairs(beat_prints([], RATE), known)[0]) == 0


def test_lengths_and_rates_may_differ_within_a_set(recordings):
    signals = [recordings[0], recordings[1][:2000], resample(recordings[2], RATE, 100.0)]
    together = beat_prints(signals, [RATE, RATE, 100.0])
    alone = [beat_prints([signal], rate) for signal, rate in zip(signals, (RATE, RATE, 100.0), strict=True)]
    assert together.count.tolist() == [int(each.count[0]) for each in alone]
    assert np.array_equal(together.interval, np.concatenate([each.interval for each in alone]))


def test_a_file_is_small_and_holds_no_waveform(known, recordings):
    content = known.packed()
    assert len(content) < 100 * len(known)
    again = BeatPrints.unpacked(content)
    assert len(matching_pairs(again, known)[0]) >= 100
    assert again.without_names().name.tolist()[:2] == ["0", "1"]
    beats = int(known.count.sum())
    numbers = sum(getattr(known, name).size for name in ("interval", "height", "shape"))
    assert numbers == 2 * beats + 8 * len(known)  # of 2,500 samples each, 29 on average


@pytest.mark.parametrize("change", ["format", "lengths"])
def test_another_content_is_refused(known, change):
    import io

    with np.load(io.BytesIO(known.packed())) as stored:
        arrays = dict(stored)
    arrays |= {"ecgtune_beat_prints": np.array(9)} if change == "format" else {"height": arrays["height"][:-1]}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with pytest.raises(ValueError, match="format 9" if change == "format" else "height has shape"):
        BeatPrints.unpacked(buffer.getvalue())


@pytest.mark.parametrize(("interval", "found"), [((400, 900, 420, 1100, 500), 1), ((700, 706, 702, 708, 704), 0)])
def test_heights_of_irregular_series_may_differ_more(interval, found):
    """A step of 0.8 that is 0.92 in the copy is the same between unequal intervals, and another between equal ones."""
    shape = np.full((1, 8), 40, np.int8)
    ms, one, other = np.array((0, *interval)), np.array((0, 800, 0, 0, 800, 0)), np.array((0, 920, 0, 0, 920, 0))
    prints = [
        BeatPrints(
            np.array([6], np.int32), (ms // 2).astype(np.uint16), (height // 8).astype(np.int8), shape, np.array(["a"])
        )
        for height in (one, other)
    ]
    assert len(matching_pairs(*prints)[0]) == found
    assert len(matching_pairs(prints[0], prints[0])[0]) == 1
