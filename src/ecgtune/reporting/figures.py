"""The figures of a run (two) and of a comparison (two per method, and two over all methods)."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ecgtune.reporting.figures_confusion import write_confusion, write_label_answers
from ecgtune.reporting.reading import Comparison, Run
from ecgtune.reporting.style import (
    BASELINE_DASHES,
    INK,
    MARKERS,
    QUIET,
    baseline_colours,
    draw,
    heading,
    method_colours,
    only_horizontal_grid,
)
from ecgtune.reporting.tasks import lead_of, metric_titles, task_of
from ecgtune.utils.formatting import MISSING, score

BAR_METRICS = ("accuracy", "precision", "recall", "f1", "auroc")


def write_run_figures(folder: Path, run: Run, *, png: bool = False) -> list[Path]:
    """`curves.svg` and `confusion.svg` of one run in `folder`, with `png` also as PNG; returns the files.

    A run without a log (the majority class) has no curves.
    """
    name = run.metrics["name"]
    colour = method_colours([name])[name]
    files = []
    if run.log:
        files += write_curves(folder / "curves.svg", [run], name, colour, png=png)
    return files + _write_confusion(folder / "confusion.svg", [run], name, colour, png=png)


def write_comparison_figures(folder: Path, comparison: Comparison, *, png: bool = False) -> list[Path]:
    """`<method>-curves.svg` and `<method>-confusion.svg` of each method, `methods.svg` and
    `accuracy-vs-parameters.svg` in `folder`, with `png` also as PNG; returns the files.

    Baselines stand in the last two figures only.
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
    return files + write_accuracy_against_parameters(folder / "accuracy-vs-parameters.svg", results, png=png)


def _write_confusion(path: Path, runs: Sequence[Run], title: str, colour: str, *, png: bool) -> list[Path]:
    several = task_of(runs[0].metrics) == "multilabel"
    return (write_label_answers if several else write_confusion)(path, runs, title, colour, png=png)


def write_curves(path: Path, runs: Sequence[Run], title: str, colour: str, *, png: bool = False) -> list[Path]:
    """Loss and accuracy over epochs, training and validation; several runs are thin lines and their mean.

    The mean ends where the first of the runs ends. A ring marks the epoch that each run kept.
    """

    def paint(figure: Figure) -> None:
        heading(figure, title)
        panels = figure.subplots(1, 2)
        _curve_panel(panels[0], runs, "loss", colour)
        focal = tomllib.loads(runs[0].recipe).get("training", {}).get("loss") == "focal"
        panels[0].set_title("Loss (validation: cross-entropy, training: focal)" if focal else "Loss (cross-entropy)")
        _curve_panel(panels[1], runs, "accuracy", colour)
        panels[1].set_title("Accuracy")
        legend = [
            Line2D([], [], color=colour, lw=2, label="validation"),
            Line2D([], [], color=QUIET, lw=1.6, ls="--", label="training"),
            Line2D([], [], ls="", marker="o", mfc="white", mec=colour, mew=1.6, ms=7, label="epoch kept"),
        ]
        if len(runs) > 1:
            legend.append(Line2D([], [], color=QUIET, lw=0.8, alpha=0.6, label=f"single seeds ({len(runs)})"))
        figure.legend(handles=legend, loc="outside lower center", ncols=len(legend))

    return draw(path, (7.6, 3.4), paint, png=png)


def _curve_panel(axes: Axes, runs: Sequence[Run], quantity: str, colour: str) -> None:
    for split, line_colour, dashes in (("train", QUIET, "--"), ("val", colour, "-")):
        key = f"{split}_{quantity}"
        curves = [_curve(run, key) for run in runs]
        if len(runs) > 1:
            for epochs, values in curves:
                axes.plot(epochs, values, lw=0.8, alpha=0.45, color=line_colour, ls=dashes)
        shortest = min(len(values) for _, values in curves)
        mean = np.mean([values[:shortest] for _, values in curves], axis=0)
        # Few epochs make short lines; one epoch makes none, so its point must show.
        marker = "." if shortest <= 12 else None
        width = 2.0 if split == "val" else 1.6
        axes.plot(curves[0][0][:shortest], mean, lw=width, marker=marker, ms=6, color=line_colour, ls=dashes)
    for run in runs:
        epochs, values = _curve(run, f"val_{quantity}")
        best = epochs == run.metrics["training"]["best_epoch"]
        axes.plot(epochs[best], values[best], ls="", marker="o", mfc="white", mec=colour, mew=1.6, ms=7, zorder=4)
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.margins(x=0.04)
    only_horizontal_grid(axes)


