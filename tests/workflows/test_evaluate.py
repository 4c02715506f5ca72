"""`ecgtune evaluate`: a run on other data, its own test split, other labels, prevalences and subgroups."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import ecgtune
from ecgtune.deployment.run import read_run
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.reporting.external import sentences
from ecgtune.training.predictions import read_predictions
from ecgtune.utils.files import json_value, unwritable
from helpers.cli import refused, run
from helpers.models import TINY
from helpers.records import heartbeats, write_record
from helpers.settings import loop

AF = ecgtune.WindowSettings(positive="AF")


def write_windows(path, seed, windows=240, names=("SR", "AF"), **columns):
    data = ecgtune.simulate(windows, seed=seed)
    record = np.array([f"{path.stem}{number // 3:03}" for number in range(windows)])
    label = np.array(names)[data.label]
    np.savez(path, signal=data.signal, label=label, record=record, sampling_rate=100, **columns)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on windows of 80 recordings, and other windows with subgroups."""
    path = tmp_path_factory.mktemp("evaluate")
    write_windows(path / "own.npz", 1)
    sex = np.array(["f", "m"])[np.arange(240) // 3 % 2]
    write_windows(path / "other.npz", 2, sex=sex)
    write_windows(path / "named.npz", 3, windows=60, names=("normal rhythm", "AFIB"))
    (path / "encoder").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_encoder(EcgFM(replace(TINY, depth=1)), path / "encoder", {})
    settings = loop(epochs=3, batch_size=16, device="cpu", precision="fp32")
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), **settings._asdict())
    recipe = replace(recipe, evaluation=ecgtune.Evaluation(threshold="youden"))
    read = ecgtune.read_dataset(path / "own.npz", settings=AF)
    another = replace(recipe, data=ecgtune.DataSettings(split_seed=1))
    for name, chosen, seed in (("run", recipe, 0), ("second", recipe, 1), ("another-split", another, 0)):
        model = ecgtune.load_model(path / "encoder", classes=read.classes)
        ecgtune.fine_tune(read, chosen, model=model, out=path / name, seed=seed)
    return path


def test_external_stands_beside_internal(folder, tmp_path, capsys):
    run("evaluate", folder / "run", folder / "other.npz", "--by", "sex", "--out", tmp_path, "--quiet")
    found = json_value(tmp_path / "external.json")
    loaded, other = read_run(folder / "run"), ecgtune.read_dataset(folder / "other.npz", settings=AF)
    probability = loaded.predict(other.signal)[:, 1]
    auroc = found["window"]["metrics"]["auroc"]
    assert auroc["external"]["value"] == pytest.approx(roc_auc_score(other.label, probability))
    assert auroc["internal"]["value"] == pytest.approx(loaded.metrics["window"]["metrics"]["auroc"]["value"])
    assert auroc["difference"]["ci_low"] <= auroc["difference"]["value"] <= auroc["difference"]["ci_high"]
    assert set(found["subgroups"]["sex"]["parts"]) == {"f", "m"}
    point = found["operating_points"]["AF"]
    flagged = (probability >= point["threshold"]).mean()
    assert point["flagged_per_1000"]["value"] == pytest.approx(1000 * flagged)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 240
    text = (tmp_path / "table.md").read_text()
    assert "| Per window | Internal | External | Difference |" in text
    assert "Largest gap in AUROC" in text
    assert "difference" in capsys.readouterr().out


def test_a_full_disk_leaves_nothing_half_written(folder, tmp_path, capsys, monkeypatch):
    def full(path, value):
        raise unwritable(path, OSError(28, "No space left on device"))

    monkeypatch.setattr("ecgtune.workflows.evaluate.write_json", full)
    line = refused(capsys, "evaluate", folder / "run", folder / "other.npz", "--out", tmp_path / "out", "--quiet")
    assert line.startswith(f"error: {tmp_path / 'out' / 'external.json'} cannot be written")
    assert not (tmp_path / "out").exists()


def test_runs_are_evaluated_as_an_ensemble(folder, tmp_path):
    runs = (folder / "run", folder / "second")
    run("evaluate", runs[0], folder / "other.npz", "--ensemble", runs[1], "--out", tmp_path, "--quiet")
    found = json_value(tmp_path / "external.json")
    other = ecgtune.read_dataset(folder / "other.npz", settings=AF)
    mean = np.mean([ecgtune.load_run(each).predict(other.signal)[:, 1] for each in runs], axis=0)
    auroc = found["window"]["metrics"]["auroc"]
    assert auroc["external"]["value"] == pytest.approx(roc_auc_score(other.label, mean))
    tests = [read_predictions(each / "predictions.csv", read_run(each).metrics).of("test") for each in runs]
    own = roc_auc_score(tests[0].label, np.mean([each.probability for each in tests], axis=0))
    assert auroc["internal"]["value"] == pytest.approx(own)
    assert found["operating_points"]["AF"]["threshold"] > 0
    found = ecgtune.evaluate(runs, ecgtune.read_dataset(folder / "own.npz", settings=AF), out=tmp_path / "own")
    assert found["window"]["metrics"]["auroc"]["external"]["value"] == pytest.approx(own)
    assert found["data"]["own_test_split"]


