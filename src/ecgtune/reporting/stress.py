"""A stress test as table, sentences, CSV rows and one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtune.evaluation.stress import METRICS, Loss, losses
from ecgtune.reporting.external import interval_unit
from ecgtune.reporting.style import MARKERS, METHOD_COLOURS, QUIET, draw, heading
from ecgtune.reporting.tables import escape_markdown, markdown_table
from ecgtune.reporting.wording import in_sentence
from ecgtune.utils import formatting
from ecgtune.utils.csv_cells import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Entry = Mapping[str, Any]
TITLES = {"auroc": "AUROC", "balanced_accuracy": "Balanced accuracy", "confidence": "Mean confidence"}
COLOURS = dict(zip(METRICS, (METHOD_COLOURS["full"], METHOD_COLOURS["adapter"], QUIET), strict=True))
COLUMNS = 4
#: Loss of balanced accuracy, and change of the mean confidence, of a run that is wrong without doubt.
WRONG, SURE = 0.1, 0.02


def stress_csv(result: Entry) -> str:
    """One row per disturbance and strength, the undisturbed windows first."""
    ends = ("", "_ci_low", "_ci_high")
    keys = ("value", "ci_low", "ci_high")
    header = [f"{name}{end}" for name in METRICS for end in ends]
    header += [f"{name}_difference{end}" for name in METRICS for end in ends]
    lines: list[list[Any]] = [["disturbance", "strength", "unit", *header, "changed"]]
    rows = [{"disturbance": "none", "strength": "", "unit": "", "metrics": result["undisturbed"]}, *result["rows"]]
    for row in rows:
        cells: list[Any] = [row["disturbance"], row["strength"], row["unit"]]
        for side in ("metrics", "difference"):
            entries = row.get(side)
            cells += [entries[name][key] if entries else "" for name in METRICS for key in keys]
        lines.append([*cells, row.get("changed", "")])
    return csv_text(lines)


def strength_text(row: Entry) -> str:
    """The strength of a row with its unit: `6 dB`, `RA/LA`, `2 times`."""
    return _strength(row["strength"], row["unit"])


def _strength(strength: float | str, unit: str) -> str:
    return strength if isinstance(strength, str) else f"{strength:g} {unit}".strip()


def stress_sentences(result: Entry) -> list[str]:
    """Sentences on the data, the largest losses, the strengths at which they are shown, and missing doubt."""
    data, rows = result["data"], result["rows"]
    of = "" if data["windows"] == data["of"] else f" of {formatting.count(data['of'])}"
    groups = "" if data["groups"] is None else f", {formatting.count(data['groups'])} patients or recordings"
    whole = " (the run's test split)" if data["own_test_split"] else ""
    clean = ", ".join(
        f"{in_sentence(TITLES[name])} {formatting.score(result['undisturbed'][name]['value'])}" for name in METRICS
    )
    lines = [
        f"{formatting.counted(data['windows'], 'window')}{of}{groups} of {data['path']}{whole}.",
        f"Undisturbed: {clean}.",
    ]
    titles = {row["disturbance"]: (row["title"], row["unit"]) for row in rows}
    for metric in METRICS[:2]:
        if result["undisturbed"][metric]["value"] is None:
            lines.append(f"{TITLES[metric]} is not defined for these windows.")
            continue
        found = losses(rows, metric)
        if not found or found[0].value == 0:
            lines.append(f"No disturbance lowers the {in_sentence(TITLES[metric])}.")
            continue
        first = found[0]
        title, unit = titles[first.disturbance]
        lines.append(
            f"{TITLES[metric]}: {in_sentence(title)} costs most, {formatting.score(first.value)} at "
            f"{_strength(first.strength, unit)}; {_shown(first, unit)}."
        )
        unharmed = [in_sentence(titles[loss.disturbance][0]) for loss in found if not loss.shown]
        if unharmed:
            lines.append(f"No loss of {in_sentence(TITLES[metric])} is shown for {', '.join(unharmed)}.")
    sure = [f"{in_sentence(row['title'])} {strength_text(row)}" for row in rows if _wrong_and_sure(row)]
    if sure:
        lines.append(
            f"Balanced accuracy falls by {WRONG:g} or more while the mean confidence falls by less than {SURE:g}: "
            f"{', '.join(sure)}. There the confidence does not show that the run is wrong."
        )
    lines += [f"Not tested: {in_sentence(title)} ({reason})." for title, reason in result["not_tested"].items()]
    return lines


def _wrong_and_sure(row: Entry) -> bool:
    lost, doubt = (row["difference"][name]["value"] for name in ("balanced_accuracy", "confidence"))
    return lost is not None and lost <= -WRONG and doubt > -SURE


def _shown(loss: Loss, unit: str) -> str:
    if not loss.shown:
        return "a loss is shown at no strength"
    if loss.everywhere:
        return "a loss is shown at every strength"
    if loss.onwards:
        return f"a loss is shown from {_strength(loss.shown[0], unit)} on"
    return f"a loss is shown at {', '.join(_strength(each, unit) for each in loss.shown)}"


def loss_table(result: Entry) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the largest losses of each disturbance, and the strengths at which they are shown."""
    units = {row["disturbance"]: (row["title"], row["unit"]) for row in result["rows"]}
    both = [{loss.disturbance: loss for loss in losses(result["rows"], metric)} for metric in METRICS[:2]]
    header = ["Disturbance", *(text for name in METRICS[:2] for text in (f"{TITLES[name]} lost", "Shown"))]
    rows = []
    for name, (title, unit) in units.items():
        cells = [title]
        for found in both:
            loss = found.get(name)
            cells += (
                ["", ""]
                if loss is None
                else [
                    f"{formatting.score(loss.value)} at {_strength(loss.strength, unit)}",
                    _shown(loss, unit).removeprefix("a loss is shown "),
                ]
            )
        rows.append(cells)
    return header, rows


