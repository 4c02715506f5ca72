"""The figures of the study: differences to tuned full fine-tuning, and accuracy by how many labels there are."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure
from peft_rows import Row
from peft_settings import FLOOR, REFERENCE, Study
from peft_tables import TASKS

from ecgtune.reporting.style import MARKERS, METHOD_COLOURS, QUIET, baseline_colours, draw, heading, method_colours

#: Points below full fine-tuning at which the panels end: what lies further would make the others one dot.
FARTHEST = 6.0


def write_differences(path: Path, study: Study, cells: Sequence[Row], metric: str = "accuracy") -> list[Path]:
    """`path` (an .svg): a row per task, a panel per share of the labels, a line per method; accuracy's margin dashed.

    What lies further below than `FARTHEST` is an arrow at the edge with its number.
    """
    chosen = [cell for cell in cells if (cell["metric"], cell["reference"]) == (metric, REFERENCE)]
    chosen = [cell for cell in chosen if cell["method"] != REFERENCE and "+" not in cell["method"]]
    found = {cell["method"] for cell in chosen}
    methods = [name for name in (*study.compared, *study.presets, FLOOR) if name in found][::-1]  # from below
    shares = sorted({float(cell["share"]) for cell in chosen})
    tasks = [task for task in study.tasks if any(cell["task"] == task for cell in chosen)]
    rightmost = max(100 * float(cell["difference_high"]) for cell in chosen)

    def paint(figure: Figure) -> None:
        title = {"accuracy": "Accuracy", "auroc": "AUROC"}[metric]
        heading(figure, f"{title} minus tuned full fine-tuning's, by share of the labels; points, 95 % over recordings")
        grid = figure.subplots(len(tasks), len(shares), sharex=True, sharey=True, squeeze=False)
        for (task, share), panel in zip(product(tasks, shares), grid.flat, strict=True):
            panel.axvline(0, color=QUIET, lw=1)
            if metric == "accuracy":
                panel.axvline(-100 * study.margin, color=QUIET, lw=1, ls="--")
            for cell in (c for c in chosen if (c["task"], float(c["share"])) == (task, share)):
                place = methods.index(cell["method"])
                low, value, high = (100 * float(cell[f"difference{end}"]) for end in ("_low", "", "_high"))
                look = {"ls": "", "ms": 6, "color": METHOD_COLOURS["full"], "mec": "white"}
                if value < -FARTHEST:
                    panel.plot(-FARTHEST, place, marker="<", **look)
                    panel.text(
                        0.3 - FARTHEST, place, f"\N{MINUS SIGN}{-value:.1f}", va="center", fontsize=8, color=QUIET
                    )
                    continue
                panel.hlines(place, max(low, -FARTHEST), high, color=METHOD_COLOURS["full"], lw=1.8)
                panel.plot(value, place, marker="o", **look)
            panel.set_title(f"{TASKS.get(task, task)}, {100 * share:g} %", fontsize=9)
            panel.set_yticks(range(len(methods)), methods)
            panel.set_ylim(-0.6, len(methods) - 0.4)
            panel.set_xlim(-1.05 * FARTHEST, max(0.0, rightmost) + 0.05 * FARTHEST)
        if metric == "accuracy":
            grid[-1, 0].set_xlabel(f"dashed: the margin of {100 * study.margin:g} points")

    return draw(path, (11.0, 0.9 + 0.32 * max(len(methods), 3) * len(tasks)), paint)


def write_shares(path: Path, study: Study, cells: Sequence[Row]) -> list[Path]:
    """`path` (an .svg): a panel per task, a line per finalist over the shares of the labels; the baseline in grey.

    Presets have no line: what brings them to the tuned methods is a table of its own.
    """
    chosen = [c for c in cells if c["metric"] == "accuracy" and "+" not in c["method"]]
    chosen = [c for c in chosen if c["reference"] == REFERENCE and c["method"] not in study.presets]
    tasks = [task for task in study.tasks if any(cell["task"] == task for cell in chosen)]
    found = {cell["method"] for cell in chosen}
    methods = [name for name in study.compared if name in found]
    colours = {**method_colours(methods), **baseline_colours([FLOOR])}
    shown = [*methods, *([FLOOR] if FLOOR in found else [])]

    def paint(figure: Figure) -> None:
        heading(figure, "Accuracy by share of the labels, mean over seeds, %")
        for panel, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            for place, name in enumerate(shown):
                own = [c for c in chosen if (c["task"], c["method"]) == (task, name)]
                points = sorted((100 * float(cell["share"]), 100 * float(cell["value"])) for cell in own)
                style = "--" if name == FLOOR else "-"
                look = {"color": colours[name], "marker": MARKERS[place % len(MARKERS)], "ls": style}
                panel.plot([x for x, _ in points], [y for _, y in points], lw=1.5, ms=5, label=name, **look)
            panel.set_xscale("log")
            panel.set_xlim(0.7, 140)
            panel.set_xticks(ticks := [100 * share for share in sorted(study.loops)], [f"{x:g} %" for x in ticks])
            panel.minorticks_off()
            panel.set_title(TASKS.get(task, task))
            panel.set_xlabel("share of the labels")
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center")

    return draw(path, (1.6 + 3.4 * len(tasks), 3.2), paint)
