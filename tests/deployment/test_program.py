"""Programs of ExecuTorch: refused without the extra, and the run's probabilities with it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

import ecgtune
from ecgtune.deployment import export as deployment
from ecgtune.models.checkpoint import save_encoder
from ecgtune.utils.files import file_sha256
from helpers.cli import refused, run
from helpers.models import TINY, tiny_classifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run on simulated windows."""
    path = tmp_path_factory.mktemp("program")
    data = ecgtune.simulate(48, seed=0)
    recipe = ecgtune.recipe(ecgtune.LinearProbe(), epochs=1, batch_size=16, device="cpu", precision="fp32")
    (path / "encoder").mkdir()
    save_encoder(tiny_classifier(config=replace(TINY, depth=1)).base_encoder, path / "encoder", {})
    model = ecgtune.load_model(path / "encoder", classes=data.classes)
    ecgtune.fine_tune(data, recipe, model=model, out=path / "run")
    return path


def test_what_a_program_cannot_be_is_one_line(folder, tmp_path, monkeypatch, capsys):
    message = refused(capsys, "export", folder / "run", tmp_path / "model.pte", "--int8")
    assert "leave --int8 out, or name it .onnx" in message
    monkeypatch.setitem(sys.modules, "executorch", None)
    message = refused(capsys, "export", folder / "run", tmp_path / "model.pte")
    assert "pip install 'ecgtune[executorch]', or name the file .onnx" in message
    assert not list(tmp_path.iterdir())


def test_a_program_gives_the_probabilities_of_the_run(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("executorch", reason="the extra executorch (about 200 MB) is not installed")
    file = tmp_path / "model.pte"
    run("export", folder / "run", file, "--rate", "200")
    assert "0 decisions changed" in capsys.readouterr().out
    report = json.loads((tmp_path / "model.verification.json").read_text())
    assert report["kernels"]["usual"]["largest_difference"] <= 1e-5
    assert report["sha256"] == file_sha256(file)
    assert set(report["seconds_per_window"]) == {"torch", "executorch"}
    program = deployment.Program(file)
    metadata = json.loads(program.metadata)
    assert metadata["input"]["samples"] == 1200
    assert metadata["classes"] == ["0", "1"]
    signal = ecgtune.simulate(4, sampling_rate=200, seed=5).signal
    expected = ecgtune.load_run(folder / "run").predict(signal, 200, precision="fp32")
    np.testing.assert_allclose(program.predict(signal), expected, rtol=0, atol=1e-5)

    monkeypatch.setattr(deployment.Program, "predict", lambda self, windows: np.full((len(windows), 2), 0.5))
    other = tmp_path / "other.pte"
    assert "does not predict as the run does" in refused(capsys, "export", folder / "run", other)
    assert not other.exists()
