"""Each step of the signal path against scipy, physics, or a signal of which the answer is known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import butter, filtfilt, iirnotch

from ecgtune.data.leads import arrange_leads
from ecgtune.data.signal.filters import band_pass, mains_notch
from ecgtune.data.signal.path import cut_windows
from ecgtune.data.signal.quality import fill_gaps, saturated_leads
from ecgtune.errors import DataError, SettingError

RATE = 250.0
TIME = np.arange(2500) / RATE
NOISE = np.random.default_rng(0).normal(size=(2, 2500))


def tone(frequency: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * TIME)


@pytest.mark.parametrize(
    ("low", "high", "kind", "edges"),
    [(0.5, 40.0, "bandpass", [0.5, 40.0]), (0.5, None, "highpass", 0.5), (None, 40.0, "lowpass", 40.0)],
)
def test_the_band_pass_is_scipys_filtfilt(low, high, kind, edges):
    expected = filtfilt(*butter(2, edges, kind, fs=RATE), NOISE)
    inner = slice(1000, 1500)  # sections and one polynomial extend the edges differently
    assert_allclose(band_pass(NOISE, RATE, low, high)[:, inner], expected[:, inner], atol=2e-3)


def test_the_notch_is_scipys_filtfilt():
    expected = filtfilt(*iirnotch(50, 30, fs=RATE), NOISE)
    assert_allclose(mains_notch(NOISE, RATE, 50.0), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("frequency", "band", "notch", "kept"),
    [
        (0.05, (0.5, 40), None, 0),
        (10, (0.5, 40), None, 1),
        (110, (0.5, 40), None, 0),
        (50, None, 50, 0),
        (60, None, 60, 0),
        (50, None, 60, 1),
        (10, None, 50, 1),
    ],
)
def test_filters_keep_what_they_should_without_delay(frequency, band, notch, kept):
    signal = tone(frequency)[None]
    result = mains_notch(signal, RATE, notch) if band is None else band_pass(signal, RATE, *band)
    assert_allclose(result[0, 500:2000], kept * signal[0, 500:2000], atol=0.06)


def test_filters_keep_dtype_and_leave_alone_what_they_cannot_change():
    short = NOISE[:, :4].astype(np.float32)
    assert band_pass(short, RATE, 0.5, 40).dtype == np.float32
    assert mains_notch(short, 100.0, 50.0) is short
    assert band_pass(short, RATE, None, None) is short


@pytest.mark.parametrize(("low", "high"), [(0, 40), (40, 0.5), (0.5, 125), (5, 5)])
def test_a_band_that_cannot_be_is_refused(low, high):
    with pytest.raises(SettingError, match="allowed: 0 < low < high < 125"):
        band_pass(NOISE, RATE, low, high)


def test_another_mains_frequency_is_refused():
    with pytest.raises(SettingError, match="50 or 60"):
        mains_notch(NOISE, RATE, 55)


def test_leads_are_put_in_order_and_derived_as_a_recorder_does(shared):
    """PTB-XL stores all twelve, in microvolts: what is derived from I and II may differ by their rounding."""
    data = np.load(shared / "data" / "ptbxl500_500hz.npz")
    leads = [{"AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}.get(str(name), str(name)) for name in data["leads"]]
    signal = data["X"][7].astype(np.float64)
    wanted = ("V1", "aVF", "aVL", "aVR", "III", "II", "I")
    part = [leads.index(lead) for lead in ("II", "V1", "I")]
    got, derived, zeroed = arrange_leads(signal[part], ("II", "V1", "I"), wanted)
    assert (derived, zeroed) == (("aVF", "aVL", "aVR", "III"), ())
    assert_allclose(got, signal[[leads.index(lead) for lead in wanted]], atol=2.0)


def test_a_lead_that_was_recorded_is_never_derived_and_one_that_cannot_be_is_zero():
    signal = np.array([[1.0, 2.0], [3.0, 5.0], [9.0, 9.5]])
    got, derived, zeroed = arrange_leads(signal, ("I", "II", "III"), ("III", "V6", "I"))
    assert_array_equal(got, [[9.0, 9.5], [0, 0], [1.0, 2.0]])
    assert (derived, zeroed) == ((), ("V6",))
    assert arrange_leads(signal[:1], ("I",), ("III",))[1:] == ((), ("III",))


def test_gaps_are_closed_by_the_straight_line_and_counted():
    signal = np.stack([np.arange(10.0), np.arange(10.0) ** 2, np.full(10, np.nan)])
    holed = signal.copy()
    holed[0, 3:5] = np.nan
    holed[0, :1] = np.nan
    holed[1, 9] = np.nan
    filled, seconds, missing = fill_gaps(holed, 10.0, 0.2)
    assert_array_equal(filled[0], [1, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert filled[1, 9] == 64
    assert_array_equal(missing, [False, False, True])
    assert seconds == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("value", "count", "said"),
    [(np.nan, 3, r"channel 2 has a gap of 0.30 s at 0.40 s"), (np.inf, 1, "infinite at 0.40")],
)
def test_a_long_gap_and_an_infinite_sample_are_refused(value, count, said):
    signal = np.ones((2, 20))
    signal[1, 4 : 4 + count] = value
    with pytest.raises(DataError, match=said):
        fill_gaps(signal, 10.0, 0.2)


def test_a_plateau_at_the_end_of_the_range_is_saturation_and_a_constant_or_a_peak_is_not():
    cut = np.clip(tone(1.3), -0.8, 0.9)
    held = saturated_leads(np.stack([cut, tone(1.3) + NOISE[0] / 100, np.zeros(2500)]), RATE)
    assert_array_equal(held, [True, False, False])


@pytest.mark.parametrize(
    ("length", "samples", "step", "starts"),
    [(10, 4, None, [0, 4]), (10, 4, 2, [0, 2, 4, 6]), (10, 10, 3, [0]), (11, 4, 3, [0, 3, 6])],
)
def test_windows_with_and_without_overlap(length, samples, step, starts):
    signal = np.arange(2 * length).reshape(2, length)
    got = cut_windows(signal, samples, step)
    assert_array_equal(got, np.stack([signal[:, start : start + samples] for start in starts]))


def test_a_short_recording_is_repeated_or_refused():
    signal = np.arange(6.0)[None]
    assert_array_equal(cut_windows(signal, 10)[0, 0], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3])
    with pytest.raises(DataError, match="too short: 6 samples do not fill a window of 10"):
        cut_windows(signal, 10, short="refuse")
    with pytest.raises(DataError, match=r"6 samples do not fill a window of 13, nor half of one \(7\)"):
        cut_windows(signal, 13)
