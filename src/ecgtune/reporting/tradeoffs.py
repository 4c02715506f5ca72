"""Figures that compare methods at a glance: a metric against trained weights and time, and differences with a margin.

The panels serve the reports of comparisons and the pages of studies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.reporting.style import (
    BASELINE_DASHES,
    INK,
    MARKERS,
    QUIET,
    beside,
    cost_ticks,
    draw,
    heading,
    legend_label,
    row_colours,
)
from ecgtune.reporting.wording import Row, in_sentence, lead_of, metric_titles
from ecgtune.utils.formatting import score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Costs: key of a row, title of the panel, and units of the ticks.
COSTS = (
    ("trainable_fraction", "Trained weights, % of the model", ((" %", 0.01),)),
    ("seconds", "Training time", ((" h", 3600.0), (" min", 60.0), (" s", 1.0))),
)
_ROW = 0.36  # inches of a difference


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, which may be unknown, and its look. costs: by the keys of `COSTS`."""

    label: str
    value: float
    ci_low: float | None
    ci_high: float | None
    colour: str
    marker: str = "o"
    costs: Mapping[str, float] | None = None


def cost_panel(axes: Axes, points: Sequence[Estimate], key: str) -> None:
    """Plot the points over one of their costs, on a logarithmic axis."""
    units = next(units for name, _, units in COSTS if name == key)
    costs = [float((point.costs or {})[key]) for point in points]
    for point, cost in zip(points, beside(costs), strict=True):
        if point.ci_low is not None and point.ci_high is not None:
            axes.vlines(cost, point.ci_low, point.ci_high, color=point.colour, lw=1.8)
        axes.plot(cost, point.value, ls="", marker=point.marker, ms=8, color=point.colour, mec="white")
    axes.set_xscale("log")
    if costs:
        axes.set_xlim(min(costs) / 2.5, max(costs) * 2.5)
        cost_ticks(axes, units)


def difference_panel(
    axes: Axes, entries: Sequence[Estimate], margin: float | None = None, limit: float | None = None
) -> None:
    """Plot differences with their intervals, the first on top; a dashed line is the margin below zero.

    limit: differences below minus this are arrows at the edge, with their value. Unknown ones (NaN) have a name only.
    """
    axes.axvline(0, color=QUIET, lw=1)
    if margin is not None:
        axes.axvline(-margin, color=QUIET, lw=1, ls="--")
    for place, entry in enumerate(reversed(entries)):
        look: dict[str, Any] = {"ls": "", "ms": 7, "color": entry.colour, "mec": "white"}
        if math.isnan(entry.value):
            continue
        if limit is not None and entry.value < -limit:
            axes.plot(-limit, place, marker="<", **look)
            text = f"\N{MINUS SIGN}{-entry.value:.1f}"
            axes.annotate(text, (-limit, place), (7, 0), textcoords="offset points", va="center", size=8, color=QUIET)
            continue
        if entry.ci_low is not None and entry.ci_high is not None:
            low = entry.ci_low if limit is None else max(entry.ci_low, -limit)
            axes.hlines(place, low, entry.ci_high, color=entry.colour, lw=2)
        axes.plot(entry.value, place, marker=entry.marker, **look)
    axes.set_yticks(range(len(entries)), [legend_label(entry.label) for entry in reversed(entries)], color=INK)
    axes.set_ylim(-0.6, len(entries) - 0.4)
    axes.grid(False, axis="y")


def differing(results: dict[str, Any]) -> list[Row]:
    """Trained rows of results.json with a difference to the reference."""
    lead = lead_of(results)
    return [
        row
        for row in results["rows"]
        if row["method"] != results.get("reference")
        and row["trainable"]
        and ((row.get("difference") or {}).get(lead) or {}).get("value") is not None
    ]


def write_differences(path: Path, results: dict[str, Any], *, png: bool = False) -> list[Path]:
    """Plot the difference of each row to the reference; dashed is the margin of the recommendation."""
    lead, rows, colours = lead_of(results), differing(results), row_colours(results["rows"])
    reference = next(row["title"] for row in results["rows"] if row["method"] == results["reference"])
    margin = (results.get("recommendation") or {}).get("margin")
    entries = [
        Estimate(row["title"], **_interval(row["difference"][lead]), colour=colours[row["method"]]) for row in rows
    ]

    def paint(figure: Figure) -> None:
        heading(figure, f"{metric_titles(results)[lead]} minus that of {in_sentence(reference)}: 95 % interval")
        axes = figure.subplots()
        difference_panel(axes, entries, margin)
        if margin is not None:
            axes.set_xlabel(f"Dashed: the margin, {margin:g} below; right of it is not inferior")

    return draw(path, (7.6, 1.3 + _ROW * len(rows)), paint, png=png)


def write_costs(path: Path, results: dict[str, Any], *, png: bool = False) -> list[Path]:
    """Plot the ranking metric of each method over its trained weights and its training time; baselines are dashed."""
    lead, title = lead_of(results), metric_titles(results)[lead_of(results)]
    rows = [row for row in results["rows"] if row["metrics"][lead]["mean"] is not None]
    colours = row_colours(results["rows"])
    methods, baselines = ([row for row in rows if row["kind"] == kind] for kind in ("method", "baseline"))
    points = [
        Estimate(
            row["title"],
            **_interval(row["metrics"][lead], "mean"),
            colour=colours[row["method"]],
            marker=MARKERS[index % len(MARKERS)],
            costs={key: row[key] for key, _, _ in COSTS},
        )
        for index, row in enumerate(methods)
    ]

    def paint(figure: Figure) -> None:
        heading(figure, f"{title} against cost: mean over seeds, 95 % interval")
        panels = figure.subplots(1, len(COSTS), sharey=True)
        for axes, (key, name, _) in zip(panels, COSTS, strict=True):
            axes.set_title(name)
            cost_panel(axes, [point for point in points if (point.costs or {}).get(key)], key)
            for index, row in enumerate(baselines):
                dashes = BASELINE_DASHES[index % len(BASELINE_DASHES)]
                axes.axhline(row["metrics"][lead]["mean"], color=QUIET, lw=1.3, ls=dashes)
        panels[0].set_ylabel(title)
        figure.legend(handles=_handles(points, baselines, lead), loc="outside lower center", ncols=2)

    return draw(path, (8.4, 4.6), paint, png=png)


def _interval(entry: Mapping[str, Any], value: str = "value") -> dict[str, Any]:
    return {"value": entry[value], "ci_low": entry["ci_low"], "ci_high": entry["ci_high"]}


def _handles(points: Sequence[Estimate], baselines: Sequence[Row], lead: str) -> list[Any]:
    from matplotlib.lines import Line2D

    found = [
        Line2D(
            [], [], ls="", ms=8, mec="white", marker=point.marker, color=point.colour,
            label=f"{legend_label(point.label)}: {score(point.value)}",
        )
        for point in points
    ]  # fmt: skip
    for index, row in enumerate(baselines):
        label = f"{legend_label(row['title'])}: {score(row['metrics'][lead]['mean'])}"
        found.append(Line2D([], [], color=QUIET, lw=1.3, ls=BASELINE_DASHES[index % len(BASELINE_DASHES)], label=label))
    return found
