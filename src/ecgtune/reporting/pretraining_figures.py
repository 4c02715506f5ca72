"""The figure of a pretraining: every term of its log over epochs, and the learning rate."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ecgtune.reporting.pretraining_wording import logged_terms, term_title
from ecgtune.reporting.reading import PretrainingRun
from ecgtune.reporting.style import QUIET, draw, heading, only_horizontal_grid

COLOUR = "#0072B2"
WIDTH, ROW_HEIGHT = 8.8, 2.3  # inches


def write_pretraining_figures(folder: Path, run: PretrainingRun, *, png: bool = False) -> list[Path]:
    """`curves.svg` in `folder`, with `png` also as PNG; returns the files.

    A small panel per term, each with its own scale, training and validation; terms that were not computed (always 0)
    are left out. The last panel is the learning rate at the end of each epoch.
    """
    terms, _idle = logged_terms(run.log)
    panels = len(terms) + 1
    columns = 2 if panels <= 4 else min((3, 4), key=lambda number: -panels % number)  # the fewest empty places
    rows = -(-panels // columns)

    def paint(figure: Figure) -> None:
        heading(figure, run.metrics["name"])
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, term in zip(axes, terms, strict=False):
            _term_panel(panel, run, term)
        _rate_panel(axes[panels - 1], run)
        for place, panel in enumerate(axes):
            panel.set_visible(place < panels)
            if place >= (rows - 1) * columns:
                panel.set_xlabel("Epoch")
        legend = [
            Line2D([], [], color=COLOUR, lw=2, label="validation"),
            Line2D([], [], color=QUIET, lw=1.6, ls="--", label="training"),
            Line2D([], [], ls="", marker="o", mfc="white", mec=COLOUR, mew=1.6, ms=7, label="epoch that was kept"),
        ]
        figure.legend(handles=legend, loc="outside lower center", ncols=len(legend))

    return draw(folder / "curves.svg", (WIDTH, ROW_HEIGHT * rows + 0.7), paint, png=png)


def _term_panel(axes: Axes, run: PretrainingRun, term: str) -> None:
    axes.set_title(term_title(term))
    for split, colour, dashes, width in (("train", QUIET, "--", 1.6), ("val", COLOUR, "-", 2.0)):
        _line(axes, run, f"{split}_{term}", colour, dashes, width)
    epochs, values = _curve(run, f"val_{term}")
    kept = epochs == run.metrics["training"]["best_epoch"]
    axes.plot(epochs[kept], values[kept], ls="", marker="o", mfc="white", mec=COLOUR, mew=1.6, ms=7, zorder=4)


def _rate_panel(axes: Axes, run: PretrainingRun) -> None:
    axes.set_title("Learning rate, end of epoch")
    _line(axes, run, "learning_rate", QUIET, "-", 1.6)
    peak = run.metrics["training"]["learning_rate"]
    axes.set_ylim(-0.04 * peak, 1.1 * peak)  # up to the peak, even if all that is left of a short training is its end


def _line(axes: Axes, run: PretrainingRun, key: str, colour: str, dashes: str, width: float) -> None:
    epochs, values = _curve(run, key)
    # Few epochs make short lines; one epoch makes none, so its point must show.
    axes.plot(epochs, values, lw=width, marker="." if len(epochs) <= 12 else None, ms=6, color=colour, ls=dashes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.margins(y=0.12)
    room = max(0.5, 0.05 * len(epochs))
    axes.set_xlim(epochs[0] - room, epochs[-1] + room)
    only_horizontal_grid(axes)


def _curve(run: PretrainingRun, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values; a value that is missing in an epoch is a gap."""
    epochs = np.array([entry["epoch"] for entry in run.log])
    values = [np.nan if entry.get(key) is None else entry[key] for entry in run.log]
    return epochs, np.array(values, dtype=float)
