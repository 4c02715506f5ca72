"""Windows of another rate than that of an exported file."""

import numpy as np
import pytest

import ecgtune
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.path import SignalPath
from ecgtune.runtime.model import Model
from helpers.exported import write_exported


@pytest.mark.parametrize(
    ("encoder", "rate", "twice"), [(100.0, 250.0, True), (100.0, 200.0, False), (200.0, 250.0, False)]
)
def test_two_resamplings_are_said_with_their_remedy(encoder, rate, twice, tmp_path):
    path = SignalPath(200.0, ("II",), window=5.0)
    file = write_exported(tmp_path / "model.onnx", signal_path=path, preprocessing=Preprocessing(encoder).to_dict())
    notes = Model(file).rate_notes(rate)
    assert [note.endswith("export with --rate 250 for the same") for note in notes] == [True] * twice
    signal = ecgtune.simulate(6, seconds=5, sampling_rate=rate, seed=1).signal
    np.savez(tmp_path / "windows.npz", signal=signal, label=["N", "AF"] * 3, sampling_rate=rate)
    predicted = ecgtune.predict(file, tmp_path / "windows.npz", out=tmp_path / "predictions")
    assert [note for note in predicted.notes if "resamples" in note] == notes
    data = ecgtune.read_dataset(tmp_path / "windows.npz")
    found = ecgtune.evaluate(file, data, out=tmp_path / "evaluation")
    assert [note for note in found["data"]["notes"] if "resamples" in note] == notes
