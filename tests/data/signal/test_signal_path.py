"""The whole way of a recording, and that it ends where ECG-FM's authors end."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from ecgtune.data.signal.filters import zscore
from ecgtune.data.signal.path import SignalPath, cut_windows
from ecgtune.errors import DataError, SettingError
from ecgtune.models.loading import load_model

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.mark.parametrize("rate", [500, 400, 250, 1000, 100])
def test_ecg_fm_preset_gives_the_authors_segments(shared, rate):
    stored = np.load(shared / "reference" / "preprocessing.npz")
    raw = stored[f"{rate}hz/raw"]
    path = SignalPath(500.0, LEADS[: len(raw)], resampling="linear", window=5.0, zscore=True, longest_gap=0.0)
    got = path(raw, LEADS[: len(raw)], rate)
    assert_allclose(got.windows, stored[f"{rate}hz/segments"], atol=1e-5)


def recording(leads=2, seconds=10, rate=200, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(leads, seconds * rate)).cumsum(axis=1).astype(np.float32)


def test_what_was_met_on_the_way_is_told():
    signal = np.concatenate([recording(), np.full((1, 2000), 0.3, np.float32), np.full((1, 2000), np.nan, np.float32)])
    signal[0, 100:104] = np.nan
    signal[1] = np.clip(signal[1], None, np.quantile(signal[1], 0.9))
    path = SignalPath(100.0, ("V2", "aVF", "I", "II", "V1"), band=(0.5, 40), mains=50, window=4, step=3)
    got = path(signal, ("I", "II", "V1", "V2"), 200.0)
    assert got.windows.shape == (3, 5, 400)
    assert got.windows.dtype == np.float32
    assert (got.derived, got.zeroed, got.constant, got.saturated) == (("aVF",), ("V2",), ("V1",), ("II",))
    assert got.filled == pytest.approx(0.02)
    assert not got.repeated
    assert_array_equal(got.windows[:, [0, 4]], 0)  # not rounding noise of the filters


def test_a_short_recording_becomes_one_window():
    got = SignalPath(100.0, ("I", "II"), window=12)(recording(), ("I", "II"), 200.0)
    assert got.windows.shape == (1, 2, 1200)
    assert got.repeated


def test_the_z_score_is_of_the_recording_not_of_the_window():
    windows = SignalPath(200.0, ("I", "II"), window=5, zscore=True)(recording(), ("I", "II"), 200.0).windows
    assert_allclose(windows.transpose(1, 0, 2).reshape(2, -1).mean(axis=1), 0, atol=1e-5)
    assert np.abs(windows.mean(axis=2)).min() > 0.1


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        (np.zeros((2, 0)), "0 samples"),
        (np.ones((2, 500)), "no lead ever changes"),
        (np.full((2, 500), np.nan), "has none of the leads"),
    ],
)
def test_a_recording_without_signal_is_refused(signal, said):
    with pytest.raises(DataError, match=said):
        SignalPath(100.0, ("I", "II"))(signal, ("I", "II"), 100.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"leads": ("I", "I")},
        {"leads": ("X",)},
        {"leads": ()},
        {"window": 0.001},
        {"step": 2.0},
        {"mains": 55.0},
        {"longest_gap": -1.0},
        {"longest_gap": 8.0},
        {"short": "zeros"},
        {"resampling": "fft"},
        {"sampling_rate": 0.0},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(SettingError):
        SignalPath(**{"sampling_rate": 100.0} | settings)


def test_settings_are_plain_values():
    path = SignalPath(100.0, ("avr", "I"), band=(0.5, 40.0))
    assert json.loads(json.dumps(path.to_dict())) == path.to_dict()
    assert path.leads == ("aVR", "I")


@pytest.fixture(scope="module")
def encode():
    model = load_model("ecg-fm-tiny").eval()

    def pooled(windows: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        with torch.no_grad():
            valid = None if mask is None else torch.from_numpy(mask)
            tokens, kept = model.encode(torch.from_numpy(np.ascontiguousarray(windows, np.float32)), valid)
            return model.pool(tokens, kept).numpy()

    return pooled


def test_a_window_has_the_same_answer_alone_and_in_any_batch(encode):
    """All windows have one length, so a batch pads nothing and nobody's answer hangs on who stands beside it."""
    path = SignalPath(100.0, ("II",), window=6, zscore=True)
    lengths = (4, 5, 6, 6)
    windows = [path(recording(1, n, seed=n), ("II",), 200.0).windows for n in lengths]
    together = encode(np.concatenate(windows))
    alone = np.concatenate([encode(window) for window in windows])
    assert_allclose(together, alone, atol=1e-5)


