"""Notes of a comparison: weights, warnings, and limits of its intervals."""

from collections.abc import Sequence
from typing import Any

from ecgtune.evaluation.decision import LARGEST, Decision
from ecgtune.utils import formatting

# Percentile intervals over fewer resampled units are too narrow.
FEW_GROUPS = 30
# Fraction of the epochs of a recipe, below which a training is marked.
FEW_EPOCHS = 0.5


def comparison_notes(metrics: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], reference: str) -> list[str]:
    """Return distinct warnings and conditions of a comparison, most important first.

    metrics: metrics.json of every run of a method (not of baselines). rows: rows of results.json.
    """
    notes: list[str] = []
    several = len(_distinct(run.get("model") for run in metrics)) > 1
    for model, weights in _distinct(
        (run["model"], run["weights"].partition(" (seed")[0]) for run in metrics if several
    ):
        notes.append(f"weights: {model}, {weights}.")
    for weights in _distinct(run["weights"] for run in metrics if not several):
        random = "The encoder was not pretrained: these numbers test the pipeline, not the quality of the methods."
        notes.append(f"weights: {weights}. {random}" if weights.startswith("random") else f"weights: {weights}.")
    notes += preset_notes(metrics)
    notes += _distinct(warning for run in metrics for warning in run["split"]["warnings"])
    notes += _size_notes(metrics)
    if all(row["method"] != reference for row in rows):
        notes.append(f"'{reference}' was not run, so there are no differences to it.")
    one_seed = [row["title"] for row in rows if row["kind"] == "method" and len(row["seeds"]) == 1]
    if one_seed:
        notes.append(f"One seed only, so the standard deviation over seeds is unknown: {'; '.join(one_seed)}.")
    return [*notes, *_undefined(rows), *_threshold_notes(metrics)]


def preset_notes(metrics: Sequence[dict[str, Any]]) -> list[str]:
    """Settings in which methods differ from the bundled recipes of their names, and methods that trained far less.

    metrics: the metrics.json of runs; seeds of a method have the same settings.
    """
    changed = {run["name"]: run["preset"] for run in metrics if "preset" in run}
    short = {
        name: f"{preset['epochs']} of {preset['preset_epochs']}"
        for name, preset in changed.items()
        if preset["epochs"] < FEW_EPOCHS * preset["preset_epochs"]
    }
    notes = []
    if changed:
        notes.append(
            f"Changed from the recipe: {_by_phrase({n: ', '.join(p['changes']) for n, p in changed.items()})}."
        )
    if short:
        notes.append(f"Far fewer epochs than in the recipe, so scores may be too low: {_by_phrase(short)}.")
    return notes


def _by_phrase(phrases: dict[str, str]) -> str:
    """List each distinct phrase once, with the names that have it: "full, lora (3 of 20); probe (1 of 20)"."""
    names: dict[str, list[str]] = {}
    for name, phrase in phrases.items():
        names.setdefault(phrase, []).append(name)
    return "; ".join(f"{', '.join(same)} ({phrase})" for phrase, same in names.items())


def _threshold_notes(metrics: Sequence[dict[str, Any]]) -> list[str]:
    """Return the decision threshold of each run, or one note if no threshold was fitted."""
    sentences = [Decision.from_dict(run["threshold"]).sentence(run["classes"]) for run in metrics]
    if all(_rules(run["threshold"]) <= {"fixed", LARGEST} for run in metrics):
        return [f"Decision threshold: {sentences[0]}."]
    return [
        f"Decision threshold of {run['name']}, seed {run['seed']}: {sentence}."
        for run, sentence in zip(metrics, sentences, strict=True)
    ]


def _rules(threshold: dict[str, Any]) -> set[str]:
    entries = threshold["labels"].values() if "labels" in threshold else [threshold]
    return {entry["rule"] for entry in entries}


def _size_notes(metrics: Sequence[dict[str, Any]]) -> list[str]:
    if not metrics:
        return []
    split = metrics[0]["split"]
    test = split["counts"]["test"]
    return size_notes("test split", test["groups"] or test["windows"], split["unit"] if test["groups"] else "window")


def size_notes(part: str, units: int, unit: str) -> list[str]:
    """A sentence where `part`, such as "test split", has few units, which intervals resample."""
    if units >= FEW_GROUPS:
        return []
    return [
        f"The {part} has only {formatting.counted(units, unit)}: the intervals are rough and tend to be too narrow."
    ]


def _undefined(rows: Sequence[dict[str, Any]]) -> list[str]:
    notes = []
    for row in rows:
        missing = [name for name, entry in row["metrics"].items() if entry["mean"] is None]
        if row["kind"] == "method" and missing:
            notes.append(f"{row['title']}: {', '.join(missing)} undefined for at least one seed (n/a in the table).")
    return notes


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))
