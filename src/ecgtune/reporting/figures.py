"""Figures of a run (two), a comparison (two per method, and two over all methods) and a pretraining (one)."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgtune.data.positive import POSITIVE, stored_positive
from ecgtune.reporting.calibration import write_calibration_figures
from ecgtune.reporting.encoders import compares_encoders, write_pareto
from ecgtune.reporting.folders import Comparison, FinishedPretraining, FinishedRun
from ecgtune.reporting.pretraining import logged_terms, term_title
from ecgtune.reporting.style import (
    INK,
    METHOD_COLOURS,
    QUIET,
    draw,
    heading,
    legend_label,
    method_colours,
    only_horizontal_grid,
    row_colours,
)
from ecgtune.reporting.tradeoffs import differing, write_costs, write_differences
from ecgtune.reporting.wording import metric_titles, task_of
from ecgtune.text import shortened
from ecgtune.utils.formatting import MISSING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

#: Classes of a confusion matrix whose cells have numbers; in smaller ones nobody can read them.
MOST_WRITTEN = 50
BAR_METRICS = ("accuracy", "precision", "recall", "f1", "auroc")
#: Inches of the figure of a pretraining.
WIDTH, ROW_HEIGHT = 8.8, 2.3


def write_run_figures(folder: Path, run: FinishedRun, *, png: bool = False) -> list[Path]:
    """Write `curves.svg`, `confusion.svg` and the calibration figures of one run to `folder`; return the files.

    png: write them as PNG too. A run without a log (the majority class) has no curves.
    """
    name = run.metrics["name"]
    colour = method_colours([name])[name]
    files = write_curves(folder / "curves.svg", [run], name, colour, png=png) if run.log else []
    files += _write_confusion(folder / "confusion.svg", [run], name, colour, png=png)
    if run.calibration is not None:
        files += write_calibration_figures(folder, run.calibration, colour, png=png)
    return files


def write_comparison_figures(folder: Path, comparison: Comparison, *, png: bool = False) -> list[Path]:
    """Write the figures of a comparison to `folder`, with `png` also as PNG; return the files.

    These are `<method>-curves.svg` and `<method>-confusion.svg` of each method, `methods.svg`, `costs.svg` (of several
    encoders `pareto.svg`) and, with a reference, `differences.svg`; all but the first two include baselines.
    """
    files = []
    methods = comparison.rows("method")
    colours = method_colours([row["method"] for row in methods])
    for row in methods:
        name, title = row["method"], row["title"]
        runs = comparison.runs[name]
        files += write_curves(folder / f"{name}-curves.svg", runs, title, colours[name], png=png)
        files += _write_confusion(folder / f"{name}-confusion.svg", runs, title, colours[name], png=png)
    results = comparison.results
    files += write_method_bars(folder / "methods.svg", results, png=png)
    if differing(results):
        files += write_differences(folder / "differences.svg", results, png=png)
    if compares_encoders(results):
        return files + write_pareto(folder / "pareto.svg", results, png=png)
    return files + write_costs(folder / "costs.svg", results, png=png)


def write_curves(path: Path, runs: Sequence[FinishedRun], title: str, colour: str, *, png: bool = False) -> list[Path]:
    """Plot training and validation loss and accuracy over epochs; several runs are thin lines with their mean.

    The mean ends with the shortest run. A ring marks the checkpoint epoch of each run.
    """

    def paint(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        heading(figure, title)
        left, right = figure.subplots(1, 2)
        _curve_panel(left, runs, "loss", colour)
        focal = tomllib.loads(runs[0].recipe).get("optimisation", {}).get("loss") == "focal"
        left.set_title("Loss (validation: cross-entropy, training: focal)" if focal else "Loss (cross-entropy)")
        _curve_panel(right, runs, "accuracy", colour)
        right.set_title("Accuracy")
        seeds = Line2D([], [], color=QUIET, lw=0.8, alpha=0.6, label=f"single seeds ({len(runs)})")
        _curve_legend(figure, colour, *([seeds] if len(runs) > 1 else []))

    return draw(path, (7.6, 3.4), paint, png=png)


def _curve_panel(axes: Axes, runs: Sequence[FinishedRun], quantity: str, colour: str) -> None:
    for split, line_colour, dashes, width in (("train", QUIET, "--", 1.6), ("val", colour, "-", 2.0)):
        curves = [_curve(run.log, f"{split}_{quantity}") for run in runs]
        if len(runs) > 1:
            for epochs, values in curves:
                axes.plot(epochs, values, lw=0.8, alpha=0.45, color=line_colour, ls=dashes)
        shortest = min(len(values) for _, values in curves)
        mean = np.mean([values[:shortest] for _, values in curves], axis=0)
        _line(axes, curves[0][0][:shortest], mean, line_colour, dashes, width)
    for run in runs:
        _mark_checkpoint(axes, run, f"val_{quantity}", colour)
    axes.set_xlabel("Epoch")
    _integer_ticks(axes, nbins=8)
    axes.margins(x=0.04)
    only_horizontal_grid(axes)


def write_pretraining_figures(folder: Path, run: FinishedPretraining, *, png: bool = False) -> list[Path]:
    """Write `curves.svg` to `folder`, with `png` also as PNG; return the files.

    One panel per term of the log, training and validation, without terms that were not computed (always 0). The last
    panel is the learning rate at the end of each epoch.
    """
    terms, _idle = logged_terms(run.log)
    panels = len(terms) + 1
    columns = 2 if panels <= 4 else min((3, 4), key=lambda number: -panels % number)  # the fewest empty cells
    rows = -(-panels // columns)
    colour = METHOD_COLOURS["full"]

    def paint(figure: Figure) -> None:
        heading(figure, run.metrics["name"])
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, term in zip(axes, terms, strict=False):
            _term_panel(panel, run, term, colour)
        _rate_panel(axes[panels - 1], run)
        for index, panel in enumerate(axes):
            panel.set_visible(index < panels)
            if index >= (rows - 1) * columns:
                panel.set_xlabel("Epoch")
        _curve_legend(figure, colour)

    return draw(folder / "curves.svg", (WIDTH, ROW_HEIGHT * rows + 0.7), paint, png=png)


def _term_panel(axes: Axes, run: FinishedPretraining, term: str, colour: str) -> None:
    axes.set_title(term_title(term))
    _line(axes, *_curve(run.log, f"train_{term}"), QUIET, "--", 1.6)
    _line(axes, *_curve(run.log, f"val_{term}"), colour, "-", 2.0)
    _epoch_axis(axes, run)
    _mark_checkpoint(axes, run, f"val_{term}", colour)


def _rate_panel(axes: Axes, run: FinishedPretraining) -> None:
    axes.set_title("Learning rate, end of epoch")
    _line(axes, *_curve(run.log, "learning_rate"), QUIET, "-", 1.6)
    _epoch_axis(axes, run)
    peak = run.metrics["training"]["learning_rate"]
    axes.set_ylim(-0.04 * peak, 1.1 * peak)  # includes the peak, which the log of a short training lacks


def _epoch_axis(axes: Axes, run: FinishedPretraining) -> None:
    from matplotlib.ticker import MaxNLocator

    _integer_ticks(axes, nbins=6)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.margins(y=0.12)
    margin = max(0.5, 0.05 * len(run.log))
    axes.set_xlim(run.log[0]["epoch"] - margin, run.log[-1]["epoch"] + margin)
    only_horizontal_grid(axes)


def _curve(log: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return epochs and values of a log; NaN for a missing value."""
    values = [np.nan if entry.get(key) is None else entry[key] for entry in log]
    return np.array([entry["epoch"] for entry in log]), np.array(values, dtype=float)


