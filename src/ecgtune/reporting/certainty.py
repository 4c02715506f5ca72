"""Prediction sets, abstention and novelty of a run in sentences: promised, and found on the test split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune.utils import formatting

Entry = Mapping[str, Any]
#: Fraction of abstention that sentences are about.
TENTH = 0.1


def promise_sentence(coverage: Entry, of: str) -> str:
    """Promised beside found coverage, and whether the promise breaks. of: the data, such as "the test split"."""
    found = coverage["found"]
    text = f"{_percent(found['value'])} ({_percent(found['ci_low'])} to {_percent(found['ci_high'])})"
    kept = "the promise breaks there" if coverage["broken"] else "this agrees with the promise"
    return (
        f"Prediction sets promise to cover {100 * coverage['promised']:g} % by patient or recording; on {of} they "
        f"cover {text}: {kept}."
    )


def answer_sentences(content: Entry) -> list[str]:
    """The sentences at the head of a report, per recording where there are any. content: certainty.json."""
    return _unit_sentences(content, "recording") or _unit_sentences(content, "window")


def _unit_sentences(content: Entry, unit: str) -> list[str]:
    """What prediction sets and abstention keep of their promise, per window or recording; none without them."""
    measured = content["internal"][unit]
    if measured is None:
        return []
    lines = [promise_sentence(measured["coverage"], f"the test split, per {unit},")]
    for each in measured["abstention"]:
        if each["fraction"] == TENTH and each["error"] is not None:
            lines.append(
                f"Without an answer for the least sure {unit}s, {_percent(each['abstained'])} of the test split by "
                f"a threshold that leaves out {_percent(TENTH)} of validation, the error is "
                f"{_percent(each['error'])} instead of {_percent(each['error_before'])}."
            )
    return lines


def _class_sentences(measured: Entry) -> list[str]:
    """The coverage of the class that is covered least, with sets of both kinds."""
    if "coverage_by_class" not in measured:
        return []
    overall, own = measured["coverage"], measured["coverage_by_class"]
    return [
        f"The class that is covered least, {_percent(min(overall['by_class'].values()))}, is covered "
        f"{_percent(min(own['by_class'].values()))} by sets of each class (--sets class), which have "
        f"{own['size']:.2f} classes instead of {overall['size']:.2f}."
    ]


def certainty_sentences(content: Entry) -> list[str]:
    """The sentences of a report. content: certainty.json."""
    lines = [line for unit in ("window", "recording") for line in _unit_sentences(content, unit)]
    lines += _class_sentences(content["internal"]["recording"] or content["internal"]["window"])
    novelty = content["novelty"]
    if novelty["kind"] is None:
        return [*lines, f"No novelty score: {novelty.get('reason', 'not fitted')}."]
    scores = novelty.get("auroc", {}).get(novelty["kind"], {})
    listed = ", ".join(f"{name} {formatting.score(value)}" for name, value in scores.items())
    return [*lines, f"Novelty ({novelty['kind']} distance), AUROC of generated outliers on validation: {listed}."]


def _percent(value: float | None) -> str:
    return formatting.MISSING if value is None else f"{100 * value:.1f} %"
