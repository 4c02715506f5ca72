"""The method to take: the one with the fewest trainable weights that is shown to be about as good as the best."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

#: Loss of the ranking metric against the best method, up to which a method counts as no worse.
MARGIN = 0.02

Row = Mapping[str, Any]


def ranked_methods(rows: Sequence[Row], lead: str) -> list[Row]:
    """Rows of methods with a defined mean of `lead`, the best first; of equals the one with fewer trainable weights."""
    methods = [row for row in rows if row["kind"] == "method" and row["metrics"][lead]["mean"] is not None]
    return sorted(methods, key=lambda row: (-row["metrics"][lead]["mean"], *_cost(row)))


def recommend(
    ranked: Sequence[Row], differences: Mapping[str, Mapping[str, Any]], lead: str, units: int
) -> dict[str, Any] | None:
    """Choose among `ranked_methods`; None for fewer than two.

    differences: to the best, by method, with `ci_low` and `ci_high`. units: independent units of the test split.

    Taken is the cheapest method (fewest trainable weights, then fewest seconds) whose interval lies above -`MARGIN`, at
    least the best itself: non-inferiority. A cheaper method is `open` when its interval reaches below the margin and
    not wholly below 0; `units_needed` of the test split would make it shorter than its distance from either, if the
    difference stayed as it is (None where that cannot be estimated).
    """
    if len(ranked) < 2:
        return None
    best = ranked[0]
    equal = [row for row in ranked if row is best or _above(differences[row["method"]]["ci_low"], -MARGIN)]
    taken = min(equal, key=_cost)
    cheaper = [row["method"] for row in sorted(ranked, key=_cost) if _cost(row) < _cost(taken)]
    opened = [name for name in cheaper if not _below(differences[name]["ci_high"], 0)]
    return {
        "metric": lead,
        "margin": MARGIN,
        "best": best["method"],
        "take": taken["method"],
        "run": taken["runs"][0],
        "differences": {row["method"]: dict(differences[row["method"]]) for row in ranked if row is not best},
        "units": units,
        "open": {name: _units_needed(differences[name], units) for name in opened},
    }


def _cost(row: Row) -> tuple[float, float]:
    return row["trainable"] or 0, row["seconds_per_epoch"] or 0


def _above(end: float | None, limit: float) -> bool:
    return end is not None and end > limit


def _below(end: float | None, limit: float) -> bool:
    return end is not None and end < limit


def _units_needed(entry: Mapping[str, Any], units: int) -> int | None:
    """Intervals shrink with the square root of the number of units."""
    value, low, high = (entry[key] for key in ("value", "ci_low", "ci_high"))
    if low is None or high is None:
        return None
    half, distance = (value - low, value + MARGIN) if value > -MARGIN else (high - value, -value)
    return max(units + 1, ceil(units * (half / distance) ** 2)) if distance > 0 else None