def _line(axes: Axes, epochs: np.ndarray, values: np.ndarray, colour: str, dashes: str, width: float) -> None:
    # Points, because a single epoch has no line.
    axes.plot(epochs, values, lw=width, marker="." if len(epochs) <= 12 else None, ms=6, color=colour, ls=dashes)


def _mark_checkpoint(axes: Axes, run: FinishedRun, key: str, colour: str) -> None:
    epochs, values = _curve(run.log, key)
    at = epochs == run.metrics["training"]["best_epoch"]
    axes.plot(epochs[at], values[at], ls="", marker="o", mfc="white", mec=colour, mew=1.6, ms=7, zorder=4)


def _integer_ticks(axes: Axes, **options: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    # One tick is enough: more would be fractions of a single epoch.
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, **options))


def _curve_legend(figure: Figure, colour: str, *others: Line2D) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, lw=2, label="validation"),
        Line2D([], [], color=QUIET, lw=1.6, ls="--", label="training"),
        Line2D([], [], ls="", marker="o", mfc="white", mec=colour, mew=1.6, ms=7, label="checkpoint epoch"),
        *others,
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _write_confusion(path: Path, runs: Sequence[FinishedRun], title: str, colour: str, *, png: bool) -> list[Path]:
    several = task_of(runs[0].metrics) == "multilabel"
    return (write_label_confusion if several else write_confusion)(path, runs, title, colour, png=png)


def write_confusion(
    path: Path, runs: Sequence[FinishedRun], title: str, colour: str, *, png: bool = False
) -> list[Path]:
    """Plot the confusion matrix of the test windows, summed over the runs: counts and percent of each true class."""
    counts = np.sum([run.metrics["window"]["confusion"] for run in runs], axis=0)
    fraction = _fraction(counts, counts.sum(axis=1, keepdims=True))
    indices = np.arange(len(counts))
    few = len(indices) <= 4
    classes = [_name(name, 20) for name in runs[0].metrics["classes"]]
    if len(classes) == 2:
        classes[POSITIVE] += "\n(positive)"

    def paint(figure: Figure) -> None:
        heading(figure, _name(title, 36))
        axes = _cells(figure, fraction, colour, len(runs))
        for true in indices if len(indices) <= MOST_WRITTEN else ():
            for predicted in indices:
                number, percent = f"{counts[true, predicted]:,}", f"{fraction[true, predicted]:.1%}"
                axes.text(float(predicted), true - 0.02, number, ha="center", va="bottom", fontsize=13 if few else 9)
                axes.text(float(predicted), true + 0.06, percent, ha="center", va="top", fontsize=9.5 if few else 7)
        axes.set_xticks(indices, classes, rotation=0 if few else 90)
        axes.set_yticks(indices, classes, rotation=90 if few else 0, va="center")
        axes.set_xlabel("Predicted class")
        axes.set_ylabel("True class")

    side = max(0.0, 0.62 * (len(classes) - 4)) + (0.6 if len(classes) > 2 else 0.0)
    return draw(path, (3.8 + side, 4.0 + side), paint, png=png)


