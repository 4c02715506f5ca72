"""From a table of labels and a folder of recordings to reports, for two classes, several classes and several labels."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import ecgtune
from ecgtune.config.model import ModelSettings
from ecgtune.models.checkpoint import save_encoder
from ecgtune.models.ecg_fm.network import EcgFM
from ecgtune.training.predictions import read_predictions
from helpers.cli import run
from helpers.models import TINY
from helpers.records import heartbeats, write_record

RECORDINGS = 36
LABELS = ("MI", "STTC", "HYP")
FLAGS = {
    "binary": ["--label", "MI"],
    "multiclass": ["--label", "rhythm"],
    "multilabel": ["--labels", *LABELS],
}
QUICK = ["--epochs", "2", "--batch-size", "8", "--device", "cpu", "--seed", "1", "--model", "encoder", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """36 recordings of 18 patients, `labels.csv`, and a tiny encoder to be named with --model.

    Of MI every ninth is missing, of HYP every fifth; nobody says anything at all of the last recording but its rhythm.
    """
    path = tmp_path_factory.mktemp("end-to-end")
    signals = heartbeats(2 * RECORDINGS, seconds=4)
    for number in range(RECORDINGS):
        pair = signals[2 * number : 2 * number + 2]
        write_record(path / "records", f"r{number:02}", pair, leads=("I", "II"))
    rows = ["record,patient,rhythm,MI,STTC,HYP"]
    for n in range(RECORDINGS):
        missing = n == RECORDINGS - 1
        mi = "" if n % 9 == 4 or missing else n % 2
        sttc = "" if missing else int(n % 3 == 0)
        hyp = "" if n % 5 == 2 or missing else int(n % 4 < 2)
        rows.append(f"r{n:02},p{n // 2},{'NAO'[n % 3]},{mi},{sttc},{hyp}")
    (path / "labels.csv").write_text("\n".join(rows) + "\n")
    (path / "encoder").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = EcgFM(TINY)
    save_encoder(encoder, path / "encoder", {"by": "a test"})
    return path


@pytest.fixture(autouse=True)
def _here(folder, monkeypatch):
    monkeypatch.setenv("ECGTUNE_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)


@pytest.fixture(
    scope="module",
    params=["binary", "multilabel", pytest.param("multiclass", marks=pytest.mark.slow)],
)
def trained(request, folder):
    """The task and the run folder of `ecgtune fine-tune`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGTUNE_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        where = folder / f"run-{request.param}"
        run(
            "fine-tune",
            "labels.csv",
            "--records",
            "records",
            "--lead",
            "II",
            *FLAGS[request.param],
            *QUICK,
            "--out",
            where,
        )
    return request.param, where


