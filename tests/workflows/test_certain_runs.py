"""Runs that know when not to answer: what is stored, predicted, exported and evaluated."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.config.model import ModelSettings
from ecgtune.data.outliers import outliers
from ecgtune.data.signal.path import SignalPath
from ecgtune.errors import RunError
from ecgtune.evaluation.novelty import fit_novelty
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.training.run_folder import RunFolder, read_split
from ecgtune.utils.files import json_value
from helpers.cli import refused, run
from helpers.exported import write_exported
from helpers.models import TINY
from helpers.settings import loop

SHORT = loop(epochs=3, batch_size=16, device="cpu", precision="fp32")
RECIPE = ecgtune.Recipe(method=ecgtune.LinearProbe(), **SHORT._asdict())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on 480 windows of 160 recordings with noisy labels, and other windows."""
    path = tmp_path_factory.mktemp("certain")
    for name, seed in (("own", 1), ("other", 2)):
        data = ecgtune.simulate(480, seed=seed, seconds=3)
        generator = np.random.default_rng(seed)
        label = data.label[np.arange(480) // 3 * 3]
        wrong = np.repeat(generator.random(160) < 0.2, 3)
        record = np.array([f"{name}{number // 3:03}" for number in range(480)])
        label = np.where(wrong, 1 - label, label)
        np.savez(path / f"{name}.npz", signal=data.signal, label=label, record=record, sampling_rate=100)
    (path / "encoder").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_encoder(EcgFM(replace(TINY, depth=1)), path / "encoder", {})
    recipe = replace(RECIPE, model=ModelSettings(name=str(path / "encoder")))
    ecgtune.fine_tune(ecgtune.read_dataset(path / "own.npz"), recipe, out=path / "run")
    return path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_promise_and_found_stand_in_the_run_folder(folder):
    stored = json_value(folder / "run" / "certainty.json")
    for unit in ("window", "recording"):
        coverage = stored["internal"][unit]["coverage"]
        assert coverage["promised"] == 0.9
        assert 0.75 < coverage["found"]["value"] <= 1
    assert stored["internal"]["recording"]["coverage"]["groups"] == len(
        np.unique(ecgtune.read_dataset(folder / "own.npz").group[read_split(RunFolder(folder / "run"))["test"]])
    )
    assert set(stored["novelty"]["auroc"]["mahalanobis"]) == {"noise", "eeg", "ppg", "flat", "clipped", "leads"}


def test_predictions_have_sets_confidence_and_novelty(folder, tmp_path):
    loaded = ecgtune.load_run(folder / "run")
    other = ecgtune.read_dataset(folder / "other.npz")
    ecgtune.predict(folder / "run", folder / "other.npz", out=tmp_path)
    rows = rows_of(tmp_path / "predictions.csv")
    probability = loaded.predict(other.signal)[:, 1]
    assert [row["set"] for row in rows[:5]] == [
        " or ".join(name for name, there in zip(loaded.classes, sides, strict=True) if there)
        for sides in loaded.certainty.window.sets(probability[:5], "binary")
    ]
    sure = np.maximum(probability, 1 - probability)
    assert np.allclose([float(row["confidence"]) for row in rows], sure)
    novelty = np.array([float(row["novelty"]) for row in rows])
    assert np.allclose(novelty, loaded.novelty(loaded.embed(other.signal)), rtol=1e-4)
    assert [row["note"] == "unlike the training windows" for row in rows] == (novelty > 1).tolist()
    assert "abstained" not in rows[0]
    of_recordings = rows_of(tmp_path / "recordings.csv")
    assert float(of_recordings[0]["novelty"]) == pytest.approx(novelty[:3].mean())
    assert all(name in of_recordings[0] for name in ("set", "confidence"))


def test_sets_by_class(folder, tmp_path):
    loaded = ecgtune.load_run(folder / "run")
    run("predict", folder / "run", folder / "other.npz", "--sets", "class", "--out", tmp_path, "--quiet")
    rows = rows_of(tmp_path / "predictions.csv")
    probability = np.array([float(row[f"probability_{loaded.positive}"]) for row in rows])
    sets = loaded.certainty.window.sets(probability, "binary", by_class=True)
    assert [row["set"] for row in rows] == [
        " or ".join(name for name, there in zip(loaded.classes, sides, strict=True) if there) for sides in sets
    ]
    measured = json_value(folder / "run" / "certainty.json")["internal"]["window"]
    assert set(measured["coverage_by_class"]["by_class"]) == {"0", "1"}


def test_noise_is_more_novel_than_other_ecg(folder):
    loaded = ecgtune.load_run(folder / "run")
    other = ecgtune.read_dataset(folder / "other.npz").signal[:60]
    noise = outliers("noise", other, 100.0, np.random.default_rng(9))
    assert np.median(loaded.assess(noise)[1]) > np.median(loaded.assess(other)[1])


def test_a_run_abstains_from_what_it_is_least_sure_of(folder, tmp_path, capsys):
    words = ("predict", folder / "run", folder / "other.npz", "--out", tmp_path, "--quiet")
    run(*words, "--abstain", "0.2")
    assert "no answer for" in capsys.readouterr().out
    loaded = ecgtune.load_run(folder / "run")
    for name, unit in (("predictions", loaded.certainty.window), ("recordings", loaded.certainty.recording)):
        rows = rows_of(tmp_path / f"{name}.csv")
        abstained = np.array([row["abstained"] == "1" for row in rows])
        sure = np.array([float(row["confidence"]) for row in rows])
        assert np.array_equal(abstained, sure < unit.least_confidence(0.2))
        assert 0.05 < abstained.mean() < 0.4
        assert [row["prediction"] == "" for row in rows] == abstained.tolist()
    assert "abstain is 1.5" in refused(capsys, *words, "--abstain", "1.5")


def test_an_ensemble_and_an_older_run_do_not_abstain(folder, tmp_path, capsys):
    older = tmp_path / "older"
    shutil.copytree(folder / "run", older)
    for name in ("certainty.json", "novelty.npz"):
        (older / name).unlink()
    words = (folder / "other.npz", "--out", tmp_path / "out", "--quiet")
    assert "--abstain needs the confidence" in refused(capsys, "predict", older, *words, "--abstain", "0.1")
    assert not (tmp_path / "out" / "predictions.csv").exists()
    run("predict", older, *words)
    assert not {"set", "novelty"} & rows_of(tmp_path / "out" / "predictions.csv")[0].keys()
    run("predict", folder / "run", words[0], "--ensemble", older, *words[1:])
    assert not {"set", "novelty"} & rows_of(tmp_path / "out" / "predictions.csv")[0].keys()


def test_another_rule_for_recordings_has_no_thresholds(folder, tmp_path):
    settings = ecgtune.PredictSettings(recording="maximum", abstain=0.1)
    found = ecgtune.predict(folder / "run", folder / "other.npz", settings, out=tmp_path)
    assert any("no recording is abstained from" in note for note in found.notes)
    assert found.windows.abstained.any()
    assert not found.of_recordings.abstained.any()
    assert "set" not in rows_of(tmp_path / "recordings.csv")[0]


def test_evaluation_says_whether_the_promise_holds(folder, tmp_path, capsys):
    run("evaluate", folder / "run", folder / "other.npz", "--out", tmp_path, "--quiet")
    found = json_value(tmp_path / "external.json")["certainty"]
    stored = json_value(folder / "run" / "certainty.json")["internal"]
    assert found["internal"]["window"] == stored["window"]
    assert found["external"]["recording"]["coverage"]["groups"] == 160
    assert "Prediction sets promise to cover 90 %" in capsys.readouterr().out
    text = (tmp_path / "table.md").read_text()
    assert "| Coverage found |" in text
    assert "| Error without the least sure 10 % |" in text


def test_recordings_of_the_own_test_split_are_pooled_beside_their_patients(folder, tmp_path):
    """Patients with recordings of two labels have no label of their own, their recordings have."""
    copied = tmp_path / "run"
    shutil.copytree(folder / "run", copied)
    rows = rows_of(copied / "predictions.csv")
    header = list(rows[0])
    header.insert(2, "recording")
    number = {name: place for place, name in enumerate(sorted({row["group"] for row in rows}))}
    rows = [row | {"recording": row["group"], "group": f"p{number[row['group']] // 4}"} for row in rows]
    with (copied / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    found = ecgtune.evaluate(copied, ecgtune.read_dataset(folder / "other.npz"), out=tmp_path / "out")
    measured = found["certainty"]["internal"]["recording"]
    stored = json_value(folder / "run" / "certainty.json")["internal"]["recording"]
    assert measured["coverage"]["size"] == stored["coverage"]["size"]
    assert measured["coverage"]["groups"] < stored["coverage"]["groups"]
    assert found["recording"]["metrics"]["auroc"]["internal"]["value"] is not None


def test_an_exported_file_abstains(tmp_path):
    """The file of another network: its metadata alone decide."""
    path = SignalPath(100.0, ("II",), window=3.0)
    data = ecgtune.simulate(60, seed=3, seconds=3)
    np.savez(tmp_path / "windows.npz", signal=data.signal, record=np.arange(60) // 2, sampling_rate=100)
    plain = write_exported(tmp_path / "plain.onnx", signal_path=path)
    sure = ecgtune.runtime.Model(plain).predict(data.signal).max(axis=1)
    unit = {"thresholds": [0.4], "confidence": np.quantile(sure, np.linspace(0, 1, 101)).tolist(), "groups": 50}
    certainty = {"level": 0.9, "window": unit, "recording": unit}
    model = write_exported(tmp_path / "model.onnx", signal_path=path, certainty=certainty)
    settings = ecgtune.PredictSettings(abstain=0.2)
    found = ecgtune.predict(model, tmp_path / "windows.npz", settings, out=tmp_path / "out")
    assert np.array_equal(found.windows.abstained, sure < np.quantile(sure, 0.2))
    assert found.windows.abstained.sum() == 12
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert {"set", "abstained"} <= rows[0].keys()
    assert "novelty" not in rows[0]


def test_an_exported_file_has_a_novelty(tmp_path):
    path = SignalPath(100.0, ("II",), window=3.0)
    data = ecgtune.simulate(20, seed=3, seconds=3)
    np.savez(tmp_path / "windows.npz", signal=data.signal, record=np.arange(20) // 2, sampling_rate=100)
    model = ecgtune.runtime.Model(write_exported(tmp_path / "model.onnx", signal_path=path, novelty=True))
    probability, novelty = model.assess(data.signal)
    assert np.array_equal(probability, model.predict(data.signal))
    assert novelty.shape == (20,)
    ecgtune.predict(model, tmp_path / "windows.npz", out=tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert [float(row["novelty"]) for row in rows] == pytest.approx(novelty.tolist())
    assert [row["note"] == "unlike the training windows" for row in rows] == (novelty > 1).tolist()
    assert model.assess(data.signal[:0])[1].shape == (0,)


@pytest.mark.slow  # torch's exporter takes seconds
def test_a_run_and_its_export_give_the_same_tables(folder, tmp_path, capsys):
    ecgtune.export(folder / "run", tmp_path / "model.onnx")
    settings = ecgtune.PredictSettings(abstain=0.2)
    for name, model in (("run", folder / "run"), ("file", tmp_path / "model.onnx")):
        ecgtune.predict(model, folder / "other.npz", settings, out=tmp_path / name)
    first, second = (rows_of(tmp_path / name / "predictions.csv") for name in ("run", "file"))
    different = [a["prediction"] != b["prediction"] or a["set"] != b["set"] for a, b in zip(first, second, strict=True)]
    assert np.mean(different) < 0.01
    novelty = [np.array([float(row["novelty"]) for row in rows]) for rows in (first, second)]
    np.testing.assert_allclose(novelty[1], novelty[0], rtol=1e-3)
    report = json_value(tmp_path / "model.verification.json")["kernels"]["usual"]["novelty"]
    assert report["largest_difference"] < 1e-3
    run("verify", tmp_path / "model.onnx", folder / "own.npz")
    assert "novelty: largest difference" in capsys.readouterr().out
    run("verify", tmp_path / "model.onnx")
    assert "of 64 windows on the other side of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("novelty.npz", b"PK", "novelty.npz cannot be read"),
        ("novelty.npz", b"narrow", "3 features, but the encoder gives"),
        ("certainty.json", b"{}", "certainty.json"),
        ("certainty.json", b"thresholds", "1 of 101 values of confidence"),
    ],
)
def test_damaged_files_are_one_line(folder, tmp_path, name, content, message):
    damaged = tmp_path / "run"
    shutil.copytree(folder / "run", damaged)
    if content == b"thresholds":
        stored = json_value(damaged / name)
        stored["certainty"]["window"]["confidence"] = [0.5]
        content = json.dumps(stored).encode()
    if content == b"narrow":
        few = np.random.default_rng(0).normal(size=(60, 3))
        content = fit_novelty(few, few, {"far": few + 9}).packed()
    (damaged / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        ecgtune.load_run(damaged)
