"""Sentences on the method to take, from `recommendation` of results.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecgtune.reporting.wording import Row, lead_title, named, unit_name
from ecgtune.utils import formatting


def recommendation_sentences(results: dict[str, Any]) -> list[str]:
    """The method to take, methods with too little evidence, baselines that are not beaten; none for a single method."""
    found = results.get("recommendation")
    if found is None:
        return []
    rows = {row["method"]: row for row in results["rows"]}
    return [
        _taken(found, rows, lead_title(results)),
        *_open(found, rows, results),
        *_baselines(found, rows, results["split"]),
    ]


def shown_run(results: dict[str, Any]) -> str:
    """The folder, inside the comparison, of the run to take; of the first run of the first method without one."""
    found = results.get("recommendation")
    return found["run"] if found else next(row for row in results["rows"] if row["kind"] == "method")["runs"][0]


def load_line(results: dict[str, Any], folder: str) -> str | None:
    """The line of Python that loads the recommended run of the comparison in `folder`; None without one."""
    found = results.get("recommendation")
    if found is None:
        return None
    return "; ".join([*import_lines(results), f'run = ecgtune.load_run("{folder}/{found["run"]}")'])


def import_lines(content: dict[str, Any]) -> list[str]:
    """The lines of Python that import the user's files in metrics.json or results.json: `import my_method`."""
    return [f"import {Path(file).stem}" for file in content.get("imports", ())]


def _taken(found: dict[str, Any], rows: dict[str, Row], metric: str) -> str:
    taken, best, margin = rows[found["take"]], rows[found["best"]], f"{found['margin']:g}"
    if taken is not best:
        entry = found["differences"][found["take"]]
        return (
            f"Take {named(taken)}: with {formatting.percent(taken['trainable_fraction'])} % of the weights it loses "
            f"less than {margin} of {metric} to the best, {named(best)} (difference "
            f"{formatting.signed(entry['value'])}, 95 % interval {formatting.signed_interval(entry)})."
        )
    cheaper = [row for row in rows.values() if row["kind"] == "method" and row["trainable"] < taken["trainable"]]
    equal = {named(rows[name]): entry for name, entry in found["differences"].items() if entry["value"] == 0}
    has = f"shares the highest {metric} with {formatting.listed(list(equal))}" if equal else f"has the highest {metric}"
    if equal and all(entry.get("identical") for entry in equal.values()):
        has += ", whose predictions of the test windows are identical to its own,"
    if not cheaper:
        return f"Take {named(taken)}: it {has} and trains the fewest weights."
    return (
        f"Take {named(taken)}: it {has}, and no method with fewer trainable weights is shown to lose less than "
        f"{margin}."
    )


def _open(found: dict[str, Any], rows: dict[str, Row], results: dict[str, Any]) -> list[str]:
    if not found["open"]:
        return []
    unit = unit_name(results["split"])
    intervals = [
        f"{named(rows[name])} ({formatting.signed_interval(found['differences'][name])})" for name in found["open"]
    ]
    sentence = (
        f"Too little evidence on methods with fewer trainable weights: the 95 % interval of the difference to "
        f"{named(rows[found['best']])} includes both 0 and a loss of {found['margin']:g} for "
        f"{formatting.listed(intervals)}."
    )
    known = [needed for needed in found["open"].values() if needed is not None]
    more = f"--folds 5 tests on every {unit}"
    if known:
        more = (
            f"about {_rounded(min(known))} test {unit}s ({formatting.count(found['units'])} now) would decide; {more}"
        )
    if any(len(rows[name]["seeds"]) == 1 for name in (*found["open"], found["best"])):
        more += ", more --seeds average out the chance of one training"
    return [sentence, f"{more[:1].upper()}{more[1:]}."]


def _baselines(found: dict[str, Any], rows: dict[str, Row], split: dict[str, Any]) -> list[str]:
    low = rows[found["take"]]["metrics"][found["metric"]]["ci_low"]
    means = {named(row): row["metrics"][found["metric"]]["mean"] for row in rows.values() if row["kind"] == "baseline"}
    test = split.get("counts", {}).get("test", {})
    if not means and found["metric"] == "accuracy" and "positives" in test:  # a comparison without baselines
        means["the majority class"] = max(test["positives"], test["windows"] - test["positives"]) / test["windows"]
    close = [name for name, mean in means.items() if mean is not None and (low is None or mean >= low)]
    return [f"It is not shown to be better than {formatting.listed(close)}."] if close else []


def _rounded(number: int) -> str:
    """Two digits: an estimate."""
    return formatting.count(float(f"{number:.2g}"))
