"""Figures of a study: differences to full fine-tuning, and a metric by label fraction."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rows import Row, read_rows
from settings import Study

from ecgtune.reporting.style import MARKERS, METHOD_COLOURS, QUIET, draw, heading, method_colours

#: Largest shown difference below full fine-tuning in points; larger ones are arrows with their value.
AXIS_LIMIT = 6.0
NAMES = {"accuracy": "Accuracy", "auroc": "AUROC"}
REFERENCE = "full"


def write_figures(study: Study, rows: Sequence[Row]) -> None:
    """Write every figure of the setting file as SVG to the folder of the results."""
    for name, layout in study.tables.get("figures", {}).items():
        write = {"differences": write_differences, "fractions": write_fractions}[layout["kind"]]
        write(study.results / f"{name}.svg", study, layout, rows)


def write_differences(path: Path, study: Study, layout: Mapping[str, Any], _: Sequence[Row]) -> list[Path]:
    """Plot differences with one panel per task and label fraction; the margin of accuracy is dashed."""
    metric = layout["metric"]
    cells = [cell for cell in read_rows(study.results / "statistics.csv") if cell["study"] == study.name]
    cells = [cell for cell in cells if (cell["metric"], cell["reference"]) == (metric, REFERENCE)]
    cells = [cell for cell in cells if cell["variant"] != REFERENCE]
    names = [name for name in study.variants if any(cell["variant"] == name for cell in cells)][::-1]  # upwards
    fractions = sorted({float(cell["fraction"]) for cell in cells})
    rightmost = max(100 * float(cell["difference_ci_high"]) for cell in cells)
    margin = 100 * study.tables["margin"]

    def paint(figure: Figure) -> None:
        heading(figure, f"{NAMES[metric]} minus tuned full fine-tuning's; points, 95 % intervals over recordings")
        grid = figure.subplots(len(study.tasks), len(fractions), sharex=True, sharey=True, squeeze=False)
        for (task, fraction), panel in zip(product(study.tasks, fractions), grid.flat, strict=True):
            panel.axvline(0, color=QUIET, lw=1)
            if metric == "accuracy":
                panel.axvline(-margin, color=QUIET, lw=1, ls="--")
            for cell in (c for c in cells if (c["task"], float(c["fraction"])) == (task, fraction)):
                place = names.index(cell["variant"])
                value, low, high = (100 * float(cell[f"difference{end}"]) for end in ("", "_ci_low", "_ci_high"))
                look = {"ls": "", "ms": 6, "color": METHOD_COLOURS["full"], "mec": "white"}
                if value < -AXIS_LIMIT:
                    text = f"\N{MINUS SIGN}{-value:.1f}"
                    panel.plot(-AXIS_LIMIT, place, marker="<", **look)
                    panel.text(0.3 - AXIS_LIMIT, place, text, va="center", fontsize=8, color=QUIET)
                    continue
                panel.hlines(place, max(low, -AXIS_LIMIT), high, color=METHOD_COLOURS["full"], lw=1.8)
                panel.plot(value, place, marker="o", **look)
            panel.set_title(f"{study.tasks[task].title}, {100 * fraction:g} %", fontsize=9)
            panel.set_yticks(range(len(names)), names)
            panel.set_ylim(-0.6, len(names) - 0.4)
            panel.set_xlim(-1.05 * AXIS_LIMIT, max(0.0, rightmost) + 0.05 * AXIS_LIMIT)
        if metric == "accuracy":
            grid[-1, 0].set_xlabel(f"dashed: the margin of {margin:g} points")

    return draw(path, (11.0, 0.9 + 0.32 * max(len(names), 3) * len(study.tasks)), paint)


def write_fractions(path: Path, study: Study, layout: Mapping[str, Any], rows: Sequence[Row]) -> list[Path]:
    """Plot the mean over seeds of a metric by label fraction, with one panel per task and one line per variant."""
    metric, names = layout["metric"], layout["variants"]
    colours = method_colours(names)

    def paint(figure: Figure) -> None:
        heading(figure, f"{NAMES[metric]} by label fraction, mean over seeds, %")
        for panel, task in zip(figure.subplots(1, len(study.tasks), squeeze=False)[0], study.tasks, strict=True):
            for place, name in enumerate(names):
                own = [row for row in rows if (row["variant"], row["task"]) == (name, task)]
                found = {at: [float(r[metric]) for r in own if float(r["fraction"]) == at] for at in sorted(study.at)}
                points = [(100 * at, 100 * np.mean(values)) for at, values in found.items() if values]
                look = {"color": colours[name], "marker": MARKERS[place % len(MARKERS)], "lw": 1.5, "ms": 5}
                panel.plot(*zip(*points, strict=True), label=name, **look)
            panel.set_xscale("log")
            panel.set_xlim(70 * min(study.at), 140)
            ticks = [100 * at for at in sorted(study.at)]
            panel.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
            panel.minorticks_off()
            panel.set_title(study.tasks[task].title)
            panel.set_xlabel("fraction of the labels")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")

    return draw(path, (1.6 + 3.4 * len(study.tasks), 3.2), paint)
