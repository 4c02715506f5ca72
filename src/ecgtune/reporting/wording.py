"""Titles of metrics, and sentences that state the result of a run or a comparison from its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ecgtune.data.positive import stored_positive
from ecgtune.evaluation.decision import Decision
from ecgtune.evaluation.macro import CHALLENGE
from ecgtune.evaluation.metrics import LEAD
from ecgtune.utils import formatting

Row = dict[str, Any]

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
#: Metrics of the whole decision over several classes, which are no means.
_WHOLE = ("accuracy", "mcc")
SPLITS = {"train": "Training", "val": "Validation", "test": "Test"}
#: Reason for the epoch of the checkpoint, by `checkpoint_metric`.
CHECKPOINTS = {"auroc": "highest validation AUROC", "loss": "lowest validation loss", "last": "last epoch"}


def task_of(content: dict[str, Any]) -> str:
    """The task of a metrics.json or results.json; a file of two classes has no entry."""
    return content.get("task", "binary")


def lead_of(content: dict[str, Any]) -> str:
    """The metric that ranks methods."""
    return LEAD[task_of(content)]


def metric_titles(content: dict[str, Any]) -> dict[str, str]:
    """Title of every metric in a metrics.json, results.json or external.json; "macro" for means over classes."""
    task = task_of(content)
    if task == "binary":
        return METRIC_TITLES
    titles = {
        name: title if task == "multiclass" and name in _WHOLE else f"Macro {in_sentence(title)}"
        for name, title in METRIC_TITLES.items()
    }
    over = content.get("evaluation", {}).get("f1_over")
    return titles | ({CHALLENGE: f"F1 over {', '.join(over)}"} if over else {})


def lead_title(content: dict[str, Any]) -> str:
    """The ranking metric inside a sentence: "accuracy", "macro F1"."""
    return in_sentence(metric_titles(content)[lead_of(content)])


def in_sentence(title: str) -> str:
    """A title inside a sentence: lower case, except F1 and AUROC."""
    return title if title.isupper() or title[1:2].isdigit() else title[:1].lower() + title[1:]


def label_kind(content: dict[str, Any]) -> str:
    """ "label" for several labels per window, else "class"."""
    return "label" if task_of(content) == "multilabel" else "class"


def unit_name(split: dict[str, Any]) -> str:
    """The unit of the bootstrap: "record", "patient" or "window"."""
    return "window" if split["unit"] == "row" else split["unit"]


def pooled_unit(metrics: dict[str, Any]) -> str:
    """The unit with one prediction in the `group` entry of metrics.json."""
    return metrics["group"].get("of") or unit_name(metrics["split"])


def pooling(content: dict[str, Any]) -> str:
    """How the probabilities of a recording's windows are pooled: "mean" or "maximum"."""
    return content.get("evaluation", {}).get("recording", "mean")