def stress_markdown(result: Entry) -> str:
    """The sentences, losses of each disturbance, and all rows."""
    lines = [part for sentence in stress_sentences(result) for part in (escape_markdown(sentence), "")]
    lines += [*markdown_table(*loss_table(result)), ""]
    rows = [["none", "", *(_cell(result["undisturbed"][name]) for name in METRICS), ""]]
    for row in result["rows"]:
        cells = [_cell(row["metrics"][name]) for name in METRICS]
        rows.append([row["title"], strength_text(row), *cells, f"{formatting.percent(row['changed'])} %"])
    lines += markdown_table(("Disturbance", "Strength", *(TITLES[name] for name in METRICS), "Decisions changed"), rows)
    lines += [
        "",
        f"In parentheses: 95 % bootstrap intervals over {interval_unit(result)}. A loss is shown where the interval of "
        "the paired difference to the undisturbed windows is below zero; the intervals are not adjusted for their "
        "number.",
        "",
    ]
    return "\n".join(lines)


def _cell(entry: Entry) -> str:
    return f"{formatting.score(entry['value'])} ({formatting.interval(entry)})"


def write_stress_figure(path: Path, result: Entry, *, png: bool = False) -> list[Path]:
    """Write the figure of a stress test, a panel per disturbance; `png` also as PNG. Return the files."""
    names = list(dict.fromkeys(row["disturbance"] for row in result["rows"]))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    low = min(
        entry["value"] if entry["ci_low"] is None else entry["ci_low"]
        for row in (*result["rows"], {"metrics": result["undisturbed"]})
        for entry in row["metrics"].values()
        if entry["value"] is not None
    )

    def paint(figure: Figure) -> None:
        heading(figure, "Accuracy and confidence under disturbances")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for number, panel in enumerate(panels.ravel()):
            if number >= len(names):
                panel.set_visible(False)
                continue
            _panel(panel, [row for row in result["rows"] if row["disturbance"] == names[number]], result)
            panel.set_ylim(min(0.45, low - 0.02), 1.02)
        handles, labels = panels.ravel()[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if columns < 3 else 5)

    return draw(path, (max(4.6, 2.6 * columns), 2.35 * rows + 0.9), paint, png=png)


def _panel(axes: Axes, rows: Sequence[Entry], result: Entry) -> None:
    """Metrics of one disturbance by strength; dashed lines are those of the undisturbed windows."""
    place = list(range(len(rows)))
    named = any(isinstance(row["strength"], str) for row in rows)
    for shift, (name, marker) in zip((-0.08, 0.0, 0.08), zip(METRICS, MARKERS, strict=False), strict=True):
        entries = [row["metrics"][name] for row in rows]
        value = [float("nan") if entry["value"] is None else entry["value"] for entry in entries]
        low, high = (
            [own if entry[key] is None else entry[key] for entry, own in zip(entries, value, strict=True)]
            for key in ("ci_low", "ci_high")
        )
        moved = [each + shift for each in place]
        # Names have no order, so no line joins them.
        line = "" if named else "-"
        axes.plot(moved, value, color=COLOURS[name], marker=marker, ms=4, lw=1.4, ls=line, label=TITLES[name])
        axes.vlines(moved, low, high, color=COLOURS[name], lw=1)
        clean = result["undisturbed"][name]["value"]
        if clean is not None:
            label = "undisturbed" if name == METRICS[-1] else None
            axes.axhline(clean, color=COLOURS[name], lw=1, ls=(0, (2, 2)), zorder=1, label=label)
    unit = rows[0]["unit"]
    axes.set_title(rows[0]["title"] + (f", {unit}" if unit else ""))
    texts = [row["strength"] if isinstance(row["strength"], str) else f"{row['strength']:g}" for row in rows]
    axes.set_xticks(place, texts, fontsize=8 if named else None)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.grid(False, axis="x")
