"""The answer of a comparison or a run in words, computed from its numbers and no bolder than they are."""

from collections.abc import Sequence
from typing import Any

from ecgtune.reporting.tables import pooled_unit, unit_name
from ecgtune.reporting.tasks import in_sentence, lead_of, lead_title, mean_note, metric_titles, task_of
from ecgtune.utils import formatting

Row = dict[str, Any]


KEPT = {"auroc": "highest validation AUROC", "loss": "lowest validation loss", "last": "the last one"}


def kept_epoch(training: dict[str, Any]) -> str:
    """Which epoch's weights a run has, and why, from its metrics: `3 (highest validation AUROC)`."""
    epoch = training["best_epoch"]
    return formatting.MISSING if epoch is None else f"{formatting.count(epoch)} ({KEPT[training['checkpoint_metric']]})"


def comparison_headline(results: dict[str, Any]) -> list[str]:
    """Sentences: the best method and its interval, its difference to the reference, the baselines, AUROC if other."""
    lead, name = lead_of(results), lead_title(results)
    methods = [row for row in results["rows"] if row["kind"] == "method" and _score(row, lead) is not None]
    if not methods:
        return [f"No method has a defined {name}."]
    ranked = sorted(methods, key=lambda row: _score(row, lead), reverse=True)
    best = ranked[0]
    entry = best["metrics"][lead]
    seeds = max(len(row["seeds"]) for row in methods)
    over = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
    level = [row for row in ranked if _score(row, lead) == _score(best, lead)]
    numbers_of_best = f"{formatting.score(entry['mean'])} ({over}; 95 % interval {formatting.interval(entry)})"
    if len(methods) == 1:
        article = "an" if name[0] in "aeiou" else "a"
        sentences = [f"{_named(best)} reaches {article} {name} of {numbers_of_best} on the test windows."]
    elif len(level) > 1:
        shared = _listed([_named(row) for row in level])
        sentences = [
            f"{shared} share the highest {name} of {len(methods)} methods on the test windows: {numbers_of_best}."
        ]
    else:
        sentences = [
            f"{_named(best)} has the highest {name} of {len(methods)} methods on the test windows: {numbers_of_best}."
        ]
    sentences += _difference(ranked, results)
    sentences += _baselines(best, results)
    by_auroc = max(methods, key=lambda row: row["metrics"]["auroc"]["mean"] or 0)
    if by_auroc is not best and by_auroc["metrics"]["auroc"]["mean"] is not None:
        auroc = by_auroc["metrics"]["auroc"]
        sentences.append(
            f"By {in_sentence(metric_titles(results)['auroc'])} the order differs: {_named(by_auroc)} comes first with "
            f"{formatting.score(auroc['mean'])} ({formatting.interval(auroc)})."
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
    entry = other["difference"][lead_of(results)]
    if entry["value"] is None or entry["ci_low"] is None:
        return [f"The difference to {_named(reference)} is not defined."]
    if entry["value"] == 0:
        words = f"Between {_named(reference)} and {_named(other)} there is no difference"
    low, high = sorted((sign * entry["ci_low"], sign * entry["ci_high"]))
    words = words.format(size=formatting.score(abs(entry["value"])))
    interval = f"{formatting.signed(low)} to {formatting.signed(high)}"
    words += f" (paired by {unit}, 95 % interval of the difference {interval})."
    if low <= 0 <= high:
        return [f"{words} The interval includes 0: this test split does not tell the two apart."]
    return [f"{words} The interval does not include 0, on this split and with these seeds."]


def _baselines(best: Row, results: dict[str, Any]) -> list[str]:
    lead = lead_of(results)
    baselines = [row for row in results["rows"] if row["kind"] == "baseline" and _score(row, lead) is not None]
    if not baselines:
        return []
    listed = _listed([f"{_named(row)} {formatting.score(_score(row, lead))}" for row in baselines])
    sentences = [f"Baselines to be above: {listed}."]
    reached, low = _score(best, lead), best["metrics"][lead]["ci_low"] or 0
    above = [row for row in baselines if _score(row, lead) > reached]
    within = [row for row in baselines if low <= _score(row, lead) <= reached]
    if above:
        sentences.append(f"No method reaches {_listed([_named(row) for row in above])}.")
    if within:
        sentences.append(
            f"The interval of the best method reaches down to {_listed([_named(row) for row in within])}: no method "
            "is clearly better than that."
        )
    return sentences


def run_headline(metrics: dict[str, Any]) -> str:
    """One sentence: the ranking metric and AUROC of a run with their intervals (of several labels, F1 beside it)."""
    first = lead_of(metrics)
    second = "f1" if first == "auroc" else "auroc"
    titles = metric_titles(metrics)
    (one, entry), (two, other) = (
        (in_sentence(titles[name]), metrics["window"]["metrics"][name]) for name in (first, second)
    )
    text = (
        f"On {formatting.count(metrics['window']['n'])} test windows: {one} {formatting.score(entry['value'])} "
        f"(95 % interval {formatting.interval(entry)}), {two} {formatting.score(other['value'])} "
        f"({formatting.interval(other)})."
    )
    if task_of(metrics) != "binary":
        text += f" {mean_note(metrics)}"
    group = metrics["group"]
    if "reason" in group:
        return text
    unit, entry = pooled_unit(metrics), group["metrics"][first]
    pooled = metrics.get("evaluation", {}).get("recording", "mean")
    return (
        f"{text} Per {unit} ({pooled} probability, {formatting.count(group['n'])} {unit}s): "
        f"{one} {formatting.score(entry['value'])} ({formatting.interval(entry)})."
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


def _score(row: Row, metric: str) -> Any:
    return row["metrics"][metric]["mean"]


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
