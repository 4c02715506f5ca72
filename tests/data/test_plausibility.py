"""The heart rate of a dataset, and doubts about its sampling rate."""

from dataclasses import replace

import neurokit2
import numpy as np
import pytest

import ecgtune
from ecgtune.data.plausibility import doubts, heart_rate
from ecgtune.data.splits import split_dataset

SIMULATED = ecgtune.simulate(64, seed=1)


@pytest.fixture(scope="module")
def ptbxl(shared) -> np.ndarray:
    """Lead II of 40 recordings of PTB-XL (recordings, samples), 10 s at 500 Hz."""
    files = sorted((shared / "data" / "records" / "ptbxl").glob("*_hr.dat"))
    return np.stack([np.fromfile(file, "<i2").reshape(-1, 12).T[1] / 1000 for file in files])


def dataset(signal, rate: float):
    kept = replace(SIMULATED, group=None, group_name=None).select(np.arange(len(signal)))
    return replace(kept, signal=np.asarray(signal, np.float32)[:, None], sampling_rate=rate)


def test_the_heart_rate_is_that_of_neurokit(ptbxl):
    own, theirs = [], []
    for window in ptbxl:
        _, found = neurokit2.ecg_peaks(neurokit2.ecg_clean(window, 500), 500)
        theirs.append(60 * 500 / np.diff(found["ECG_R_Peaks"]).mean())
        own.append(heart_rate(window[None], 500))
    assert np.median(np.abs(np.array(own) - theirs)) < 1
    assert heart_rate(ptbxl, 500) == pytest.approx(np.median(theirs), abs=3)


@pytest.mark.parametrize("factor", [0.2, 0.5, 1, 2, 5, 10])
def test_a_wrong_rate_is_doubted_and_the_right_one_named(ptbxl, factor):
    found = doubts(dataset(ptbxl, 500 * factor), np.arange(len(ptbxl)))
    if factor == 1:
        assert found == []
    else:
        assert found[0].startswith(f"at {500 * factor:g} Hz the windows last {10 / factor:.3g} s")
        assert "; 500 Hz is more likely (10 s, " in found[0]


def test_windows_without_a_better_rate_raise_no_doubt():
    noise = np.random.default_rng(0).standard_normal((50, 600))
    for signal in (noise, np.zeros((4, 600)), np.full((4, 600), np.nan), noise[:, :4]):
        for rate in (50.0, 100.0, 1000.0):
            assert doubts(dataset(signal, rate), np.arange(len(signal))) == []


def test_a_split_tells_the_doubt():
    assert split_dataset(SIMULATED).warnings == ()
    (warning,) = split_dataset(replace(SIMULATED, signal=SIMULATED.signal * 1000)).warnings
    assert (
        warning
        == "the median absolute amplitude is above 20 mV, implausible for an ECG; check the unit of the file (--unit)"
    )
    (warning,) = split_dataset(replace(SIMULATED, sampling_rate=1000.0)).warnings
    assert "the windows last 0.6 s" in warning
    assert "100 Hz is more likely" in warning
