"""The answer of a comparison or a run in words, computed from its numbers and no bolder than they are."""

from collections.abc import Sequence
from typing import Any

from ecgtune.reporting import numbers
from ecgtune.reporting.tables import unit_name

Row = dict[str, Any]


def comparison_headline(results: dict[str, Any]) -> list[str]:
    """Sentences: the best method and its interval, its difference to the reference, the floors, AUROC if it differs."""
    methods = [row for row in results["rows"] if row["kind"] == "method" and _accuracy(row) is not None]
    if not methods:
        return ["No method has a defined accuracy."]
    ranked = sorted(methods, key=_accuracy, reverse=True)
    best = ranked[0]
    entry = best["metrics"]["accuracy"]
    seeds = max(len(row["seeds"]) for row in methods)
    over = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
    level = [row for row in ranked if _accuracy(row) == _accuracy(best)]
    numbers_of_best = f"{numbers.score(entry['mean'])} ({over}; 95 % interval {numbers.interval(entry)})"
    if len(methods) == 1:
        sentences = [f"{_named(best)} reaches an accuracy of {numbers_of_best} on the test windows."]
    elif len(level) > 1:
        shared = _listed([_named(row) for row in level])
        sentences = [
            f"{shared} share the highest accuracy of {len(methods)} methods on the test windows: {numbers_of_best}."
        ]
    else:
        sentences = [
            f"{_named(best)} has the highest accuracy of {len(methods)} methods on the test windows: {numbers_of_best}."
        ]
    sentences += _difference(ranked, results)
    sentences += _floors(best, results)
    by_auroc = max(methods, key=lambda row: row["metrics"]["auroc"]["mean"] or 0)
    if by_auroc is not best and by_auroc["metrics"]["auroc"]["mean"] is not None:
        auroc = by_auroc["metrics"]["auroc"]
        sentences.append(
            f"By AUROC the order differs: {_named(by_auroc)} comes first with {numbers.score(auroc['mean'])} "
            f"({numbers.interval(auroc)})."
        )
    return sentences


def _difference(ranked: Sequence[Row], results: dict[str, Any]) -> list[str]:
    reference = next((row for row in ranked if row["method"] == results["reference"]), None)
    if reference is None or len(ranked) < 2:
        return []
    unit = unit_name(results["split"])
    best = ranked[0]
    if best is reference:
        # Differences are kept against the reference, so its lead is the runner-up's with the sign turned.
        other, sign = ranked[1], -1
        words = f"The next is {_named(other)}, {{size}} lower"
    else:
        other, sign = best, 1
        words = f"That is {{size}} above {_named(reference)}"
    entry = other["difference"]["accuracy"]
    if entry["value"] is None or entry["low"] is None:
        return [f"The difference to {_named(reference)} is not defined."]
    if entry["value"] == 0:
        words = f"Between {_named(reference)} and {_named(other)} there is no difference"
    low, high = sorted((sign * entry["low"], sign * entry["high"]))
    words = words.format(size=numbers.score(abs(entry["value"])))
    words += f" (paired by {unit}, 95 % interval of the difference {numbers.signed(low)} to {numbers.signed(high)})."
    if low <= 0 <= high:
        return [f"{words} The interval includes 0: this test split does not tell the two apart."]
    return [f"{words} The interval does not include 0, on this split and with these seeds."]


def _floors(best: Row, results: dict[str, Any]) -> list[str]:
    floors = [row for row in results["rows"] if row["kind"] == "floor" and _accuracy(row) is not None]
    if not floors:
        return []
    listed = _listed([f"{_named(row)} {numbers.score(_accuracy(row))}" for row in floors])
    sentences = [f"Floors to be above: {listed}."]
    above = [row for row in floors if _accuracy(row) > _accuracy(best)]
    within = [row for row in floors if (best["metrics"]["accuracy"]["low"] or 0) <= _accuracy(row) <= _accuracy(best)]
    if above:
        sentences.append(f"No method reaches {_listed([_named(row) for row in above])}.")
    if within:
        sentences.append(
            f"The interval of the best method reaches down to {_listed([_named(row) for row in within])}: no method "
            "is clearly better than that."
        )
    return sentences


def run_headline(metrics: dict[str, Any]) -> str:
    """One sentence: the accuracy and AUROC of a run with their intervals."""
    accuracy, auroc = (metrics["window"]["metrics"][name] for name in ("accuracy", "auroc"))
    text = (
        f"On {numbers.count(metrics['window']['n'])} test windows: accuracy {numbers.score(accuracy['value'])} "
        f"(95 % interval {numbers.interval(accuracy)}), AUROC {numbers.score(auroc['value'])} "
        f"({numbers.interval(auroc)})."
    )
    group = metrics["group"]
    if "reason" in group:
        return text
    unit, accuracy = unit_name(metrics["split"]), group["metrics"]["accuracy"]
    return (
        f"{text} Per {unit} (mean probability, {numbers.count(group['n'])} {unit}s): "
        f"accuracy {numbers.score(accuracy['value'])} ({numbers.interval(accuracy)})."
    )


def weights_banner(weights: str) -> str | None:
    """What must stand above every number of an encoder that was not pretrained; None when it was."""
    if not weights.startswith("random"):
        return None
    return (
        f"The encoder's weights are {weights}. It was not pretrained: these numbers show that the pipeline works, not "
        "how good ECG-FM or a method is."
    )


def _named(row: Row) -> str:
    """The title, in quotation marks where its own comma would break a sentence."""
    return f'"{row["title"]}"' if "," in row["title"] else row["title"]


def _accuracy(row: Row) -> Any:
    return row["metrics"]["accuracy"]["mean"]


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