def _curve(run: Run, key: str) -> tuple[np.ndarray, np.ndarray]:
    epochs = np.array([entry["epoch"] for entry in run.log])
    return epochs, np.array([entry[key] for entry in run.log], dtype=float)


def write_method_bars(path: Path, results: dict[str, Any], *, png: bool = False) -> list[Path]:
    """Accuracy, precision, recall, F1 and AUROC of every row of results.json, with interval whiskers."""
    rows, titles = results["rows"], metric_titles(results)
    colours = _row_colours(rows)

    def paint(figure: Figure) -> None:
        heading(figure, "Methods on the test windows: mean over seeds, 95 % interval")
        axes = figure.subplots()
        width = 0.84 / len(rows)
        for place, row in enumerate(rows):
            x = np.arange(len(BAR_METRICS)) + (place - (len(rows) - 1) / 2) * width
            entries = [row["metrics"][name] for name in BAR_METRICS]
            colour = colours[row["method"]]
            axes.bar(x, [entry["mean"] or 0 for entry in entries], width * 0.88, color=colour, label=row["title"])
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


def write_accuracy_against_parameters(path: Path, results: dict[str, Any], *, png: bool = False) -> list[Path]:
    """Accuracy (of several classes or labels the metric that ranks them) of each method over its trainable parameters
    (logarithmic); baselines are dashed lines."""
    rows, lead, title = results["rows"], lead_of(results), metric_titles(results)[lead_of(results)]
    colours = _row_colours(rows)
    methods = [row for row in rows if row["kind"] == "method" and row["metrics"][lead]["mean"] is not None]
    baselines = [row for row in rows if row["kind"] == "baseline" and row["metrics"][lead]["mean"] is not None]

    def paint(figure: Figure) -> None:
        heading(figure, f"{title} against trainable parameters: mean over seeds, 95 % interval")
        axes = figure.subplots()
        for place, row in enumerate(methods):
            entry, colour = row["metrics"][lead], colours[row["method"]]
            axes.vlines(row["trainable"], entry["ci_low"], entry["ci_high"], color=colour, lw=1.8)
            marker = MARKERS[place % len(MARKERS)]
            label = f"{row['title']}: {score(entry['mean'])}"
            axes.plot(
                row["trainable"], entry["mean"], ls="", marker=marker, ms=8.5, color=colour, mec="white", label=label
            )
        for place, row in enumerate(baselines):
            mean = row["metrics"][lead]["mean"]
            dashes = BASELINE_DASHES[place % len(BASELINE_DASHES)]
            axes.axhline(mean, color=QUIET, lw=1.3, ls=dashes, label=f"{row['title']}: {score(mean)}")
        axes.set_xscale("log")
        trainable = [row["trainable"] for row in methods]
        if trainable:
            axes.set_xlim(min(trainable) / 2.5, max(trainable) * 2.5)
        axes.xaxis.set_major_formatter(FuncFormatter(_parameters))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Trainable parameters (logarithmic)")
        axes.set_ylabel(title)
        figure.legend(loc="outside lower center", ncols=2)

    return draw(path, (7.6, 4.6), paint, png=png)


def _row_colours(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    methods = [row["method"] for row in rows if row["kind"] == "method"]
    return {**baseline_colours([row["method"] for row in rows if row["kind"] == "baseline"]), **method_colours(methods)}


def _parameters(value: float, _position: int | None = None) -> str:
    """10000 as `10 k`, 5000000 as `5 M`."""
    for unit, factor in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"
