"""An ensemble as one exported file: it predicts the mean of its runs, and says of which."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.deployment import verification
from ecgtune.deployment.export import export_run
from ecgtune.deployment.hub import push_to_hub
from ecgtune.deployment.run import Ensemble
from ecgtune.deployment.verification import verification_windows
from ecgtune.errors import SettingError
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.runtime import Model
from ecgtune.training.run_folder import RunFolder, read_split
from helpers.cli import refused, run
from helpers.models import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A probe of an encoder and LoRA of another with another rate, on the same windows, and their export."""
    path = tmp_path_factory.mktemp("ensemble")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(path / "cache"))
        data = ecgtune.simulate(60, seed=1, seconds=3)
        np.savez(path / "windows.npz", signal=data.signal, label=data.label, record=data.group, sampling_rate=100)
        for seed, (name, rate) in enumerate({"probe": 100.0, "lora": 50.0}.items()):
            encoder = path / f"encoder-{name}"
            encoder.mkdir()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                save_encoder(EcgFM(replace(TINY, depth=1, sampling_rate=rate)), encoder, {})
            words = (
                "--model",
                encoder,
                "--method",
                name,
                "--epochs",
                "2",
                "--batch-size",
                "16",
                "--device",
                "cpu",
                "--precision",
                "fp32",
            )
            run("fine-tune", path / "windows.npz", *words, "--out", path / name, "--quiet")
        run("export", path / "probe", path / "model.onnx", "--ensemble", path / "lora")
        yield path


@pytest.fixture(autouse=True)
def _own_cache(folder, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(folder / "cache"))


def test_the_file_predicts_the_mean_of_its_runs(folder):
    model, signal = Model(folder / "model.onnx"), ecgtune.read_dataset(folder / "windows.npz").signal
    runs = [ecgtune.load_run(folder / name) for name in ("probe", "lora")]
    mean = np.mean([each.predict(signal) for each in runs], axis=0)
    assert np.abs(runs[0].predict(signal) - mean).max() > 1e-3
    np.testing.assert_allclose(model.predict(signal), mean, rtol=0, atol=1e-6)
    both = ecgtune.load_run(folder / "probe", folder / "lora")
    assert model.classify(signal) == both.classify(signal)
    assert model.threshold == both.threshold
    tests = [each.summary() for each in runs]
    assert model.summary() == f"probe, seed 0\n{tests[0]}\nlora, seed 0\n{tests[1]}"
    probability, novelty = model.assess(signal)
    np.testing.assert_array_equal(probability, model.predict(signal))
    assert novelty is None


def test_the_file_says_of_which_runs_it_is(folder):
    model = Model(folder / "model.onnx")
    facts = model.metadata
    assert [each["run"]["name"] for each in facts["members"]] == ["probe", "lora"]
    rates = [each["preprocessing"]["sampling_rate"] for each in facts["members"]]
    assert rates == [100, 50]
    for key in ("run", "encoder", "data", "preprocessing", "calibration"):
        assert facts[key] == facts["members"][0][key]
    assert "test windows of all runs" in facts["verification"]["windows"]
    assert model.trained_on_files == ecgtune.load_run(folder / "probe").trained_on_files
    assert str(folder).encode() not in (folder / "model.onnx").read_bytes()
    assert model.rate_notes(100) == []
    assert "resamples 250 Hz to 100 Hz and then to 50 Hz" in model.rate_notes(250)[0]


def test_it_verifies_itself(folder, capsys):
    run("verify", folder / "model.onnx")
    assert "0 decisions changed" in capsys.readouterr().out


@pytest.mark.slow
def test_it_becomes_a_page(folder, tmp_path):
    run("page", folder / "probe", tmp_path / "page.html", "--ensemble", folder / "lora")
    assert (tmp_path / "page.html").is_file()


@pytest.mark.slow
def test_products_of_all_runs_have_eight_bits(folder, tmp_path):
    run("export", folder / "probe", tmp_path / "small.onnx", "--ensemble", folder / "lora", "--int8")
    small, whole = ((path).stat().st_size for path in (tmp_path / "small.onnx", folder / "model.onnx"))
    assert Model(tmp_path / "small.onnx").metadata["precision"] == "int8"
    assert small < 0.8 * whole


@pytest.mark.parametrize("common", [3, 0])
def test_the_windows_are_those_that_no_run_was_trained_on(folder, monkeypatch, common):
    both = ecgtune.load_run(folder / "probe", folder / "lora")
    test = read_split(RunFolder(folder / "probe"))["test"]
    others = {folder / "probe": test, folder / "lora": np.setdiff1d(np.arange(60), test[common:])}
    monkeypatch.setattr(verification, "read_split", lambda run: {"test": others[run.path]})
    windows = verification_windows(both)
    if common:
        np.testing.assert_array_equal(windows.signal, ecgtune.read_dataset(folder / "windows.npz").signal[test[:3]])
        assert windows.origin == "3 test windows of all runs, windows.npz"
    else:
        assert windows.origin == "64 simulated windows, because its runs share no test window of the same data"
        assert windows.label is None
    both.runs[1].metrics["data"]["reading"] = None  # the same file, perhaps read otherwise
    assert "simulated" in verification_windows(both).origin


def test_runs_that_make_no_file_are_one_line(folder, tmp_path, capsys):
    assert "is given twice" in refused(
        capsys, "export", folder / "probe", tmp_path / "m.onnx", "--ensemble", folder / "probe"
    )
    model = folder / "model.onnx"
    assert "is used alone" in refused(capsys, "page", model, tmp_path / "p.html", "--ensemble", folder / "lora")
    with pytest.raises(SettingError, match="exported file already"):
        ecgtune.export(Model(model), tmp_path / "m.onnx")
    with pytest.raises(SettingError, match="export of another run"):
        push_to_hub(folder / "probe", "user/name", exported=model)
    first, second = ecgtune.load_run(folder / "probe", folder / "lora").runs
    steps = ({"step": "z-score"},)
    second = replace(second, preprocessing=replace(second.preprocessing, steps=steps))
    with pytest.raises(SettingError, match="by another preset"):
        export_run(Ensemble((first, second)), tmp_path / "m.onnx", verification_windows(first))
    assert list(tmp_path.iterdir()) == []
