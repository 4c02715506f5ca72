"""Figure and report.html of a sweep folder, from sweep.json and trials.csv."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgtune.reporting.folders import readable
from ecgtune.reporting.pages import folder_facts, render
from ecgtune.reporting.style import METHOD_COLOURS, QUIET, draw, heading
from ecgtune.text import printable_values, shown
from ecgtune.training.schemas import SweepSettings
from ecgtune.utils.files import replace_folder, write_text
from ecgtune.utils.formatting import flat
from ecgtune.utils.stored import fraction, read_json, read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL = (3.0, 2.3)  # inches
RATE = "optimisation.learning_rate"
#: Columns of trials.csv that are not settings.
RESULTS = ("method", "trial", "state", "val_auroc", "val_accuracy", "best_epoch", "epochs", "seconds", "trainable")
_AGAIN = "rerun the sweep command, which makes it again"
COLOUR = METHOD_COLOURS["full"]


@dataclass(frozen=True)
class Trial:
    """A row of trials.csv: `settings` by name as text; results are None if the trial diverged."""

    method: str
    number: int
    settings: dict[str, str]
    auroc: float | None
    accuracy: float | None
    epochs: int | None
    seconds: float | None
    trainable: int

    @property
    def rate(self) -> float | None:
        """Learning rate of the trial, None if the sweep did not vary it."""
        return float(self.settings[RATE]) if RATE in self.settings else None


@dataclass(frozen=True)
class Sweep:
    """A sweep folder: `settings` of sweep.json, `trials` of each method in order."""

    folder: Path
    settings: dict[str, Any]
    trials: dict[str, list[Trial]]

    def best(self, method: str) -> Trial | None:
        """Return the first trial with the highest validation AUROC, None if all diverged."""
        return max((t for t in self.trials[method] if t.auroc is not None), key=lambda t: t.auroc or 0.0, default=None)


def read_sweep(folder: Path | str) -> Sweep:
    """Read a sweep folder. Raises RunError when a file is missing or damaged."""
    folder = Path(folder)
    settings = printable_values(read_json(folder / "sweep.json", SweepSettings))
    found = read_rows(folder / "trials.csv", lambda row: _trial(row, settings["methods"]), _AGAIN)
    trials = {name: [trial for trial in found if trial.method == name] for name in settings["methods"]}
    return Sweep(folder, settings, trials)


def write_sweep(folder: Path | str, *, png: bool = False) -> Path:
    """Write `figures/` and `report.html` of a sweep folder; return the path of the report. Raises as `read_sweep`."""
    with readable(folder):
        sweep = read_sweep(folder)
        replace_folder(sweep.folder / "figures", lambda part: write_rate_figure(part / "rates.svg", sweep, png=png))
        file = sweep.folder / "report.html"
        write_text(file, render("sweep.html.j2", _facts(sweep)))
        return file


def write_rate_figure(path: Path, sweep: Sweep, *, png: bool = False) -> list[Path]:
    """Plot the validation AUROC of every trial over its learning rate, one panel per method; return the files.

    The x axis is the trial number if the learning rate was not varied. `png` also writes a PNG file.
    """
    rows = -(-len(sweep.trials) // COLUMNS)
    width = min(COLUMNS, len(sweep.trials))

    def paint(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        heading(figure, "Trials of each method on the validation windows")
        axes = figure.subplots(rows, width, squeeze=False, sharey=True).ravel()
        scores = [t.auroc for trials in sweep.trials.values() for t in trials if t.auroc is not None] or [0.0, 1.0]
        margin = max(0.1 * (max(scores) - min(scores)), 0.002)
        diverged = min(scores) - 2 * margin
        for index, (panel, method) in enumerate(zip(axes, sweep.trials, strict=False)):
            _panel(panel, sweep, method, diverged)
            panel.set_title(method)
            if index % width == 0:
                panel.set_ylabel("AUROC")
        axes[0].set_ylim(diverged - margin, max(scores) + margin)
        for panel in axes[len(sweep.trials) :]:
            panel.set_visible(False)
        legend = [
            Line2D([], [], ls="", marker="o", color=COLOUR, alpha=0.55, label="trial"),
            Line2D([], [], ls="", marker="s", mfc="white", mec=QUIET, mew=1.4, label="recipe (trial 0)"),
            Line2D([], [], ls="", marker="o", mfc="none", mec=COLOUR, mew=1.6, ms=10, label="best"),
            Line2D([], [], ls="", marker="x", color=QUIET, label="diverged"),
        ]
        figure.legend(handles=legend, loc="outside lower center", ncols=len(legend))

    return draw(path, (PANEL[0] * max(width, 2), PANEL[1] * rows + 0.7), paint, png=png)


def _panel(axes: Axes, sweep: Sweep, method: str, diverged: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    trials = sweep.trials[method]
    rates = [t.rate for t in trials]
    searched = len(trials) > 0 and all(rate is not None for rate in rates)
    x = np.array(rates if searched else [t.number for t in trials], dtype=float)
    y = np.array([np.nan if t.auroc is None else t.auroc for t in trials])
    lost, best = np.isnan(y), sweep.best(method)
    axes.plot(x[1:], y[1:], ls="", marker="o", ms=5, color=COLOUR, alpha=0.55, mec="none")
    axes.plot(x[:1], y[:1], ls="", marker="s", ms=5.5, mfc="white", mec=QUIET, mew=1.4)
    axes.plot(x[lost], np.full(lost.sum(), diverged), ls="", marker="x", ms=6, color=QUIET)
    if best is not None:
        chosen = [t.number for t in trials].index(best.number)
        axes.plot(x[chosen], y[chosen], ls="", marker="o", ms=10, mfc="none", mec=COLOUR, mew=1.6)
    if searched:
        axes.set_xscale("log")
        # Plain numbers instead of powers of 10.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Learning rate" if searched else "Trial")


def _trial(row: dict[str, str], methods: Collection[str]) -> Trial:
    """Raises KeyError or ValueError for a row that is not of the sweep."""
    if row["method"] not in methods:
        raise ValueError(f"{shown(row['method'])} is no method of the sweep")
    settings = {name: value for name, value in row.items() if name not in RESULTS and value != ""}
    if RATE in settings and not 0 < float(settings[RATE]) < float("inf"):
        raise ValueError(f"{RATE} is {shown(settings[RATE])}")
    return Trial(
        method=row["method"],
        number=int(row["trial"]),
        settings=printable_values(settings),
        auroc=fraction(row["val_auroc"]) if row["val_auroc"] else None,
        accuracy=fraction(row["val_accuracy"]) if row["val_accuracy"] else None,
        epochs=int(row["epochs"]) if row["epochs"] else None,
        seconds=float(row["seconds"]) if row["seconds"] else None,
        trainable=int(row["trainable"]),
    )


def _facts(sweep: Sweep) -> dict[str, Any]:
    rows = []
    for method, trials in sweep.trials.items():
        best, first = sweep.best(method), trials[0] if trials else None
        rows.append(
            {
                "method": method,
                "trials": len(trials),
                "diverged": sum(t.auroc is None for t in trials),
                "first": first.auroc if first else None,
                "best": best,
                "settings": _settings(best) if best else "",
                "epochs": sum(t.epochs or 0 for t in trials),
                "seconds": sum(t.seconds or 0.0 for t in trials),
            }
        )
    found = [row for row in rows if row["best"] is not None]
    return {
        "sweep": sweep,
        "settings": sweep.settings,
        "rows": rows,
        "winner": max(found, key=lambda row: row["best"].auroc, default=None),
        **folder_facts(sweep.folder),
        "machine": flat(sweep.settings["machine"]),
    }


def _settings(trial: Trial) -> str:
    return ", ".join(f"{name.partition('.')[2]} {_short(value)}" for name, value in trial.settings.items())


def _short(value: str) -> str:
    """Format a number with four significant digits; return other text unchanged."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
