"""The figure of the study: accuracy of every method minus that of tuned full fine-tuning, with intervals."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from peft_rows import Row
from peft_settings import REFERENCE, Study

from ecgtune.reporting.style import METHOD_COLOURS, QUIET, draw, heading


def write_figure(path: Path, study: Study, cells: Sequence[Row]) -> list[Path]:
    """`path` (an .svg): of the first task a panel per share of the labels, a line per method, the margin dashed."""
    chosen = [cell for cell in cells if (cell["metric"], cell["reference"]) == ("accuracy", REFERENCE)]
    chosen = [c for c in chosen if c["task"] == study.tasks[0] and c["method"] != REFERENCE and "+" not in c["method"]]
    methods = list(dict.fromkeys(cell["method"] for cell in chosen))[::-1]
    shares = sorted({float(cell["share"]) for cell in chosen})

    def paint(figure: Figure) -> None:
        heading(figure, "Accuracy minus that of tuned full fine-tuning, points, 95 % interval over recordings")
        panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
        for panel, share in zip(panels, shares, strict=True):
            panel.axvline(0, color=QUIET, lw=1)
            panel.axvline(-100 * study.margin, color=QUIET, lw=1, ls="--")
            for cell in (c for c in chosen if float(c["share"]) == share):
                place = methods.index(cell["method"])
                low, value, high = (100 * float(cell[f"difference{end}"]) for end in ("_low", "", "_high"))
                panel.hlines(place, low, high, color=METHOD_COLOURS["full"], lw=1.8)
                panel.plot(value, place, ls="", marker="o", ms=6, color=METHOD_COLOURS["full"], mec="white")
            panel.set_title(f"{100 * share:g} % of the labels")
            panel.set_yticks(range(len(methods)), methods)
            panel.set_ylim(-0.6, len(methods) - 0.4)
        panels[0].set_xlabel(f"dashed: the margin of {100 * study.margin:g} points")

    return draw(path, (9.0, 0.9 + 0.32 * max(len(methods), 3)), paint)
