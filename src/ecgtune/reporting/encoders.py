"""Comparison of several encoders: columns of cost, differences between encoders, and the Pareto figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.reporting.style import INK, MARKERS, QUIET, SPARE_COLOURS, beside, cost_ticks, draw, heading, legend_label
from ecgtune.reporting.wording import Row, lead_of, lead_title, metric_titles, unit_name
from ecgtune.utils import formatting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Costs of a run: key of a row of results.json, title, and units of the ticks.
COSTS = (
    ("trainable", "Trained weights", ((" M", 1e6), (" k", 1e3), ("", 1.0))),
    ("seconds", "Training time", ((" h", 3600.0), (" min", 60.0), (" s", 1.0))),
    ("peak_memory_bytes", "Peak memory", ((" GB", 1e9), (" MB", 1e6), (" kB", 1e3))),
    ("file_bytes", "File of a run", ((" GB", 1e9), (" MB", 1e6), (" kB", 1e3))),
)
PAIR_HEADER = ("Encoders", "Difference", "p (Holm)")


def compares_encoders(results: dict[str, Any]) -> bool:
    """Whether a comparison has differences between encoders."""
    return bool(results.get("pairs"))


def cost_columns(results: dict[str, Any]) -> dict[str, Callable[[Row], str]]:
    """Columns of a comparison of encoders: number of trained weights, and the time of a training."""
    if not compares_encoders(results):
        return {}
    return {
        "Trained": lambda row: formatting.count(row["trainable"]),
        "Time": lambda row: formatting.duration(row["seconds"]),
    }


def pair_rows(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Cells of the table of differences, under `PAIR_HEADER`, in the order of the variants."""
    titles = {row["method"]: row["title"].partition(", ") for row in results["rows"]}
    return [
        (
            f"{titles[pair['first']][0]} minus {titles[pair['second']][0]}, {titles[pair['first']][2]}",
            f"{formatting.signed(pair['value'])} ({formatting.signed_interval(pair)})",
            formatting.MISSING if pair.get("p_holm") is None else f"{pair['p_holm']:.2g}",
        )
        for pair in results.get("pairs", ())
    ]


def pair_note(results: dict[str, Any]) -> str:
    """Sentence on the table of differences."""
    unit, number = unit_name(results["split"]), len(results["pairs"])
    return (
        f"Differences of the {lead_title(results)} between encoders with the same method, paired by test window and "
        f"seed and resampled by {unit}; p-values are adjusted for the number of pairs, {number} (Holm)."
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, score) that no other one beats in both, by rising cost."""
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    found: list[int] = []
    for index in order:
        if not found or points[index][1] > points[found[-1]][1]:
            found.append(index)
    return found


def write_pareto(path: Path, results: dict[str, Any], *, png: bool = False) -> list[Path]:
    """Plot the ranking metric with its interval over each cost; a line joins what nothing cheaper beats.

    Colours are encoders, markers methods; networks from scratch are grey.
    """
    lead, title = lead_of(results), metric_titles(results)[lead_of(results)]
    rows = [row for row in results["rows"] if row["metrics"][lead]["mean"] is not None and row.get("seconds")]
    encoders = list(dict.fromkeys(row["model"] for row in rows if row["kind"] == "method"))
    methods = list(dict.fromkeys(_method(row) for row in rows if row["kind"] == "method"))
    scratch = [row["method"] for row in rows if row["kind"] == "baseline"]
    colours = {name: SPARE_COLOURS[index % len(SPARE_COLOURS)] for index, name in enumerate(encoders)}

    def look(row: Row) -> dict[str, Any]:
        if row["kind"] == "baseline":
            return {
                "color": QUIET,
                "marker": MARKERS[-1 - scratch.index(row["method"]) % 3],
                "mfc": "white",
                "mec": QUIET,
            }
        return {"color": colours[row["model"]], "marker": MARKERS[methods.index(_method(row)) % 5], "mec": "white"}

    def paint(figure: Figure) -> None:
        heading(figure, f"{title} against cost: mean over seeds, 95 % interval")
        for (key, name, units), axes in zip(COSTS, figure.subplots(2, 2, sharey=True).flat, strict=True):
            axes.set_title(name)
            if known := [row for row in rows if row[key]]:
                _panel(axes, known, key, lead, look)
                cost_ticks(axes, units)
        for axes in figure.axes[::2]:
            axes.set_ylabel(title)
        figure.legend(handles=_handles(encoders, colours, methods, rows, look), loc="outside lower center", ncols=3)

    return draw(path, (8.4, 6.6), paint, png=png)


def _method(row: Row) -> str:
    """The title of a variant without its encoder."""
    return row["title"].partition(", ")[2] or row["title"]


def _panel(axes: Axes, rows: Sequence[Row], key: str, lead: str, look: Callable[[Row], dict[str, Any]]) -> None:
    front = [rows[index] for index in pareto([(row[key], row["metrics"][lead]["mean"]) for row in rows])]
    steps = [(row[key], row["metrics"][lead]["mean"]) for row in front]
    axes.step(*zip(*steps, strict=True), where="post", color=INK, lw=1, alpha=0.6, zorder=1)
    for row, place in zip(rows, beside([float(row[key]) for row in rows]), strict=True):
        entry, style = row["metrics"][lead], look(row)
        if entry["ci_low"] is not None:
            axes.vlines(place, entry["ci_low"], entry["ci_high"], color=style["color"], lw=1.5, zorder=2)
        axes.plot(place, entry["mean"], ls="", ms=7, zorder=3, **style)
    axes.set_xscale("log")
    values = [row[key] for row in rows]
    axes.set_xlim(min(values) / 2, max(values) * 2)


def _handles(
    encoders: Sequence[str],
    colours: dict[str, str],
    methods: Sequence[str],
    rows: Sequence[Row],
    look: Callable[..., Any],
) -> list[Any]:
    from matplotlib.lines import Line2D

    found = [
        Line2D([], [], ls="", marker="o", ms=8, color=colours[name], label=legend_label(name)) for name in encoders
    ]
    found += [
        Line2D([], [], ls="", marker=MARKERS[index % 5], ms=8, color=INK, label=legend_label(name))
        for index, name in enumerate(methods)
    ]
    of_scratch = [row for row in rows if row["kind"] == "baseline"]
    found += [Line2D([], [], ls="", ms=8, label=legend_label(row["title"]), **look(row)) for row in of_scratch]
    return [*found, Line2D([], [], color=INK, lw=1, alpha=0.6, label="not beaten at its cost")]
