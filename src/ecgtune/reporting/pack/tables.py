"""Tables of the pack as CSV with plain numbers and as LaTeX, both with the source of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecgtune.reporting.calibration import PARTS, TITLES
from ecgtune.reporting.pack.documents import settings, shown_value
from ecgtune.reporting.pack.evidence import Evidence
from ecgtune.reporting.pack.tracked import Ledger, Shown, plain
from ecgtune.reporting.wording import METRIC_TITLES, metric_titles, task_of
from ecgtune.utils import formatting
from ecgtune.utils.csv_cells import csv_text

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True)
class Table:
    """A table: cells are text, tracked numbers, or entries with `value`, `ci_low` and `ci_high`.

    intervals: columns of entries, which take three columns of the CSV and one of LaTeX.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    intervals: frozenset[str] = frozenset()

    def csv(self, ledger: Ledger) -> tuple[str, list[Shown]]:
        """Return the text with plain numbers and the source of each row, and the values in it."""
        header = [
            title
            for column in self.columns
            for title in ([column, f"{column}_ci_low", f"{column}_ci_high"] if column in self.intervals else [column])
        ]
        lines, shown = [[*header, "source"]], []
        for row in self.rows:
            cells = [
                text
                for column, cell in zip(self.columns, row, strict=True)
                for text in (_parts(cell) if column in self.intervals else [_number(cell)])
            ]
            values = [each for cell in cells for each in ledger.in_text(cell) if any(map(str.isdigit, each.text))]
            shown += values
            lines.append([*map(plain, cells), " ".join(dict.fromkeys(str(each.place) for each in values))])
        return csv_text(lines), shown

    def latex(self, ledger: Ledger) -> tuple[str, list[Shown]]:
        """Return a table environment (packages: booktabs), with the sources of a row in a comment behind it."""
        alignment = "l" + "r" * (len(self.columns) - 1)
        lines = [
            r"\begin{table}",
            rf"\caption{{{_escaped(self.caption)}}}\label{{tab:{self.name}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            " & ".join(map(_escaped, self.columns)) + r" \\",
            r"\midrule",
        ]
        shown: list[Shown] = []
        for row in self.rows:
            cells = [_latex_cell(cell) for cell in row]
            values = [each for cell in cells for each in ledger.in_text(cell) if any(map(str.isdigit, each.text))]
            shown += values
            places = " ".join(dict.fromkeys(str(each.place) for each in values))
            # Escaped without marks: their characters stay, but a text inside may change.
            lines.append(" & ".join(_escaped(plain(cell)) for cell in cells) + rf" \\ % {places}".rstrip())
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]), shown


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _parts(entry: Mapping[str, Any] | None) -> list[str]:
    return ["", "", ""] if not entry else [_number(entry.get(name)) for name in ("value", "ci_low", "ci_high")]


def _number(cell: Any) -> str:
    return "" if cell is None else f"{cell:.10g}" if isinstance(cell, float) else shown_text(cell)


def shown_text(cell: Any) -> str:
    """Return a cell as text with marks, texts of files without escapes."""
    return f"{cell}" if isinstance(cell, (str, int, float)) else shown_value(cell)


def _latex_cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Mapping):
        value = formatting.score(cell["value"])
        return f"{value} ({formatting.interval(cell)})" if "ci_low" in cell else value
    return formatting.significant(cell) if isinstance(cell, float) else shown_text(cell)


def pack_tables(evidence: Evidence) -> list[Table]:
    """Return the tables whose facts are there."""
    metrics, facts = evidence.run.metrics, evidence.facts
    tables = [_performance(metrics), _data(metrics)]
    if "labels" in metrics["window"]:
        tables.append(_labels(metrics))
    if facts["calibration"]:
        tables.append(_calibration(facts["calibration"]))
    if facts["external"]:
        tables += _external(facts["external"])
    if facts["stress"]:
        tables.append(_stress(facts["stress"]))
    return [*tables, Table("settings", "Every setting of the run.", ("Setting", "Value"), settings(evidence))]


