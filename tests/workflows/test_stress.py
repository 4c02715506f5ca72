"""`ecgtune stress`: a run, or an exported file, on disturbed windows and recordings."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import ecgtune
from ecgtune.data.signal.path import SignalPath
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.utils.files import json_value
from helpers.cli import refused, run
from helpers.exported import write_exported
from helpers.models import TINY
from helpers.records import heartbeats, write_record
from helpers.settings import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on simulated windows, and windows that it has not seen."""
    path = tmp_path_factory.mktemp("stress")
    for name, seed in (("own", 1), ("other", 2)):
        data = ecgtune.simulate(160, seed=seed)
        record = np.array([f"{name}{number // 4:03}" for number in range(160)])
        np.savez(path / f"{name}.npz", signal=data.signal, label=data.label, record=record, sampling_rate=100)
    (path / "encoder").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_encoder(EcgFM(replace(TINY, depth=1)), path / "encoder", {})
    settings = loop(epochs=2, batch_size=16, device="cpu", precision="fp32")
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), **settings._asdict())
    read = ecgtune.read_dataset(path / "own.npz")
    model = ecgtune.load_model(path / "encoder", classes=read.classes)
    ecgtune.fine_tune(read, recipe, model=model, out=path / "run")
    return path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_stressed(folder, tmp_path, capsys):
    run("stress", folder / "run", folder / "other.npz", "--windows", "80", "--out", tmp_path, "--quiet")
    found = json_value(tmp_path / "stress.json")
    assert (found["data"]["windows"], found["data"]["of"]) == (80, 160)
    tested = {row["disturbance"] for row in found["rows"]}
    assert tested == {"muscle", "motion", "wander", "gain", "leads", "rate", "clipping", "short"}
    assert set(found["not_tested"]) == {"Mains of 50 Hz", "Mains of 60 Hz", "Missing leads", "Polarity and limb leads"}
    rows = rows_of(tmp_path / "stress.csv")
    assert len(rows) == 1 + len(found["rows"])
    assert float(rows[0]["auroc"]) == found["undisturbed"]["auroc"]["value"]
    gain = [row for row in found["rows"] if row["disturbance"] == "gain"]
    assert all(abs(row["difference"]["auroc"]["value"]) < 1e-3 for row in gain)  # windows are z-scored
    assert "Undisturbed: AUROC" in capsys.readouterr().out
    assert "| Muscle noise | 0 dB |" in (tmp_path / "stress.md").read_text()
    assert (tmp_path / "stress.svg").read_text().count("Muscle noise") == 1


def test_the_same_seed_gives_the_same_rows_and_the_noise_is_in_the_predictions(folder, tmp_path):
    other = ecgtune.read_dataset(folder / "other.npz")
    settings = ecgtune.StressSettings(only=("muscle",), windows=60)
    first, again, new = (
        ecgtune.stress(folder / "run", other, replace(settings, seed=seed), out=tmp_path / str(n))["rows"]
        for n, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first != new
    assert first[-1]["changed"] >= first[0]["changed"]


def test_runs_are_stressed_as_an_ensemble(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "copy")  # the mean of a run and its copy is the run
    words = ("stress", folder / "run", folder / "other.npz", "--only", "clipping", "--windows", 40, "--quiet")
    run(*words, "--out", tmp_path / "one")
    run(*words, "--ensemble", tmp_path / "copy", "--out", tmp_path / "both")
    one, both = (json_value(tmp_path / name / "stress.json") for name in ("one", "both"))
    assert one["rows"] == both["rows"]
    assert str(tmp_path / "copy") in both["run"]


def test_own_data_are_the_test_split_and_undisturbed_its_metrics(folder, tmp_path):
    own = ecgtune.read_dataset(folder / "own.npz")
    found = ecgtune.stress(folder / "run", own, ecgtune.StressSettings(only=("short",)), out=tmp_path)
    assert found["data"]["own_test_split"]
    stored = json_value(folder / "run" / "metrics.json")["window"]
    assert found["data"]["windows"] == stored["n"]
    assert found["undisturbed"]["auroc"]["value"] == pytest.approx(stored["metrics"]["auroc"]["value"], abs=1e-6)


def test_an_exported_file_and_recordings(tmp_path):
    path = SignalPath(100.0, ("I", "II"), window=5.0, band=(0.5, 40.0))
    model = write_exported(tmp_path / "model.onnx", signal_path=path, classes=("MI", "STTC"), task="multilabel")
    rows = ["record,MI,STTC"]
    for number, signal in enumerate(heartbeats(8, seconds=10)):
        write_record(tmp_path / "records", f"r{number}", np.stack([signal / 2, signal]), leads=("I", "II"))
        rows.append(f"r{number},{number % 2},{number // 2 % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    words = (tmp_path / "labels.csv", "--records", tmp_path / "records", "--labels", "MI", "STTC")
    run("stress", model, *words, "--out", tmp_path / "out", "--only", "leads", "--only", "missing", "--quiet")
    found = json_value(tmp_path / "out" / "stress.json")
    assert [row["strength"] for row in found["rows"]] == ["inverted", "RA/LA", "RA/LL", "LA/LL", 1.0]
    assert found["not_tested"] == {}
    assert found["rows"][0]["metrics"]["auroc"]["value"] is not None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "musle"], "did you mean 'muscle'?"),
        (["--windows", "1"], "windows is 1"),
        (["--only", "mains-60"], "cannot be tested (Mains of 60 Hz: windows of 100 Hz hold no 60 Hz)"),
        (["--map", "VT=AF"], "the data have no label VT"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(folder, tmp_path, capsys, flags, message):
    words = ("stress", folder / "run", folder / "other.npz", *flags, "--out", tmp_path / "out")
    assert message in refused(capsys, *words)
    assert not (tmp_path / "out" / "stress.json").exists()
