"""The real tasks of docs/real_tasks.md: what their scripts do before and after the trainings."""

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sklearn

from ecgtune.evaluation.decision import Decision, choose_decision
from ecgtune.training.predictions import Predictions
from helpers.records import heartbeats, write_record

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("NORM", "MI", "STTC", "CD", "HYP")


@pytest.fixture
def script(monkeypatch):
    """The modules of the benchmark by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "real_tasks"))
    return importlib.import_module


def test_the_page_holds_the_tables_of_the_kept_rows(script):
    page, rows = (ROOT / "docs" / "real_tasks.md").read_text("utf-8"), script("real_rows")
    ptbxl, cinc2017 = script("ptbxl"), script("cinc2017")
    tables = {
        "ptbxl": ptbxl.table(rows.read_rows(rows.RESULTS / "ptbxl.csv"), ptbxl.LABELS, ptbxl.FOLDS),
        "cinc2017": cinc2017.table(rows.read_rows(rows.RESULTS / "cinc2017.csv")),
    }
    for name, table in tables.items():
        assert f"<!-- {name} -->\n{table}<!-- end of {name} -->" in page


def test_unpacked_recordings_are_the_original_files(script, shared, tmp_path):
    data, originals = shared / "data", shared / "data" / "records" / "ptbxl"
    numbers = [int(path.name[:5]) - 1 for path in sorted(originals.glob("*.dat"))][::13]
    with np.load(data / "ptbxl500_500hz.npz") as arrays:
        np.savez(tmp_path / "few.npz", X=arrays["X"][numbers], leads=arrays["leads"])
    lines = (data / "ptbxl500_meta.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join([lines[0], *(lines[1 + number] for number in numbers)]))
    folder = script("ptbxl").unpacked(tmp_path / "few.npz", tmp_path / "few.csv", tmp_path / "records")
    found = sorted(folder.rglob("*.dat"))
    assert len(found) == len(numbers) >= 3
    for path in found:
        assert path.read_bytes() == (originals / path.name).read_bytes()


def test_what_is_left_out_of_ptbxl_is_told(script, tmp_path):
    beats = heartbeats(6)
    rows = ["filename_hr,patient_id," + ",".join(LABELS)]
    for number, signal in enumerate([*beats, 0.5 * beats[0], 2 * beats[1]]):
        write_record(tmp_path / "records", f"r{number}", signal)
        patient = {7: 1}.get(number, number)  # 7 is 1 again, of the same patient; 6 is 0 again, of another
        rows.append(f"r{number},{patient},{int(number % 2 == 0)},{int(number in (1, 7))}" + f",{int(number == 5)}" * 3)
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    dataset, reasons = script("ptbxl").read(tmp_path / "table.csv", tmp_path / "records", tmp_path / "out" / "own.csv")
    assert sorted(reasons) == ["r0", "r3", "r6"]
    assert "another patient" in reasons["r0"]
    assert reasons["r3"] == "none of the superclasses"
    assert dataset.recording.tolist() == ["r1", "r2", "r4", "r5", "r7"]
    assert dataset.signal.shape == (5, 1, 1000)
    assert dataset.source.near_duplicates == (("r1", "r7"),)


def test_means_over_folds_are_of_those_that_have_the_label(script, monkeypatch):
    summary, generator = script("ptbxl_summary"), np.random.default_rng(0)
    metrics = {
        "title": "T",
        "weights": "w",
        "parameters": {"trainable_fraction": 0.5},
        "split": {"counts": {"train": {"windows": 3}}},
        "training": {"epochs": 2, "best_epoch": 1, "seconds": 1.0},
    }
    folds, truths = [], []
    for fold in range(2):
        label = generator.integers(0, 2, (40, 2)).astype(np.int8)
        label[:, 1] *= fold  # the first fold has none of the second label
        runs = []
        for method in ("probe", "full"):
            probability = np.clip(0.2 * label + generator.random((40, 2)) * 0.8, 0, 1)
            decision = choose_decision("multilabel", label, probability, "fixed")
            group = np.arange(40) // 2
            test = Predictions(np.arange(40), group, np.full(40, "test"), label, probability)
            runs.append(summary.Kept(method, {**metrics, "threshold": decision.to_dict(["a", "b"])}, test))
        folds.append(runs)
        truths.append(label)
    monkeypatch.setattr(summary, "kept_runs", lambda folder: folds[folder])
    rows = {(row["method"], row["label"]): row for row in summary.summarised([0, 1], ("a", "b"))}
    for place, method in enumerate(("probe", "full")):
        areas = [
            [sklearn.roc_auc_score(truth[:, i], runs[place].test.probability[:, i]) for i in range(1 + fold)]
            for fold, (truth, runs) in enumerate(zip(truths, folds, strict=True))
        ]
        assert float(rows[method, "a"]["auroc"]) == pytest.approx((areas[0][0] + areas[1][0]) / 2, abs=1e-5)
        assert float(rows[method, "b"]["auroc"]) == pytest.approx(areas[1][1], abs=1e-5)
        assert float(rows[method, "macro"]["auroc"]) == pytest.approx((areas[0][0] + np.mean(areas[1])) / 2, abs=1e-5)
        assert [rows[method, label]["folds_in_mean"] for label in ("a", "b")] == ["2", "1"]
    difference = float(rows["probe", "a"]["auroc"]) - float(rows["full", "a"]["auroc"])
    assert float(rows["probe", "a"]["difference"]) == pytest.approx(difference, abs=2e-5)
    assert float(rows["probe", "a"]["difference_low"]) < difference < float(rows["probe", "a"]["difference_high"])
    assert "1 of 2 folds" in summary.table(
        [*rows.values(), {"fold": "1", "method": "probe"}, {"fold": "2", "method": "probe"}], ("a", "b"), 2
    )


def test_the_challenges_own_arithmetic_gives_the_f1_of_the_rows(script):
    generator, names = np.random.default_rng(1), ["A", "N", "O", "~"]
    label = generator.integers(0, 4, 60)
    probability = generator.dirichlet(np.ones(4), 60) * 0.6 + 0.4 * np.eye(4)[label]
    metrics = {
        "classes": names,
        "threshold": Decision("multiclass").to_dict(names),
        "evaluation": {"f1_over": ["N", "A", "O"], "recording": "mean"},
    }
    cinc2017 = script("cinc2017")
    group = np.array([f"r{i}" for i in range(60)])
    found = cinc2017.measured_anew(script("real_rows").Kept("probe", metrics, None), label, probability, group)
    # 4 x 4, rows the reference, columns the answer; F1 of a rhythm is twice its diagonal over its row and column.
    table = sklearn.confusion_matrix(label, probability.argmax(axis=1), labels=range(4))
    f1 = {name: 2 * table[i, i] / (table[i].sum() + table[:, i].sum()) for i, name in enumerate(names)}
    cells = cinc2017.cells(found["group"])
    assert float(cells["challenge_f1"]) == pytest.approx((f1["N"] + f1["A"] + f1["O"]) / 3, abs=1e-5)
    assert float(cells["f1"]) == pytest.approx(sum(f1.values()) / 4, abs=1e-5)
    assert [float(cells[f"f1_{name}"]) for name in names] == pytest.approx([f1[name] for name in names], abs=1e-5)
    keep = label < 3
    part = cinc2017.measured_anew(
        script("real_rows").Kept("probe", metrics, None), label[keep], probability[keep], group[keep]
    )
    cells = cinc2017.cells(part["group"])
    assert "f1_~" not in cells
    assert "f1" not in cells
    row = dict.fromkeys(script("cinc2017_table").COLUMNS, "") | cells | {"data": "windows", "label_fraction": "1"}
    told = cinc2017.table([row | {"level": "unseen", "method": "probe", "title": "Probe"}])
    assert "| absent |" in told
    assert "| n/a |" in told


def test_rows_take_the_place_of_those_with_their_key(script, tmp_path):
    rows = script("real_rows")
    file, key = tmp_path / "rows.csv", ("data", "method", "level")
    rows.replace_rows(file, [{"data": "d", "method": "a", "level": "w", "n": "1"}], (*key, "n"), key)
    rows.replace_rows(file, [{"data": "d", "method": "b, c", "level": "w", "n": "2"}], (*key, "n"), key)
    rows.replace_rows(file, [{"data": "d", "method": "a", "level": "w", "n": "3"}], (*key, "n"), key)
    with file.open(newline="") as lines:
        assert {row["method"]: row["n"] for row in csv.DictReader(lines)} == {"a": "3", "b, c": "2"}
