"""Calibration of a run in figures and rows: reliability and net benefit, before and after."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.reporting.style import INK, QUIET, draw, heading
from ecgtune.text import shortened
from ecgtune.utils import formatting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Rows of the table of measures, by the keys of calibration.json.
TITLES = {
    "ece": "ECE",
    "brier": "Brier score",
    "log_loss": "Log-loss",
    "slope": "Calibration slope",
    "intercept": "Calibration intercept",
}
PARTS = {
    "miscalibration": "Miscalibration",
    "discrimination": "Discrimination",
    "uncertainty": "Uncertainty",
}
#: Labels or classes in the figures; more would be too small to read.
MOST_PANELS = 9
Entry = Mapping[str, Any]


def shown_entries(content: Entry) -> dict[str, tuple[Entry, Entry | None]]:
    """Measures before and after calibration by class or label, those with both kinds of windows."""
    after = content["after"]
    return {
        name: (entry, after and after["each"][name])
        for name, entry in content["before"]["each"].items()
        if entry is not None
    }


def drawn_names(content: Entry) -> list[str]:
    """Classes or labels in the figures: all, or the most frequent ones."""
    entries = shown_entries(content)
    frequent = sorted(entries, key=lambda name: -entries[name][0]["prevalence"])[:MOST_PANELS]
    return [name for name in entries if name in frequent]


def measure_rows(before: Entry, after: Entry | None) -> list[tuple[str, list[str]]]:
    """Title and cells of each measure of one class or label: before calibration and, if there is one, after."""
    sides = [before] if after is None else [before, after]
    rows = [(title, [_cell(side[name]) for side in sides]) for name, title in TITLES.items()]
    parts = [
        (f"– {title.lower()}", [formatting.score(side["parts"][name]) for side in sides])
        for name, title in PARTS.items()
    ]
    rows.insert(1, ("– by chance", [formatting.score(side["ece"]["by_chance"]) for side in sides]))
    place = list(TITLES).index("brier") + 2
    return [*rows[:place], *parts, *rows[place:]]


def label_measures(content: Entry) -> list[tuple[str, list[str]]]:
    """Name and cells of each class or label: ECE before and after, then Brier score, slope and intercept after."""
    rows = []
    for name, (before, after) in shown_entries(content).items():
        last = after or before
        cells = [
            _cell(before["ece"]),
            _cell(last["ece"]),
            *(_cell(last[key]) for key in ("brier", "slope", "intercept")),
        ]
        rows.append((name, cells))
    return rows


def _cell(entry: Entry) -> str:
    if entry["value"] is None or entry["ci_low"] is None:
        return formatting.score(entry["value"])
    return f"{formatting.score(entry['value'])} ({formatting.interval(dict(entry))})"


def write_calibration_figures(folder: Path, content: Entry, colour: str, *, png: bool = False) -> list[Path]:
    """Write `reliability.svg` and `net-benefit.svg` to `folder`, with `png` also as PNG; return the files.

    content: calibration.json. One panel per class or label, at most nine; none where no class has measures.
    """
    names = drawn_names(content)
    if not names:
        return []
    entries = shown_entries(content)
    files = []
    for name, title, paint in (
        ("reliability", "Reliability", _reliability),
        ("net-benefit", "Decision curve", _net_benefit),
    ):
        files += _panels(folder / f"{name}.svg", title, names, entries, colour, paint, png=png)
    return files


def _panels(
    path: Path,
    title: str,
    names: Sequence[str],
    entries: Mapping[str, tuple[Entry, Entry | None]],
    colour: str,
    paint: Callable[[Axes, Entry, Entry | None, str], None],
    *,
    png: bool,
) -> list[Path]:
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    single = len(names) == 1

    def draw_all(figure: Figure) -> None:
        heading(figure, textwrap.fill(title, 40 if single else 90))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            panel.set_title(shortened(name, 34))
            paint(panel, *entries[name], colour)
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if single else 4)

    size = (4.4, 4.8) if single else (3.1 * columns, 3.0 * rows + 0.9)
    return draw(path, size, draw_all, png=png)


def _reliability(axes: Axes, before: Entry, after: Entry | None, colour: str) -> None:
    axes.plot([0, 1], [0, 1], color=QUIET, lw=1, ls=(0, (2, 2)), label="ideal")
    sides = [(before, "uncalibrated" if after else "run", QUIET if after else colour, "s" if after else "o")]
    if after is not None:
        sides.append((after, "calibrated", colour, "o"))
    for side, label, own, marker in sides:
        x = [point["probability"] for point in side["curve"]]
        y = [point["value"] for point in side["curve"]]
        axes.plot(x, y, color=own, marker=marker, ms=4.5, lw=1.4, label=label)
        if side is (after or before):
            axes.vlines(
                x,
                [point["ci_low"] if point["ci_low"] is not None else point["value"] for point in side["curve"]],
                [point["ci_high"] if point["ci_high"] is not None else point["value"] for point in side["curve"]],
                color=own,
                lw=1,
                label="95 % interval",
            )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="Predicted probability", ylabel="Observed frequency")
    axes.set_aspect("equal")


def _net_benefit(axes: Axes, before: Entry, after: Entry | None, colour: str) -> None:
    threshold = before["net_benefit"]["threshold"]
    axes.axhline(0, color=INK, lw=1, label="no window")
    axes.plot(threshold, before["net_benefit"]["all"], color=QUIET, lw=1.2, ls=(0, (2, 2)), label="every window")
    if after is not None:
        axes.plot(threshold, before["net_benefit"]["model"], color=QUIET, lw=1.4, label="uncalibrated")
    side = after or before
    axes.plot(threshold, side["net_benefit"]["model"], color=colour, lw=1.8, label="calibrated" if after else "run")
    top = max(before["prevalence"], 0.02)
    axes.set(xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top), xlabel="Threshold", ylabel="Net benefit")