def test_repetition_changes_less_than_zeros_do(shared, encode):
    """What ECG-FM says about 4 s alone, and of the same 4 s brought to 6 s: padded with zeros, or repeated."""
    signal = np.load(shared / "data" / "cinc2017_windows.npz")["signal"][::1500].astype(np.float64)[:, None]
    short = signal[..., :400]
    exact = encode(zscore(short))
    repeated = np.concatenate([cut_windows(zscore(one), 600) for one in short])
    zeros = np.pad(zscore(short), ((0, 0), (0, 0), (0, 200)))
    off = [np.linalg.norm(encode(values) - exact, axis=1).mean() for values in (repeated, zeros)]
    assert off[0] < 0.6 * off[1]


def interrupted(rng):
    """Two leads of 10 s at 100 Hz: a gap of 1 s in one, another in both at the end, and a short one."""
    signal = rng.standard_normal((2, 1000)).astype(np.float32)
    signal[0, 300:400] = np.nan
    signal[:, 900:] = np.nan
    signal[1, 600:605] = np.nan
    return signal


def test_windows_are_cut_between_gaps_that_are_too_long():
    signal = interrupted(np.random.default_rng(0))
    found = SignalPath(100.0, ("I", "II"), window=2.0)(signal, ("I", "II"), 100.0)
    whole = SignalPath(100.0, ("I", "II"), window=2.0)
    expected = [whole(signal[:, part], ("I", "II"), 100.0).windows for part in (slice(0, 300), slice(400, 900))]
    np.testing.assert_array_equal(found.windows, np.concatenate(expected))
    assert [len(windows) for windows in expected] == [1, 2]
    assert (found.interrupted, found.repeated) == (2.0, False)
    assert found.filled == pytest.approx(0.05)


def test_a_filter_does_not_reach_across_a_gap():
    signal = interrupted(np.random.default_rng(0))
    path = SignalPath(50.0, ("I", "II"), window=2.0, band=(1.0, 20.0))
    windows = path(signal, ("I", "II"), 100.0).windows
    signal[:, :300] += 100  # another offset before the gap
    np.testing.assert_array_equal(path(signal, ("I", "II"), 100.0).windows[1:], windows[1:])


@pytest.mark.parametrize("window", [None, 6.0])
def test_a_recording_without_a_part_of_a_window_is_refused(window):
    signal = interrupted(np.random.default_rng(0))
    with pytest.raises(DataError, match=r"lead I has a gap of 1.00 s at 3.00 s.*--longest-gap.*longer gaps lasts 5 s"):
        SignalPath(100.0, ("I", "II"), window=window)(signal, ("I", "II"), 100.0)


def test_a_part_in_which_no_lead_changes_gives_no_window():
    signal = interrupted(np.random.default_rng(0))
    signal[:, :300] = 0
    assert len(SignalPath(100.0, ("I", "II"), window=2.0)(signal, ("I", "II"), 100.0).windows) == 2
    signal[:, 400:900] = 0
    with pytest.raises(DataError, match="no lead ever changes"):
        SignalPath(100.0, ("I", "II"), window=2.0)(signal, ("I", "II"), 100.0)