def read(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_train_gives_metrics_that_scikit_learn_finds_in_the_predictions(trained):
    task, folder = trained
    metrics = read(folder)
    assert metrics.get("task", "binary") == task
    assert metrics["split"]["unit"] == "patient"
    test = read_predictions(folder / "predictions.csv").of("test")
    found = metrics["window"]["metrics"]["auroc"]["value"]
    if task == "binary":
        assert found == pytest.approx(roc_auc_score(test.label, test.probability))
        assert np.sum(metrics["window"]["confusion"]) == len(test.label)
        return
    columns = test.label if task == "multilabel" else np.eye(3, dtype=int)[test.label]
    names, scores = metrics["classes"], []
    for place, name in enumerate(names):
        known = columns[:, place] >= 0
        entry = metrics["window"]["labels"][name]
        assert (entry["positives"], entry["known"]) == ((columns[:, place] == 1).sum(), known.sum())
        if entry["metrics"] is None:
            continue
        scores.append(roc_auc_score(columns[known, place], test.probability[known, place]))
        assert entry["metrics"]["auroc"]["value"] == pytest.approx(scores[-1])
        if task == "multilabel":
            assert np.sum(entry["confusion"]) == known.sum()
    assert found == pytest.approx(np.mean(scores))
    assert metrics["window"]["labels_in_mean"] == len(scores)


def test_missing_labels_are_counted_as_missing_and_a_recording_without_any_is_left_out(trained):
    task, folder = trained
    counts = read(folder)["split"]["counts"]
    windows = sum(part["windows"] for part in counts.values())
    table = [line.split(",") for line in (folder.parent / "labels.csv").read_text().splitlines()[1:]]
    if task == "multiclass":
        assert windows == RECORDINGS
    elif task == "binary":
        assert windows == sum(row[3] != "" for row in table)
    else:
        assert windows == sum(row[3:] != ["", "", ""] for row in table)
        for column, name in enumerate(LABELS, start=3):
            known = sum(part["labels"][name]["known"] for part in counts.values())
            assert known == sum(row[column] != "" for row in table)


def test_report_and_card_tell_every_class_or_label(trained):
    task, folder = trained
    report, card = (folder / "report.html").read_text(), (folder / "README.md").read_text()
    assert (folder / "figures" / "confusion.svg").is_file()
    for name in {"binary": [], "multiclass": "NAO", "multilabel": LABELS}[task]:
        assert f">{name}<" in report
        assert f"| {name} |" in card
    if task != "binary":
        assert "Macro AUROC" in report


def test_the_loaded_run_predicts_what_was_stored(trained, folder):
    task, where = trained
    stored = read_predictions(where / "predictions.csv")
    again = ecgtune.load_run(where)
    columns = ecgtune.TableColumns(
        label={"binary": "MI", "multiclass": "rhythm"}.get(task), labels=LABELS if task == "multilabel" else None
    )
    settings = ecgtune.RecordSettings(sampling_rate=100, leads=("II",))
    dataset = ecgtune.read_records("labels.csv", "records", columns=columns, settings=settings)
    probability = again.predict(dataset.signal[stored.row])
    expected = stored.probability if task != "binary" else np.stack([1 - stored.probability, stored.probability], 1)
    np.testing.assert_allclose(probability, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_compare_two_methods_on_several_labels(folder, capsys):
    out = folder / "compare"
    tokens = ["compare", "labels.csv", "--records", "records", "--lead", "II", *FLAGS["multilabel"]]
    seed = QUICK.index("--seed")
    run(*tokens, "--methods", "probe,lora", "--seeds", "1", *QUICK[:seed], *QUICK[seed + 2 :], "--out", out)
    printed = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert [row["method"] for row in results["rows"] if row["kind"] == "method"] == ["probe", "lora"]
    assert {row["method"] for row in results["rows"] if row["kind"] == "baseline"} == {"majority", "resnet"}
    assert results["task"] == "multilabel"
    for row in results["rows"]:
        if row["kind"] == "method":
            assert 0 <= row["metrics"]["auroc"]["mean"] <= 1
            assert row["group_metrics"] is None or row["group_metrics"]["auroc"]["mean"] is not None
            assert row["method"] in printed
    report = (out / "report.html").read_text()
    assert all(f">{name}<" in report for name in LABELS)


@pytest.mark.slow
def test_cross_validation_by_patient_on_several_labels(folder, capsys):
    tokens = ["compare", "labels.csv", "--records", "records", "--lead", "II", *FLAGS["multilabel"], "--folds", "3"]
    seed = QUICK.index("--seed")
    quick = [*QUICK[:seed], *QUICK[seed + 2 :]]
    run(*tokens, "--methods", "probe", "--no-baselines", "--seeds", "1", *quick, "--out", "cv")
    assert "3 rounds" in capsys.readouterr().out
    tested = []
    for number in (1, 2, 3):
        where = folder / "cv" / f"round-{number}" / "probe" / "seed-0"
        groups = {split: set(read_predictions(where / "predictions.csv").of(split).group) for split in ("val", "test")}
        assert not groups["val"] & groups["test"]
        tested += sorted(groups["test"])
    assert sorted(tested) == sorted({f"p{n // 2}" for n in range(RECORDINGS)})  # each patient once, in one fold


def test_two_leads_into_a_one_lead_encoder_through_a_lead_adapter(folder):
    data = ["labels.csv", "--records", "records", "--leads", "I", "II", *FLAGS["binary"]]
    run("fine-tune", *data, "--method", "probe", "--lead-mode", "adapter", *QUICK, "--out", "mixed")
    where = folder / "mixed"
    metrics = read(where)
    assert 'lead_mode = "adapter"' in (where / "recipe.toml").read_text()
    assert metrics["title"] == "Linear probe + lead adapter"
    assert metrics["parameters"]["leads"] == 2
    assert metrics["parameters"]["trainable"] == metrics["parameters"]["head"] + 2
    assert metrics["data"]["leads"] == ["I", "II"]
    assert "the lead adapter in front of the encoder is trainable" in metrics["training"]["precomputed"]
    assert "lead mixer" in metrics["audits"]["count"]
    assert "Trainable in the lead adapter" in (where / "report.html").read_text()
    assert "lead adapter 2" in (where / "README.md").read_text()
    stored, again = read_predictions(where / "predictions.csv"), ecgtune.load_run(where)
    settings = ecgtune.RecordSettings(sampling_rate=100, leads=("I", "II"))
    columns = ecgtune.TableColumns(label="MI")
    dataset = ecgtune.read_records("labels.csv", "records", columns=columns, settings=settings)
    np.testing.assert_allclose(again.predict(dataset.signal[stored.row])[:, 1], stored.probability, rtol=0, atol=1e-6)


def test_the_same_from_python(folder, tmp_path):
    dataset = ecgtune.read_records(
        "labels.csv",
        "records",
        columns=ecgtune.TableColumns(labels=LABELS),
        settings=ecgtune.RecordSettings(sampling_rate=100, leads=("II",)),
    )
    assert dataset.task == "multilabel"
    model = ModelSettings(name=str(folder / "encoder"))
    recipe = ecgtune.Recipe(
        "probe",
        ecgtune.LinearProbe(),
        model=model,
        optimisation=ecgtune.Optimisation(epochs=2, batch_size=8, pos_weight="balanced"),
        trainer=ecgtune.TrainerSettings(device="cpu"),
        evaluation=ecgtune.Evaluation(threshold="f1"),
    )
    finished = ecgtune.fine_tune(dataset, recipe, out=tmp_path / "run")
    answers = finished.classify(dataset.signal[:5])
    assert len(answers) == 5
    assert all(set(answer) <= set(LABELS) for answer in answers)
    results = ecgtune.compare(
        dataset, [recipe], ecgtune.CompareSettings(seeds=1, baselines=False), out=tmp_path / "compare"
    )
    assert results["rows"][0]["metrics"]["auroc"]["mean"] == finished.metrics["window"]["metrics"]["auroc"]["value"]