def _performance(metrics: Mapping[str, Any]) -> Table:
    levels = {"Windows": metrics["window"]}
    if "reason" not in metrics["group"]:
        levels[f"{str(metrics['group']['of']).capitalize()}s"] = metrics["group"]
    titles = metric_titles(dict(metrics))
    rows = [
        [titles[name], *(level["metrics"].get(name) for level in levels.values())]
        for name in metrics["window"]["metrics"]
    ]
    caption = "Performance on the test split, with 95 % intervals."
    return Table("performance", caption, ("Metric", *levels), rows, frozenset(levels))


def _labels(metrics: Mapping[str, Any]) -> Table:
    names = ("auroc", "auprc", "f1", "recall", "specificity")
    titles = [METRIC_TITLES[name] for name in names]
    rows = [
        [label, *((entry["metrics"] or {}).get(name) for name in names)]
        for label, entry in metrics["window"]["labels"].items()
    ]
    caption = "Performance on the test windows per class or label, with 95 % intervals."
    return Table("labels", caption, ("Class", *titles), rows, frozenset(titles))


def _data(metrics: Mapping[str, Any]) -> Table:
    counts = metrics["split"]["counts"]
    binary = task_of(dict(metrics)) == "binary"
    columns = ("Split", "Windows", "Groups", *(("Positive",) if binary else ()))
    rows = [
        [name, part["windows"], part.get("groups"), *((part["positives"],) if binary else ())]
        for name, part in counts.items()
    ]
    return Table("data", f"Windows of each split; groups: {metrics['split']['unit']!s}s.", columns, rows)


def _calibration(content: Mapping[str, Any]) -> Table:
    sides = {"Uncalibrated": content["before"], "Calibrated": content["after"]}
    rows = []
    for name, entry in content["before"]["each"].items():
        for key, title in TITLES.items() if entry else ():
            both = [side and side["each"][name][key] for side in sides.values()]
            rows.append([f"{title}, {name}", *both])
        for key, title in PARTS.items() if entry else ():
            parts = [side and {"value": side["each"][name]["parts"][key]} for side in sides.values()]
            rows.append([f"Brier score, {title.lower()}, {name}", *parts])
    return Table("calibration", "Calibration on the test windows.", ("Measure", *sides), rows, frozenset(sides))


def _external(content: Mapping[str, Any]) -> list[Table]:
    columns, metrics = ("internal", "external", "difference"), metric_titles(dict(content))
    rows = [
        [metrics[name], *(entry[column] for column in columns)] for name, entry in content["window"]["metrics"].items()
    ]
    caption = "Windows of the test split and of the other data, with 95 % intervals."
    found = [Table("external", caption, ("Metric", *columns), rows, frozenset(columns))]
    names = ("auroc", "accuracy", "recall", "specificity")
    titles = [METRIC_TITLES[name] for name in names]
    rows = [
        [f"{column}: {part}", entry["windows"], entry["groups"], *(entry["metrics"][name] for name in names)]
        for column, own in content["subgroups"].items()
        for part, entry in own["parts"].items()
    ]
    if rows:
        caption = "Subgroups of the other data, with 95 % intervals."
        found.append(Table("subgroups", caption, ("Group", "Windows", "Groups", *titles), rows, frozenset(titles)))
    return found


def _stress(content: Mapping[str, Any]) -> Table:
    names = list(content["undisturbed"])
    rows = [["None", "", *(content["undisturbed"][name] for name in names)]]
    rows += [
        [row["title"], f"{row['strength']} {row['unit'] or ''}".strip(), *(row["metrics"][name] for name in names)]
        for row in content["rows"]
    ]
    titles = [METRIC_TITLES.get(name) or name.replace("_", " ").capitalize() for name in names]
    caption = "Test windows under disturbances, with 95 % intervals."
    return Table("stress", caption, ("Disturbance", "Strength", *titles), rows, frozenset(titles))