def write_label_confusion(
    path: Path, runs: Sequence[FinishedRun], title: str, colour: str, *, png: bool = False
) -> list[Path]:
    """Plot true and false positives and negatives of each label on the test windows, summed over the runs.

    Percentages are of the positive or negative windows; windows with a missing label do not count.
    """
    labels = runs[0].metrics["window"]["labels"]
    counts = np.sum([[e["confusion"] for e in run.metrics["window"]["labels"].values()] for run in runs], axis=0)
    # Columns: true positives, false negatives, true negatives, false positives.
    ordered = np.stack([counts[:, 1, 1], counts[:, 1, 0], counts[:, 0, 0], counts[:, 0, 1]], axis=1)
    total = np.repeat(counts.sum(axis=2)[:, ::-1], 2, axis=1)
    fraction = _fraction(ordered, total)
    names = [shortened(name, 24) for name in labels]

    def paint(figure: Figure) -> None:
        heading(figure, _name(title, 48))
        axes = _cells(figure, fraction, colour, len(runs), aspect="auto")
        for row, column in np.ndindex(ordered.shape):
            text = f"{ordered[row, column]:,} ({fraction[row, column]:.0%})" if total[row, column] else "none"
            axes.text(column, row, text, ha="center", va="center", fontsize=8.5)
        axes.set_xticks(range(4), ["true\npositive", "false\nnegative", "true\nnegative", "false\npositive"])
        axes.set_yticks(range(len(names)), names)
        axes.xaxis.tick_top()

    return draw(path, (5.2, 1.5 + 0.42 * len(names)), paint, png=png)


def _name(text: str, width: int) -> str:
    """A name of a file in at most three lines of `width` characters."""
    return textwrap.fill(shortened(text, 3 * width), width)


def _fraction(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


def _cells(figure: Figure, fraction: np.ndarray, colour: str, seeds: int, **options: Any) -> Axes:
    """Draw a grid of cells, shaded by `fraction`, with white lines between them."""
    from matplotlib.colors import LinearSegmentedColormap

    axes = figure.subplots()
    axes.set_title("Test windows" if seeds == 1 else f"Test windows, sum of {seeds} seeds")
    # At most half of the colour, so that dark text is readable in every cell.
    shades = LinearSegmentedColormap.from_list("fraction", ["white", colour])
    axes.imshow(fraction, cmap=shades, vmin=0, vmax=2, **options)
    axes.set_yticks(np.arange(1, len(fraction)) - 0.5, minor=True)
    axes.set_xticks(np.arange(1, fraction.shape[1]) - 0.5, minor=True)
    axes.grid(False)
    axes.grid(True, which="minor", color="white", linewidth=3)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return axes


def write_method_bars(path: Path, results: dict[str, Any], *, png: bool = False) -> list[Path]:
    """Plot accuracy, precision, recall, F1 and AUROC of every row of results.json with their intervals."""
    rows, titles = results["rows"], metric_titles(results)
    colours = row_colours(rows)

    def paint(figure: Figure) -> None:
        positive = f"; positive class {stored_positive(results)[0]}" if task_of(results) == "binary" else ""
        heading(figure, f"Methods on the test windows: mean over seeds, 95 % interval{positive}")
        axes = figure.subplots()
        width = 0.84 / len(rows)
        for index, row in enumerate(rows):
            x = np.arange(len(BAR_METRICS)) + (index - (len(rows) - 1) / 2) * width
            entries = [row["metrics"][name] for name in BAR_METRICS]
            colour = colours[row["method"]]
            axes.bar(
                x,
                [entry["mean"] or 0 for entry in entries],
                width * 0.88,
                color=colour,
                label=legend_label(row["title"]),
            )
            for position, entry in zip(x, entries, strict=True):
                if entry["mean"] is None:
                    axes.text(position, 0.015, MISSING, rotation=90, ha="center", va="bottom", fontsize=7, color=QUIET)
                elif entry["ci_low"] is not None:
                    axes.vlines(position, entry["ci_low"], entry["ci_high"], color=INK, lw=1.1)
        axes.set_xticks(range(len(BAR_METRICS)), [titles[name] for name in BAR_METRICS])
        axes.tick_params(axis="x", length=0, labelcolor=INK)
        axes.set_ylim(0, 1)
        only_horizontal_grid(axes)
        figure.legend(loc="outside lower center", ncols=min(3, len(rows)))

    return draw(path, (8.4, 4.2), paint, png=png)