def test_an_ensemble_of_different_splits_has_no_internal_side_and_is_not_tested_on_its_training(
    folder, tmp_path, capsys
):
    runs = (folder / "run", folder / "another-split")
    found = ecgtune.evaluate(runs, ecgtune.read_dataset(folder / "other.npz", settings=AF), out=tmp_path / "other")
    assert found["window"]["metrics"]["auroc"]["internal"] is None
    command = ("evaluate", runs[0], folder / "own.npz", "--ensemble", runs[1], "--out", tmp_path / "own")
    assert "another-split has another test split of" in refused(capsys, *command)
    assert not (tmp_path / "own").exists()


def notes_of(run_folder, data, out):
    return ecgtune.evaluate(run_folder, data, out=out)["data"]["notes"]


def test_labels_that_mean_the_opposite_are_noted(folder, tmp_path):
    other = ecgtune.read_dataset(folder / "other.npz", settings=AF)
    assert not any("opposite" in note for note in notes_of(folder / "run", other, tmp_path / "same"))
    *_, last = notes_of(folder / "run", replace(other, label=1 - other.label), tmp_path / "turned")
    assert "AUROC of AF is below 0.5" in last
    assert "--map 'SR=AF,AF=SR'" in last


def test_the_assumed_meaning_of_numbers_is_noted(folder, tmp_path):
    numbers = {name: replace(ecgtune.simulate(80, seed=seed), classes=("0", "1")) for seed, name in enumerate("ab")}
    recipe = ecgtune.Recipe(method=ecgtune.LinearProbe(), **loop(epochs=2, batch_size=16)._asdict())
    model = ecgtune.load_model(folder / "encoder", classes=("0", "1"))
    ecgtune.fine_tune(numbers["a"], recipe, model=model, out=tmp_path / "run")
    assert any(
        "0, 1 are taken to mean" in note for note in notes_of(tmp_path / "run", numbers["b"], tmp_path / "other")
    )


def test_nothing_is_tuned_on_the_data(folder, tmp_path):
    """Other labels for the same signals change the metrics, and neither probabilities, thresholds nor the shift."""
    other = ecgtune.read_dataset(folder / "other.npz", settings=AF)
    turned = replace(other, label=1 - other.label)
    settings = ecgtune.EvaluateSettings(prevalence=("estimate",))
    found = [
        ecgtune.evaluate(folder / "run", data, settings, out=tmp_path / str(number))
        for number, data in enumerate((other, turned))
    ]
    columns = []
    for number in range(2):
        with (tmp_path / str(number) / "predictions.csv").open(newline="") as file:
            columns.append([row["probability_AF"] for row in csv.DictReader(file)])
    assert columns[0] == columns[1]
    assert found[0]["shift"]["to"] == found[1]["shift"]["to"]
    assert found[0]["operating_points"]["AF"]["threshold"] == found[1]["operating_points"]["AF"]["threshold"]
    assert found[0]["window"]["metrics"]["accuracy"] != found[1]["window"]["metrics"]["accuracy"]


def test_labels_are_mapped(folder, tmp_path):
    run(
        "evaluate", folder / "run", folder / "named.npz", "--map", "AFIB=AF,*=SR", "--out", tmp_path, "--quiet",
    )  # fmt: skip
    found = json_value(tmp_path / "external.json")
    assert found["data"]["windows"] == 60
    assert found["map"] == {"AFIB": "AF", "*": "SR"}


def test_a_stated_prevalence_moves_probabilities(folder, tmp_path):
    plain, moved = (
        ecgtune.evaluate(
            folder / "run",
            ecgtune.read_dataset(folder / "other.npz", settings=AF),
            ecgtune.EvaluateSettings(prevalence=prevalence),
            out=tmp_path / str(len(prevalence)),
        )
        for prevalence in ((), ("AF=0.03",))
    )
    assert moved["shift"]["to"]["AF"] == 0.03
    validation = read_predictions(folder / "run" / "predictions.csv").of("val")
    assert moved["shift"]["validation_mean"]["AF"] == pytest.approx(validation.probability.mean())
    told = [text for text in sentences(moved) if "mean probability of AF" in text]
    assert len(told) == (abs(validation.probability.mean() - validation.label.mean()) > 0.02)
    assert moved["operating_points"]["AF"]["prevalence"] == 0.03
    auroc, accuracy = (
        [each["window"]["metrics"][name]["external"] for each in (plain, moved)] for name in ("auroc", "accuracy")
    )
    assert auroc[0]["value"] == pytest.approx(auroc[1]["value"])
    assert accuracy[0] == accuracy[1]  # the fitted threshold moves with the probabilities
    assert plain["window"]["metrics"]["accuracy"]["internal"] == moved["window"]["metrics"]["accuracy"]["internal"]


