"""The same signal is found at another gain, offset, rate, polarity or clock; other signals are not."""

import csv

import numpy as np
import pytest

from ecgtune.data.near_duplicates import find_near_duplicates, fingerprint
from ecgtune.data.signal.filters import band_pass, resample
from helpers.records import heartbeats

RATE = 500.0


@pytest.fixture(scope="module")
def signals() -> np.ndarray:
    """Without the simulator's white noise above 25 Hz, which resampling without a filter would fold into the beats."""
    return band_pass(heartbeats(40, rate=RATE)[:, None], RATE, None, 25.0)


def prints(signals, rate=RATE, leads=("II",)) -> np.ndarray:
    return np.stack([fingerprint(signal, leads, rate) for signal in signals])


CHANGES = {
    "gain": lambda x: (3.7 * x, RATE),
    "offset": lambda x: (x - 2.5, RATE),
    "upside down": lambda x: (-x, RATE),
    "polyphase to 100 Hz": lambda x: (resample(x, RATE, 100.0), 100.0),
    "linear to 100 Hz": lambda x: (resample(x, RATE, 100.0, "linear"), 100.0),
    "to 360 Hz in steps of 20 uV": lambda x: (np.rint(resample(x, RATE, 360.0) * 50) / 50, 360.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_and_nothing_else(signals, change):
    copies, rate = CHANGES[change](signals[:10].astype(np.float64))
    names = [f"a{i}" for i in range(len(signals))] + [f"b{i}" for i in range(10)]
    found = find_near_duplicates(np.concatenate([prints(signals), prints(copies, rate)]), names)
    pairs = {(pair.first, pair.second) for pair in found}
    assert pairs == {(f"a{i}", f"b{i}") for i in range(10)}
    assert all(0.99 <= pair.correlation <= 1 for pair in found)


def test_one_artefact_at_the_same_place_makes_no_near_duplicates(signals):
    struck = signals[:10].copy()
    struck[:, 0, 1000:1100] += 50.0
    assert find_near_duplicates(prints(struck), [str(i) for i in range(10)]) == ()


def test_the_lead_is_chosen_by_name(signals):
    both = np.concatenate([signals[1], signals[0]])
    assert np.allclose(fingerprint(both, ("V1", "II"), RATE), fingerprint(signals[0], ("II",), RATE))


@pytest.mark.parametrize("signal", [np.zeros((1, 5000)), np.full((1, 5000), np.nan), np.ones((1, 1))])
def test_a_signal_that_says_nothing_has_no_near_duplicate(signal):
    assert find_near_duplicates(prints([signal, signal]), ["a", "b"]) == ()


def test_on_real_recordings_it_finds_what_is_equal_sample_by_sample(shared):
    """Five pairs of PTB-XL's first 500 are the same recording twice, one of them under two patients; no other pair is
    named."""
    data = np.load(shared / "data" / "ptbxl500_500hz.npz")
    signals = data["X"]
    channel = [str(lead) for lead in data["leads"]].index("II")
    lead = signals[:, channel : channel + 1].astype(np.float32)
    first: dict[bytes, int] = {}
    equal = {(first.setdefault(signal.tobytes(), i), i) for i, signal in enumerate(signals)}
    equal = {(i, j) for i, j in equal if i != j}
    found = find_near_duplicates(prints(lead), [str(i) for i in range(500)])
    assert {(int(pair.first), int(pair.second)) for pair in found} == equal
    rows = list(csv.DictReader((shared / "data" / "ptbxl500_meta.csv").open()))
    across = [pair for pair in equal if rows[pair[0]]["patient_id"] != rows[pair[1]]["patient_id"]]
    assert len(equal) == 5
    assert across == [(144, 462)]
