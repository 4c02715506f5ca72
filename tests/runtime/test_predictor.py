"""Signals on their way to any predictor: windows, recordings by their leads, and files."""

import numpy as np
import pytest

from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.path import SignalPath
from ecgtune.data.signal.steps import Middle
from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.decision import binary_decision
from ecgtune.runtime.model import Model
from ecgtune.runtime.predictor import Predictor
from helpers.exported import write_exported
from helpers.records import heartbeats, write_record

LEADS = ("I", "II", "aVF")


class Heights(Predictor):
    """The mean of each window's lead aVF as probability of the second class."""

    decision = binary_decision()
    classes, leads, recording_rule = ("low", "high"), LEADS, "mean"
    trained_on_files, amplitude_matters = frozenset(), True
    trained_on = {  # noqa: RUF012, a property of the base
        "samples": 400,
        "sampling_rate": 200.0,
        "signal_path": SignalPath(200, LEADS, window=2, step=1).to_dict(),
    }

    def known(self, names):
        return []

    def to(self, device):
        pass

    def summary(self):
        return ""

    def predict_windows(self, windows, sampling_rate, precision):
        high = windows[:, 2].mean(axis=1)
        return np.stack([1 - high, high], axis=1)


def test_a_recording_is_cut_as_in_the_training_and_missing_leads_are_derived(tmp_path):
    first, second = heartbeats(2, seconds=5)
    found = Heights().predict(np.stack([second, first]), 200, leads=("II", "I"))
    expected = [(second - first / 2)[start : start + 400].mean() for start in range(0, 601, 200)]
    np.testing.assert_allclose(found[:, 1], expected, atol=1e-6)
    write_record(tmp_path, "one", np.stack([first, second]), leads=("I", "II"))
    np.testing.assert_allclose(Heights().predict(tmp_path / "one.hea")[:, 1], expected, atol=1e-3)


def test_a_lead_that_cannot_be_derived_is_refused():
    with pytest.raises(DataError, match="signal: has no lead I, aVF, only II; the run needs I, II, aVF"):
        Heights().predict(heartbeats(1, seconds=5), 200, leads=("II",))


@pytest.mark.parametrize(
    ("signal", "options", "reason"),
    [
        (np.zeros((2, 1000)), {"leads": LEADS}, r"allowed: \(3, samples\), a row for each lead"),
        (np.zeros((1, 3, 300)), {}, "windows of 1.5 s, but the run was trained on windows of 2 s"),
        (np.zeros((1, 3, 400)), {"sampling_rate": 0.2}, "signal with the sampling rate"),
    ],
)
def test_signals_that_do_not_fit_are_one_line(signal, options, reason):
    with pytest.raises(DataError, match=reason):
        Heights().predict(signal, **options)


def test_another_lead_is_for_predictors_of_one():
    with pytest.raises(SettingError, match="--lead V1 is for runs of one lead"):
        Heights().signal_path("V1")


def test_of_shortened_windows_the_graph_normalises_once(tmp_path, monkeypatch):
    """What the graph gets are the samples of the middle: their mean and deviation are taken off inside of it."""
    kept = Preprocessing(100.0, normalisation="global", mean=(0.5,), std=(0.1,), steps=(Middle(1.0),)).to_dict()
    path = SignalPath(100.0, ("II",), window=2.0)
    model = Model(write_exported(tmp_path / "model.onnx", signal_path=path, preprocessing=kept))
    given = []
    monkeypatch.setattr(model, "_run", lambda windows, *_: given.append(windows) or np.zeros((len(windows), 2)))
    windows = np.random.default_rng(0).standard_normal((2, 1, 200)).astype(np.float32)
    model.predict(windows)
    np.testing.assert_array_equal(np.concatenate(given), windows[..., 50:150])


def test_the_notes_about_a_recording_are_logged(tmp_path, caplog):
    signal = 1000 * heartbeats(1, seconds=4).repeat(3, axis=0) + np.arange(800) % 7 * 20
    write_record(tmp_path, "a", signal, leads=LEADS, gain=1)
    Heights().predict(tmp_path / "a.hea")
    assert "a.hea: the median absolute amplitude is above 20 mV" in caplog.text
