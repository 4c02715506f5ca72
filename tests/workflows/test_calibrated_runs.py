"""Runs whose probabilities are calibrated on validation: what is stored, predicted, exported and reported."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics

import ecgtune
from ecgtune.config.model import ModelSettings
from ecgtune.evaluation.calibration.fitting import fit_calibration
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.runtime import Model
from ecgtune.training.inference import probability_of
from ecgtune.utils.files import json_value
from helpers.models import TINY
from helpers.settings import loop

# fp32, since steep maps enlarge the rounding of bf16
SHORT = loop(epochs=3, batch_size=16, device="cpu", precision="fp32")
RECIPE = ecgtune.Recipe(method=ecgtune.LinearProbe(), **SHORT._asdict())


def model_of(folder):
    return ModelSettings(name=str(folder / "encoder"))


def columns(path, prefix):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith(prefix)]
    return {
        split: np.array([[float(r[n]) for n in names] for r in rows if r["split"] == split])
        for split in ("val", "test")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on 600 windows of 200 recordings, with noisy labels, and its export."""
    path = tmp_path_factory.mktemp("calibrated")
    data = ecgtune.simulate(600, seed=1)
    generator = np.random.default_rng(0)
    label = np.where(generator.random(600) < 0.25, 1 - data.label, data.label)
    record = np.array([f"r{number // 3:03}" for number in range(600)])
    np.savez(path / "windows.npz", signal=data.signal, label=label, record=record, sampling_rate=100)
    (path / "encoder").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_encoder(EcgFM(replace(TINY, depth=1)), path / "encoder", {})
    read = ecgtune.read_dataset(path / "windows.npz")
    model = ecgtune.load_model(path / "encoder", classes=read.classes)
    recipe = replace(RECIPE, evaluation=ecgtune.Evaluation(calibration="platt", threshold="youden"))
    ecgtune.fine_tune(read, recipe, model=model, out=path / "run")
    return path


def test_the_calibration_is_fitted_on_validation_alone(folder):
    predictions = folder / "run" / "predictions.csv"
    before, after = (columns(predictions, name) for name in ("uncalibrated_", "probability_"))
    with predictions.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    positive = ecgtune.load_run(folder / "run").positive
    label, group = [row["label"] == positive for row in rows], [row["group"] for row in rows]
    expected = fit_calibration("binary", label, before["val"][:, 0], group, "platt")
    assert expected.changes
    for split in ("val", "test"):
        assert after[split][:, 0] == pytest.approx(expected(before[split][:, 0]), abs=1e-12)
    stored = json_value(folder / "run" / "best" / "model.json")["calibration"]
    assert stored["maps"][0]["kind"] == "platt"


def test_predictions_are_calibrated(folder):
    run, data = ecgtune.load_run(folder / "run"), ecgtune.read_dataset(folder / "windows.npz")
    probability = run.predict(data.signal)
    assert probability.sum(axis=1) == pytest.approx(1)
    windows = torch.from_numpy(run.preprocessing(data.signal, 100))
    with torch.no_grad():
        raw = probability_of(run.model(windows).numpy(), "binary")
    assert probability[:, 1] == pytest.approx(run.calibration(raw[:, 1]), abs=1e-6)
    assert np.abs(probability - raw).max() > 0.01


@pytest.mark.slow  # the graph is compared in test_graph.py
def test_the_exported_file_is_calibrated(folder):
    ecgtune.export(folder / "run", folder / "model.onnx")
    signal = ecgtune.read_dataset(folder / "windows.npz").signal
    found = Model(folder / "model.onnx")
    assert found.predict(signal) == pytest.approx(ecgtune.load_run(folder / "run").predict(signal), abs=1e-5)
    assert found.metadata["calibration"]["maps"][0]["kind"] == "platt"


def test_results_and_report_have_both_sides(folder):
    content, summary = (json_value(folder / "run" / f"{name}.json") for name in ("calibration", "metrics"))
    predictions = folder / "run" / "predictions.csv"
    with predictions.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    label = [row["label"] == ecgtune.load_run(folder / "run").positive for row in rows]
    for side, name in (("before", "uncalibrated_"), ("after", "probability_")):
        probability = columns(predictions, name)["test"][:, 0]
        brier = metrics.brier_score_loss(label, probability)
        assert summary["calibration"][side]["brier"] == pytest.approx(brier)
        assert content[side]["mean"] == summary["calibration"][side]
    page = (folder / "run" / "report.html").read_text()
    assert "Platt scaling, fitted on validation" in page
    assert "reliability-" in page
    assert '<th scope="col">Calibrated</th>' in page


@pytest.mark.slow
def test_comparisons_have_both_sides(folder, tmp_path):
    read = ecgtune.read_dataset(folder / "windows.npz")
    recipes = [
        replace(RECIPE, name=name, evaluation=ecgtune.Evaluation(calibration="temperature"), model=model_of(folder))
        for name in ("one", "two")
    ]
    results = ecgtune.compare(read, recipes, ecgtune.CompareSettings(seeds=1, baselines=False), out=tmp_path)
    one, two = (row["calibration"]["log_loss"] for row in results["rows"])
    assert one == two
    assert one["after"] != one["before"]
    assert "ECE uncalibrated" in (tmp_path / "table.md").read_text()
    assert "Log-loss uncalibrated" in (tmp_path / "table.csv").read_text().splitlines()[0]
    assert 'aria-label="Calibration"' in (tmp_path / "report.html").read_text()


def test_a_run_that_is_not_calibrated_says_so(folder, tmp_path):
    read = ecgtune.read_dataset(folder / "windows.npz")
    recipe = replace(RECIPE, evaluation=ecgtune.Evaluation(calibration="none"), model=model_of(folder))
    run = ecgtune.fine_tune(read, recipe, out=tmp_path / "run")
    assert not run.calibration.changes
    for page in ("report.html", "README.md"):
        assert "not calibrated" in (tmp_path / "run" / page).read_text().lower()
    assert json_value(tmp_path / "run" / "calibration.json")["after"] is None
    assert "uncalibrated" not in (tmp_path / "run" / "predictions.csv").read_text().splitlines()[0]
