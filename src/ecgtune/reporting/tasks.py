"""What readers call the metrics of each task, and what is told about each class or label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.macro import CHALLENGE
from ecgtune.reporting.reading import Run
from ecgtune.utils import formatting

METRIC_TITLES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "mcc": "MCC",
}
#: The metric that ranks methods. Accuracy says little where classes are unequal, thresholds little where they are many.
LEAD = {"binary": "accuracy", "multiclass": "f1", "multilabel": "auroc"}
#: Metrics of the whole decision over several classes, which are no means.
_WHOLE = ("accuracy", "mcc")
PARTS = {"train": "Training", "val": "Validation", "test": "Test"}


def task_of(content: dict[str, Any]) -> str:
    """The task of a metrics.json or results.json, which says nothing where it is two classes."""
    return content.get("task", "binary")


def lead_of(content: dict[str, Any]) -> str:
    """The metric by which methods are ranked."""
    return LEAD[task_of(content)]


def metric_titles(content: dict[str, Any]) -> dict[str, str]:
    """Title of every metric in a metrics.json or results.json; means over classes or labels are called macro."""
    task = task_of(content)
    if task == "binary":
        return METRIC_TITLES
    titles = {
        name: title if task == "multiclass" and name in _WHOLE else f"Macro {in_sentence(title)}"
        for name, title in METRIC_TITLES.items()
    }
    over = content["evaluation"].get("f1_over")
    return titles | ({CHALLENGE: f"F1 over {', '.join(over)}"} if over else {})


def lead_title(content: dict[str, Any]) -> str:
    """The ranking metric inside of a sentence: "accuracy", "macro F1"."""
    return in_sentence(metric_titles(content)[lead_of(content)])


def in_sentence(title: str) -> str:
    """A title inside of a sentence: words small, F1 and AUROC as they are."""
    return title if title.isupper() or title[1:2].isdigit() else title[:1].lower() + title[1:]


def names_of(content: dict[str, Any]) -> str:
    """What the several are called: "class" or "label"."""
    return "label" if task_of(content) == "multilabel" else "class"


def count_rows(split: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Of each class or label: name, and its windows in training, validation and test with their share."""
    labels = split["counts"]["train"]["labels"]
    return [(name, [_counted(split["counts"][part]["labels"][name]) for part in PARTS]) for name in labels]


def _counted(entry: dict[str, int]) -> str:
    share = entry["positives"] / entry["known"] if entry["known"] else None
    return f"{formatting.count(entry['positives'])} ({formatting.percent(share)} %)"


def mean_note(content: dict[str, Any]) -> str:
    """One sentence: over how many classes or labels the macro averages of the test windows are, and what is absent."""
    labels = content["split"]["counts"]["test"]["labels"]
    absent = [name for name, entry in labels.items() if not 0 < entry["positives"] < entry["known"]]
    kind = names_of(content)
    text = f"Macro: mean over {len(labels) - len(absent)} of {len(labels)} {_plural(kind)}, each counted alike"
    return f"{text}; absent in the test windows: {', '.join(absent)}." if absent else f"{text}."


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


LABEL_METRICS = ("auroc", "auprc", "f1", "recall", "specificity")


def label_rows(level: dict[str, Any], threshold: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table per class or label: name, counts, prevalence, `cells` of LABEL_METRICS, threshold.

    level: `window` or `group` of metrics.json. `cells` is None for what is absent.
    """
    thresholds = threshold.get("labels", {})
    return [
        {
            "name": name,
            "positives": entry["positives"],
            "prevalence": entry["prevalence"],
            "cells": entry["metrics"] and [entry["metrics"][metric] for metric in LABEL_METRICS],
            "threshold": thresholds[name]["value"] if thresholds else None,
        }
        for name, entry in level["labels"].items()
    ]


def label_scores(runs: Sequence[Run]) -> dict[str, float | None]:
    """AUROC of each class or label, mean over the runs (seeds) of a method; None where it is absent."""
    result: dict[str, float | None] = {}
    for name in runs[0].metrics["window"]["labels"]:
        entries = [run.metrics["window"]["labels"][name]["metrics"] for run in runs]
        values = [entry["auroc"]["value"] for entry in entries if entry]
        result[name] = sum(values) / len(values) if values else None
    return result


def decision_sentence(metrics: dict[str, Any]) -> str:
    """`0.5, fixed` and the like; the wording is the evaluation's."""
    return Decision.from_dict(metrics["threshold"]).sentence(metrics["classes"])


def decision_phrase(metrics: dict[str, Any]) -> str:
    """The same for a narrow column."""
    if task_of(metrics) == "multiclass":
        return "largest probability"
    sentence = decision_sentence(metrics)
    return "one per label" if ";" in sentence else sentence
