"""Figures of a study: differences to full fine-tuning, a metric by label fraction, and a metric against cost."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rows import Row, read_rows
from settings import Study

from ecgtune.reporting.style import MARKERS, METHOD_COLOURS, QUIET, draw, heading, method_colours
from ecgtune.reporting.tradeoffs import COSTS, Estimate, cost_panel, difference_panel

#: Largest shown difference below full fine-tuning in points; larger ones are arrows with their value.
AXIS_LIMIT = 6.0
NAMES = {"accuracy": "Accuracy", "auroc": "AUROC"}
REFERENCE = "full"
#: Half of the distance of two variants at one label fraction, as a factor, so that their intervals do not overlap.
BESIDE = 1.035


def write_figures(study: Study, rows: Sequence[Row]) -> None:
    """Write every figure of the setting file as SVG to the folder of the results."""
    kinds = {"differences": write_differences, "fractions": write_fractions, "costs": write_costs}
    for name, layout in study.tables.get("figures", {}).items():
        kinds[layout["kind"]](study.results / f"{name}.svg", study, layout, rows)


def _statistics(study: Study, metric: str) -> list[Row]:
    """Rows of statistics.csv on a metric, each variant with itself and its references."""
    cells = read_rows(study.results / "statistics.csv")
    return [cell for cell in cells if (cell["study"], cell["metric"]) == (study.name, metric)]


def _mean(rows: Sequence[Row], column: str) -> float | None:
    values = [float(row[column]) for row in rows if row[column]]
    return float(np.mean(values)) if values else None


def write_differences(path: Path, study: Study, layout: Mapping[str, Any], _: Sequence[Row]) -> list[Path]:
    """Plot differences with one panel per task and label fraction; the margin of accuracy is dashed."""
    metric = layout["metric"]
    cells = [cell for cell in _statistics(study, metric) if cell["reference"] == REFERENCE != cell["variant"]]
    names = [name for name in study.variants if any(cell["variant"] == name for cell in cells)]
    fractions = sorted({float(cell["fraction"]) for cell in cells})
    rightmost = max(100 * float(cell["difference_ci_high"]) for cell in cells)
    margin = 100 * study.tables["margin"] if metric == "accuracy" else None

    def entry(name: str, cell: Row | None) -> Estimate:
        if cell is None:
            return Estimate(name, math.nan, None, None, METHOD_COLOURS["full"])
        value, low, high = (100 * float(cell[f"difference{end}"]) for end in ("", "_ci_low", "_ci_high"))
        return Estimate(name, value, low, high, METHOD_COLOURS["full"])

    def paint(figure: Figure) -> None:
        heading(figure, f"{NAMES[metric]} minus tuned full fine-tuning's; points, 95 % intervals over recordings")
        grid = figure.subplots(len(study.tasks), len(fractions), sharex=True, sharey=True, squeeze=False)
        for (task, fraction), panel in zip(product(study.tasks, fractions), grid.flat, strict=True):
            own = {c["variant"]: c for c in cells if (c["task"], float(c["fraction"])) == (task, fraction)}
            difference_panel(panel, [entry(name, own.get(name)) for name in names], margin, AXIS_LIMIT)
            panel.set_title(f"{study.tasks[task].title}, {100 * fraction:g} %", fontsize=9)
            panel.set_xlim(-1.05 * AXIS_LIMIT, max(0.0, rightmost) + 0.05 * AXIS_LIMIT)
        if margin is not None:
            grid[-1, 0].set_xlabel(f"dashed: the margin of {margin:g} points")

    return draw(path, (11.0, 0.9 + 0.32 * max(len(names), 3) * len(study.tasks)), paint)


def write_fractions(path: Path, study: Study, layout: Mapping[str, Any], rows: Sequence[Row]) -> list[Path]:
    """Plot the mean over seeds of a metric by label fraction, with one panel per task and one line per variant.

    With intervals over recordings where statistics.csv has them.
    """
    metric, names = layout["metric"], layout["variants"]
    colours, cells = method_colours(names), _statistics(study, metric)
    limits = {(c["variant"], c["task"], float(c["fraction"])): (c["ci_low"], c["ci_high"]) for c in cells}
    interval = ", 95 % interval" if limits else ""

    def paint(figure: Figure) -> None:
        heading(figure, f"{NAMES[metric]} by label fraction, mean over seeds{interval}, %")
        for panel, task in zip(figure.subplots(1, len(study.tasks), squeeze=False)[0], study.tasks, strict=True):
            for place, name in enumerate(names):
                own = [row for row in rows if (row["variant"], row["task"]) == (name, task)]
                found = {at: _mean([r for r in own if float(r["fraction"]) == at], metric) for at in sorted(study.at)}
                beside = BESIDE ** (2 * place - len(names) + 1) if limits else 1.0
                points = [(100 * at * beside, 100 * value) for at, value in found.items() if value is not None]
                look = {"color": colours[name], "marker": MARKERS[place % len(MARKERS)], "lw": 1.5, "ms": 5}
                panel.plot(*zip(*points, strict=True), label=name, **look)
                for at in found:
                    if (name, task, at) in limits:
                        low, high = (100 * float(end) for end in limits[name, task, at])
                        panel.vlines(100 * at * beside, low, high, color=colours[name], lw=1.2)
            panel.set_xscale("log")
            panel.set_xlim(65 * min(study.at), 155)
            ticks = [100 * at for at in sorted(study.at)]
            panel.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
            panel.minorticks_off()
            panel.set_title(study.tasks[task].title)
            panel.set_xlabel("fraction of the labels")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")

    return draw(path, (1.6 + 3.4 * len(study.tasks), 3.4), paint)


def write_costs(path: Path, study: Study, layout: Mapping[str, Any], rows: Sequence[Row]) -> list[Path]:
    """Plot a metric over trained weights and training time, one row of panels per task, at one label fraction."""
    metric, fraction, names = layout["metric"], float(layout["fraction"]), layout["variants"]
    colours, cells = method_colours(names), _statistics(study, metric)

    def points(task: str) -> list[Estimate]:
        found = []
        for place, name in enumerate(names):
            at = (name, task, fraction)
            own = [row for row in rows if (row["variant"], row["task"], float(row["fraction"])) == at]
            cell = next((c for c in cells if (c["variant"], c["task"], float(c["fraction"])) == at), None)
            costs = {key: _mean(own, key) for key, _, _ in COSTS}
            if cell is None or None in costs.values():
                continue
            value, low, high = (100 * float(cell[column]) for column in ("value", "ci_low", "ci_high"))
            marker = MARKERS[place % len(MARKERS)]
            found.append(Estimate(name, value, low, high, colours[name], marker, costs))  # type: ignore[arg-type]
        return found

    def paint(figure: Figure) -> None:
        heading(figure, f"{NAMES[metric]} against cost, {100 * fraction:g} % of the labels, 95 % interval, %")
        grid = figure.subplots(len(study.tasks), len(COSTS), sharey="row", squeeze=False)
        for task, line in zip(study.tasks, grid, strict=True):
            for panel, (key, title, _) in zip(line, COSTS, strict=True):
                cost_panel(panel, points(task), key)
                panel.set_title(title)
            line[0].set_ylabel(study.tasks[task].title, color=QUIET)
        look = {"ls": "", "ms": 7, "mec": "white"}
        shown = {point.label: point for task in study.tasks for point in points(task)}
        for point in shown.values():
            figure.axes[0].plot([], [], marker=point.marker, color=point.colour, label=point.label, **look)
        figure.legend(loc="outside right center")

    return draw(path, (9.0, 3.1 * len(study.tasks)), paint)
