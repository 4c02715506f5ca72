"""The figures that count right and wrong answers: a confusion matrix, or the answers for each label."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ecgtune.reporting.reading import Run
from ecgtune.reporting.style import draw, heading


def write_confusion(path: Path, runs: Sequence[Run], title: str, colour: str, *, png: bool = False) -> list[Path]:
    """Confusion matrix of the test windows, counts and percent of each true class; several runs are added up."""
    counts = np.sum([run.metrics["window"]["confusion"] for run in runs], axis=0)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    places = np.arange(len(counts))
    few = len(places) <= 4
    classes = [textwrap.fill(name, 20) for name in runs[0].metrics["classes"]]

    def paint(figure: Figure) -> None:
        heading(figure, textwrap.fill(title, 36))
        axes = figure.subplots()
        axes.set_title("Test windows" if len(runs) == 1 else f"Test windows, {len(runs)} seeds added up")
        # Up to half of the colour only, so that dark text is readable in every cell.
        axes.imshow(share, cmap=LinearSegmentedColormap.from_list("share", ["white", colour]), vmin=0, vmax=2)
        for true in places:
            for predicted in places:
                number, percent = f"{counts[true, predicted]:,}", f"{share[true, predicted]:.1%}"
                axes.text(float(predicted), true - 0.02, number, ha="center", va="bottom", fontsize=13 if few else 9)
                axes.text(float(predicted), true + 0.06, percent, ha="center", va="top", fontsize=9.5 if few else 7)
        axes.set_xticks(places, classes, rotation=0 if few else 90)
        axes.set_yticks(places, classes, rotation=90 if few else 0, va="center")
        axes.set_xlabel("Predicted class")
        axes.set_ylabel("True class")
        axes.set_xticks(places[1:] - 0.5, minor=True)
        axes.set_yticks(places[1:] - 0.5, minor=True)
        axes.grid(False)
        axes.grid(True, which="minor", color="white", linewidth=3)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)

    side = max(0.0, 0.62 * (len(classes) - 4)) + (0.6 if len(classes) > 2 else 0.0)
    return draw(path, (3.8 + side, 4.0 + side), paint, png=png)


def write_label_answers(path: Path, runs: Sequence[Run], title: str, colour: str, *, png: bool = False) -> list[Path]:
    """Of each label: test windows that have it, found and missed, and that do not, passed and false alarms; with the
    share of those that have it, or do not. Several runs are added up; windows where it is missing do not count."""
    labels = runs[0].metrics["window"]["labels"]
    counts = np.sum([[e["confusion"] for e in run.metrics["window"]["labels"].values()] for run in runs], axis=0)
    # In the order of the columns: true positives, false negatives, true negatives, false positives.
    ordered = np.stack([counts[:, 1, 1], counts[:, 1, 0], counts[:, 0, 0], counts[:, 0, 1]], axis=1)
    total = np.repeat(counts.sum(axis=2)[:, ::-1], 2, axis=1)
    share = np.divide(ordered, total, out=np.zeros(ordered.shape), where=total > 0)
    names = [textwrap.shorten(name, 24, placeholder="…") for name in labels]

    def paint(figure: Figure) -> None:
        heading(figure, textwrap.fill(title, 48))
        axes = figure.subplots()
        axes.set_title("Test windows" if len(runs) == 1 else f"Test windows, {len(runs)} seeds added up")
        axes.imshow(
            share, cmap=LinearSegmentedColormap.from_list("share", ["white", colour]), vmin=0, vmax=2, aspect="auto"
        )
        for row in range(len(names)):
            for column in range(4):
                text = f"{ordered[row, column]:,} ({share[row, column]:.0%})" if total[row, column] else "none"
                axes.text(column, row, text, ha="center", va="center", fontsize=8.5)
        axes.set_xticks(range(4), ["with it:\nfound", "with it:\nmissed", "without:\npassed", "without:\nfalse alarm"])
        axes.set_yticks(range(len(names)), names)
        axes.xaxis.tick_top()
        axes.set_xticks([0.5, 1.5, 2.5], minor=True)
        axes.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
        axes.grid(False)
        axes.grid(True, which="minor", color="white", linewidth=3)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)

    return draw(path, (5.2, 1.5 + 0.42 * len(names)), paint, png=png)