def count_rows(split: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Name of each class or label and its number of windows in training, validation and test with percentages."""
    labels = split["counts"]["train"]["labels"]
    return [(name, [_counted(split["counts"][part]["labels"][name]) for part in SPLITS]) for name in labels]


def _counted(entry: dict[str, int]) -> str:
    fraction = entry["positives"] / entry["known"] if entry["known"] else None
    return f"{formatting.count(entry['positives'])} ({formatting.percent(fraction)} %)"


def mean_note(content: dict[str, Any]) -> str:
    """Sentence on the macro averages of the test windows: their number of classes or labels, and the absent ones."""
    labels = content["split"]["counts"]["test"]["labels"]
    absent = [name for name, entry in labels.items() if not 0 < entry["positives"] < entry["known"]]
    plural = {"label": "labels", "class": "classes"}[label_kind(content)]
    text = f"Macro: unweighted mean over {len(labels) - len(absent)} of {len(labels)} {plural}"
    return f"{text}; absent from the test windows: {', '.join(absent)}." if absent else f"{text}."


LABEL_METRICS = ("auroc", "auprc", "f1", "recall", "specificity")


def label_rows(level: dict[str, Any], threshold: dict[str, Any]) -> list[Row]:
    """Rows of the table per class or label: name, counts, prevalence, `cells` of LABEL_METRICS, threshold.

    level: `window` or `group` of metrics.json. `cells` is None for an absent class or label.
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


def label_scores(runs: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """AUROC of each class or label, mean over the metrics.json of a method's seeds; None where it is absent."""
    result: dict[str, float | None] = {}
    for name in runs[0]["window"]["labels"]:
        entries = [metrics["window"]["labels"][name]["metrics"] for metrics in runs]
        values = [entry["auroc"]["value"] for entry in entries if entry]
        result[name] = sum(values) / len(values) if values else None
    return result


def too_few_note(entries: Iterable[dict[str, Any]]) -> str | None:
    """Sentence on the intervals that are marked, None when no entry is."""
    entries = list(entries)
    notes = []
    if any(entry.get("too_few") and not entry.get("identical") for entry in entries):
        notes.append(
            f"{formatting.TOO_FEW.capitalize()}: all resamples agree, because there are too few windows or errors. The "
            "interval is then the exact one of Clopper and Pearson, where the metric has one."
        )
    if any(entry.get("identical") for entry in entries):
        notes.append(f"{formatting.IDENTICAL.capitalize()}: both methods predict all test windows alike.")
    return " ".join(notes) or None


def positive_note(content: dict[str, Any]) -> str:
    """Sentence on the positive class of two, and the metrics that depend on it."""
    name, reason = stored_positive(content)
    return f"Positive class: {name} ({reason}). Precision, recall, specificity, F1 and AUPRC are those of {name}."


def decision_sentence(metrics: dict[str, Any]) -> str:
    """`0.5, fixed` and the like."""
    return Decision.from_dict(metrics["threshold"]).sentence(metrics["classes"])


def decision_phrase(metrics: dict[str, Any]) -> str:
    """The same for a narrow column."""
    if task_of(metrics) == "multiclass":
        return "largest probability"
    sentence = decision_sentence(metrics)
    return "one per label" if ";" in sentence else sentence


def checkpoint_epoch(training: dict[str, Any]) -> str:
    """Epoch of the saved weights and the reason, from `training` of metrics.json: `3 (highest validation AUROC)`."""
    epoch = training["best_epoch"]
    if epoch is None:
        return formatting.MISSING
    return f"{formatting.count(epoch)} ({CHECKPOINTS[training['checkpoint_metric']]})"


def evaluations_sentence(results: dict[str, Any]) -> str:
    """How often the test split was used: once by each run, and by choices that knew earlier results."""
    runs = sum(len(row["seeds"]) for row in results["rows"])
    subject = "The run" if runs == 1 else f"Each of the {runs} runs"
    sentence = f"{subject} was evaluated on it once, after its training."
    history = results.get("history", [runs])
    if len(history) < 2:
        return sentence
    counts = formatting.listed([formatting.count(count) for count in history])
    return (
        f"{sentence} Results were computed {len(history)} times, with {counts} runs: runs that were added knew the "
        "results before them, so the last results may be too optimistic."
    )


def comparison_headline(results: dict[str, Any]) -> list[str]:
    """Sentences: the best method with its interval, its difference to the reference, baselines, ranking by AUROC."""
    lead, name = lead_of(results), lead_title(results)
    methods = [row for row in results["rows"] if row["kind"] == "method" and _score(row, lead) is not None]
    if not methods:
        return [f"No method has a defined {name}."]
    ranked = sorted(methods, key=lambda row: _score(row, lead), reverse=True)
    best = ranked[0]
    entry = best["metrics"][lead]
    seeds = max(len(row["seeds"]) for row in methods)
    over = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
    value = f"{formatting.score(entry['mean'])} ({over}; 95 % interval {formatting.interval(entry)})"
    level = [row for row in ranked if _score(row, lead) == _score(best, lead)]
    if len(methods) == 1:
        article = "an" if name[0] in "aeiou" else "a"
        first = f"{named(best)} reaches {article} {name} of {value} on the test windows."
    else:
        verb = "has" if len(level) == 1 else "share"
        first = (
            f"{formatting.listed([named(row) for row in level])} {verb} the highest {name} of "
            f"{formatting.counted(len(methods), 'method')} on the "
            f"test windows: {value}."
        )
    sentences = [first, *_difference(ranked, results), *_baselines(best, results)]
    by_auroc = max(methods, key=lambda row: row["metrics"]["auroc"]["mean"] or 0)
    if by_auroc is not best and by_auroc["metrics"]["auroc"]["mean"] is not None:
        auroc = by_auroc["metrics"]["auroc"]
        sentences.append(
            f"By {in_sentence(metric_titles(results)['auroc'])} the ranking differs: {named(by_auroc)} is first with "
            f"{formatting.score(auroc['mean'])} ({formatting.interval(auroc)})."
        )
    return sentences


def _difference(ranked: Sequence[Row], results: dict[str, Any]) -> list[str]:
    reference = next((row for row in ranked if row["method"] == results["reference"]), None)
    if reference is None or len(ranked) < 2:
        return []
    unit = unit_name(results["split"])
    best = ranked[0]
    # Differences are stored against the reference, so its lead is the negated difference of the second.
    other, sign = (ranked[1], -1) if best is reference else (best, 1)
    entry = other["difference"][lead_of(results)]
    if entry.get("identical"):
        return [f"{named(reference)} and {named(other)} have identical predictions of the test windows."]
    if entry.get("too_few"):
        equal = f"{named(reference)} and {named(other)} do not differ in any resample"
        return [f"{equal}: the test split has too few windows or errors to separate the two."]
    if entry["value"] is None or entry["ci_low"] is None:
        return [f"The difference to {named(reference)} is not defined."]
    size = formatting.signed(abs(entry["value"])).lstrip("+")
    words = f"This is {size} above {named(reference)}"
    if best is reference:
        words = f"{named(other)} is second, {size} lower"
    if entry["value"] == 0:
        words = f"{named(reference)} and {named(other)} do not differ"
    low, high = sorted((sign * entry["ci_low"], sign * entry["ci_high"]))
    interval = f"95 % interval of the difference {formatting.signed(low)} to {formatting.signed(high)}"
    words += f" (paired by {unit}, {interval})."
    if low <= 0 <= high:
        return [f"{words} The interval includes 0: this test split cannot separate the two."]
    return [f"{words} The interval does not include 0, on this split and with these seeds."]


def _baselines(best: Row, results: dict[str, Any]) -> list[str]:
    lead = lead_of(results)
    baselines = [row for row in results["rows"] if row["kind"] == "baseline" and _score(row, lead) is not None]
    if not baselines:
        return []
    scores = formatting.listed([f"{named(row)} {formatting.score(_score(row, lead))}" for row in baselines])
    sentences = [f"Baselines: {scores}."]
    reached, low = _score(best, lead), best["metrics"][lead]["ci_low"] or 0
    above = [row for row in baselines if _score(row, lead) > reached]
    within = [row for row in baselines if low <= _score(row, lead) <= reached]
    if above:
        sentences.append(f"No method reaches {formatting.listed([named(row) for row in above])}.")
    if within:
        names = formatting.listed([named(row) for row in within])
        sentences.append(f"The interval of the best method includes the score of {names}: no method is clearly better.")
    return sentences


def run_headline(metrics: dict[str, Any]) -> str:
    """Sentences: the ranking metric and AUROC of a run with their intervals (for several labels AUROC and F1)."""
    first = lead_of(metrics)
    second = "f1" if first == "auroc" else "auroc"
    titles = metric_titles(metrics)
    (one, entry), (two, other) = (
        (in_sentence(titles[name]), metrics["window"]["metrics"][name]) for name in (first, second)
    )
    text = (
        f"On {formatting.counted(metrics['window']['n'], 'test window')}: {one} {formatting.score(entry['value'])} "
        f"(95 % interval {formatting.interval(entry)}), {two} {formatting.score(other['value'])} "
        f"({formatting.interval(other)})."
    )
    if task_of(metrics) != "binary":
        text += f" {mean_note(metrics)}"
    group = metrics["group"]
    if "reason" in group:
        return text
    unit, entry = pooled_unit(metrics), group["metrics"][first]
    return (
        f"{text} Per {unit} ({pooling(metrics)} probability, {formatting.counted(group['n'], unit)}): "
        f"{one} {formatting.score(entry['value'])} ({formatting.interval(entry)})."
    )


def weights_banner(weights: str) -> str | None:
    """Warning above the numbers of an encoder that was not pretrained; None for a pretrained one."""
    if not weights.startswith("random"):
        return None
    return (
        f"Encoder weights: {weights}. The encoder was not pretrained: these numbers test the pipeline, not the quality "
        "of the encoder or of a method."
    )


def named(row: Row) -> str:
    """The title, in quotation marks if it has a comma."""
    return f'"{row["title"]}"' if "," in row["title"] else row["title"]


def _score(row: Row, metric: str) -> Any:
    return row["metrics"][metric]["mean"]
