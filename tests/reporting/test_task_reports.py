"""Pages, tables, figures and cards of several classes and several labels, from synthetic predictions."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecgtune.evaluation.comparison import RunRecord, compare_runs
from ecgtune.evaluation.decision import Decision, Threshold
from ecgtune.evaluation.evaluate import Grouping, evaluate
from ecgtune.reporting.tables import table_csv, table_markdown
from ecgtune.reporting.wording import metric_titles
from ecgtune.reporting.writing import write_comparison, write_run
from helpers.methods import slow

GENERATOR = np.random.default_rng(0)
GROUP = np.repeat([f"r{number:02d}" for number in range(40)], 2)
NAMES = {"multiclass": ["A", "N", "O"], "multilabel": ["MI", "CD", "HYP"]}


def truth(task: str) -> np.ndarray:
    """HYP is absent among the labels, and some of MI is missing."""
    if task == "multiclass":
        return np.repeat(np.arange(40) % 3, 2)
    label = np.repeat(np.stack([np.arange(40) % 2, np.arange(40) % 4 == 0, np.zeros(40)], axis=1), 2, axis=0)
    label[:6, 0] = -1
    return label.astype(np.int8)


def scores(task: str, strength: float) -> np.ndarray:
    label = truth(task)
    one_each = np.eye(3)[label] if task == "multiclass" else label == 1
    raw = np.clip(0.3 + strength * one_each + GENERATOR.normal(0, 0.15, one_each.shape), 0.01, 1)
    return raw / raw.sum(axis=1, keepdims=True) if task == "multiclass" else raw


def counts(task: str) -> dict:
    label = truth(task)
    flags = np.eye(3)[label] if task == "multiclass" else label
    labels = {
        name: {"positives": int((flags[:, i] == 1).sum()), "known": int((flags[:, i] >= 0).sum())}
        for i, name in enumerate(NAMES[task])
    }
    return {part: {"windows": 80, "groups": 40, "labels": labels} for part in ("train", "val", "test")}


def record(folder: Path, make_run, task: str, name: str, strength: float) -> RunRecord:
    """A finished run folder, as training writes it for this task."""
    decision = Decision(task) if task == "multiclass" else Decision(task, (Threshold(0.4, "f1"),) * 2 + (FIXED,))
    place = f"{name}/seed-0"
    metrics = make_run(folder / place, name, 0, "pretrained (sha256 0123)")
    probability = scores(task, strength)
    over = {"f1_over": ["N", "A"]} if task == "multiclass" else {}
    metrics |= {
        "classes": NAMES[task], "task": task, "threshold": decision.to_dict(NAMES[task]),
        "evaluation": {"recording": "mean", **over},
    }  # fmt: skip
    metrics["split"] = metrics["split"] | {"counts": counts(task)}
    found = evaluate(
        truth(task), probability, Grouping(GROUP), decision, NAMES[task], f1_over=over.get("f1_over", ()), resamples=20
    )
    (folder / place / "metrics.json").write_text(json.dumps(metrics | found))
    return RunRecord(name, name, "method", 0, place, metrics | found, truth(task), probability, GROUP)


FIXED = Threshold(0.5, "unfitted")


@pytest.fixture(scope="module", params=[*slow("multiclass"), "multilabel"])
def written(request, tmp_path_factory, make_run):
    """A comparison of two methods, and its results."""
    folder, task = tmp_path_factory.mktemp("task"), request.param
    records = [record(folder, make_run, task, name, strength) for name, strength in (("full", 0.5), ("lora", 0.3))]
    first = records[0].metrics
    results = {
        "format": 2, "created": "2025-01-31T12:00:00+00:00", "command": "ecgtune compare", "machine": {"cpu": "2"},
        "data": first["data"], "split": first["split"], "model": first["model"], "weights": first["weights"],
        "task": task, "evaluation": first["evaluation"], **compare_runs(records, resamples=20),
    }  # fmt: skip
    write_comparison(folder, results)
    write_run(folder / "lora/seed-0")
    return folder, results


def test_means_are_called_macro_and_the_challenge_by_its_classes(written):
    _, results = written
    titles = metric_titles(results)
    if results["task"] == "multiclass":
        assert (titles["accuracy"], titles["f1"], titles["mcc"]) == ("Accuracy", "Macro F1", "MCC")
        assert titles["challenge_f1"] == "F1 over N, A"
    else:
        assert (titles["accuracy"], titles["auroc"]) == ("Macro accuracy", "Macro AUROC")
    head = table_csv(results).splitlines()[0].split(",")
    assert titles["f1"] in head
    lead = "Macro F1" if results["task"] == "multiclass" else "Macro AUROC"
    assert f"{lead} difference_ci_low" in head
    assert f"Δ macro {lead.split()[1]} vs full" in table_markdown(results)


def test_every_label_stands_in_the_pages_with_its_prevalence(written):
    folder, results = written
    page = (folder / "lora/seed-0/report.html").read_text()
    card = (folder / "lora/seed-0/README.md").read_text()
    for name in NAMES[results["task"]]:
        assert f'<th scope="row">{name}</th>' in page
        assert f"| {name} |" in card
    assert "Prevalence" in page
    assert "Prevalence" in card
    assert page.count('<figure class="wide">') == page.count('<figure class="wide"><div class="scroll')  # on a phone
    assert (folder / "lora/seed-0/figures/confusion.svg").is_file()
    if results["task"] == "multilabel":
        assert "absent: not in the means" in page
        assert "mean over 2 of 3 labels; absent from the test windows: HYP" in page
        assert "HYP 0.5, not fitted" in page
    else:
        assert "mean over 3 of 3 classes" in page
        assert "the class with the largest probability" in card


def test_the_comparison_ranks_by_the_metric_of_the_task(written):
    folder, results = written
    page = (folder / "report.html").read_text()
    lead = "macro F1" if results["task"] == "multiclass" else "macro AUROC"
    assert f"has the highest {lead} of 2 methods" in page
    assert "AUROC on the test windows, mean over seeds" in page
    auroc = results["rows"][0]["metrics"]["auroc"]["mean"]
    assert f"{auroc:.3f}" in page