def test_the_own_data_are_the_test_split(folder, tmp_path):
    run("evaluate", folder / "run", folder / "own.npz", "--out", tmp_path, "--quiet")
    found, metrics = json_value(tmp_path / "external.json"), json_value(folder / "run" / "metrics.json")
    assert found["data"]["own_test_split"]
    assert found["window"]["metrics"]["accuracy"]["internal"] is None
    external = found["window"]["metrics"]["accuracy"]["external"]["value"]
    assert external == pytest.approx(metrics["window"]["metrics"]["accuracy"]["value"])


@pytest.mark.slow  # torch's exporter takes seconds
def test_an_exported_file_is_evaluated_like_its_run(folder, tmp_path):
    ecgtune.export(folder / "run", tmp_path / "model.onnx")
    other = ecgtune.read_dataset(folder / "other.npz", settings=AF)
    found, expected = (
        ecgtune.evaluate(one, other, out=tmp_path / "out" / str(number))["window"]["metrics"]["auroc"]
        for number, one in enumerate((tmp_path / "model.onnx", folder / "run"))
    )
    for side in ("internal", "external", "difference"):
        assert found[side]["value"] == pytest.approx(expected[side]["value"], abs=1e-4)


def test_names_that_trained_the_run_are_told(folder, tmp_path):
    other = ecgtune.read_dataset(folder / "other.npz", settings=AF)
    own = ecgtune.read_dataset(folder / "own.npz", settings=AF)
    found = ecgtune.evaluate(folder / "run", replace(other, group=own.group), out=tmp_path)
    assert "trained the run or chose its epoch" in found["data"]["notes"][0]


def test_recordings_go_through_the_signal_path_of_the_run(folder, tmp_path, capsys):
    for number, signal in enumerate(heartbeats(6, seconds=14)):
        leads = ("II", "V1")[: 1 + number % 2]
        signal = np.repeat(signal[None, : 2400 if number < 2 else None], len(leads), axis=0)
        write_record(tmp_path / "records", f"r{number}", signal, rate=100 if number < 2 else 200, leads=leads)
    rows = [f"r{number},{'AF' if number % 2 else 'SR'},{'f' if number < 3 else 'm'}" for number in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join(["record,rhythm,sex", *rows]) + "\n")
    out = tmp_path / "out"
    words = (folder / "run", tmp_path / "labels.csv", "--records", tmp_path / "records", "--label", "rhythm")
    run("evaluate", *words, "--by", "sex", "--by", "rate", "--by", "length", "--by", "leads", "--out", out, "--quiet")
    found = json_value(out / "external.json")
    assert found["data"]["groups"] == 6
    assert {part["small"] for part in found["subgroups"]["sex"]["parts"].values()} == {True}
    assert found["subgroups"]["sex"]["gap"] is None
    parts = {name: set(column["parts"]) for name, column in found["subgroups"].items() if name != "sex"}
    assert parts == {"rate": {"100 Hz", "200 Hz"}, "length": {"24", "14"}, "leads": {"II", "II, V1"}}
    assert "did you mean 'rate'" in refused(capsys, "evaluate", *words, "--by", "rat", "--out", out)
    for flag, said in (
        *((flag, f"{flag}: the leads of recordings are those of the run's training") for flag in ("--lead", "--leads")),
        ("--window", "no option --window in `ecgtune evaluate`"),
    ):
        assert said in refused(capsys, "evaluate", *words, flag, "II", "--out", out)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--map", "AFIB"], "is no pair"),
        (["--map", "VT=AF"], "the data have no label VT"),
        (["--prevalence", "AF=2"], "allowed: LABEL=0.03"),
        (["--prevalence", "VT=0.1"], "no such class; allowed: SR, AF"),
        (["--sensitivity", "0"], "sensitivity is 0"),
        (["--by", "sexx"], "no column sexx for --by; did you mean 'sex'?"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(folder, tmp_path, capsys, flags, message):
    words = ("evaluate", folder / "run", folder / "other.npz", *flags, "--out", tmp_path / "out")
    assert message in refused(capsys, *words)
    assert not (tmp_path / "out" / "external.json").exists()
