"""The comparison table as CSV, Markdown and terminal text, and the notes that belong under it."""

import csv
import io
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ecgtune.evaluation.metrics import METRICS
from ecgtune.reporting.tasks import lead_of, lead_title, mean_note, metric_titles, task_of
from ecgtune.utils import formatting
from ecgtune.utils.formatting import MISSING

Row = dict[str, Any]

# Widths of a terminal in characters.
ONE_TABLE_FROM = 150
SHORT_NAMES_BELOW = 110


def _metric(name: str) -> Callable[[Row], str]:
    return lambda row: formatting.with_std(row["metrics"][name])


def difference_text(row: Row, results: dict[str, Any]) -> str:
    """`+0.012 (-0.004 to +0.028)`, `reference` in the reference's own row, `n/a` without a reference."""
    if row["difference"] is None:
        return MISSING
    if row["method"] == results["reference"]:
        return "reference"
    entry = row["difference"][lead_of(results)]
    return f"{formatting.signed(entry['value'])} ({formatting.signed_interval(entry)})"


#: Metrics of the table before the costs; AUROC comes after the share of trainable weights.
_BEFORE_COSTS = ("accuracy", "precision", "recall", "f1")


def metric_columns(results: dict[str, Any]) -> dict[str, str]:
    """Which metric each column of scores holds: title -> name."""
    titles = metric_titles(results)
    shown = [*_BEFORE_COSTS, "auroc", *(name for name in titles if name not in METRICS)]
    return {titles[name]: name for name in shown}


def table_columns(results: dict[str, Any]) -> dict[str, Callable[[Row], str]]:
    """Title and text of every column, in the order of the table; each function takes a row of results.json."""
    titles = metric_titles(results)
    scores = {title: _metric(name) for title, name in metric_columns(results).items()}
    early = {titles[name]: scores.pop(titles[name]) for name in _BEFORE_COSTS}
    columns: dict[str, Callable[[Row], str]] = {
        "Method": lambda row: row["title"],
        "Epochs": lambda row: formatting.count(row["epochs"]),
        "LR": lambda row: formatting.rate(row["learning_rate"]),
        **early,
        "Trainable %": lambda row: formatting.percent(row["trainable_fraction"]),
        **scores,
        "s/epoch": lambda row: formatting.seconds(row["seconds_per_epoch"]),
        "Peak memory": lambda row: formatting.size(row["peak_memory_bytes"]),
        "File size": lambda row: formatting.size(row["file_bytes"]),
    }
    if results["reference"] is not None:
        columns[f"Δ {lead_title(results)} vs {results['reference']}"] = lambda row: difference_text(row, results)
    return columns


def table_notes(results: dict[str, Any]) -> list[str]:
    """The comparison's own notes, then what its columns mean."""
    test = results["split"]["counts"]["test"]
    unit = unit_name(results["split"])
    binary = task_of(results) == "binary"
    positive = f", {formatting.count(test['positives'])} positive" if binary else ""
    of_groups = f" of {formatting.count(test['groups'])} {unit}s" if test["groups"] else ""
    notes = [
        *results["notes"],
        f"Measured on the test split ({results['split']['origin']}): {formatting.count(test['windows'])} windows"
        f"{of_groups}{positive}; it was looked at once, after training.",
        "Scores are means over seeds; ± is the standard deviation over seeds.",
        f"Intervals are 95 % percentile bootstrap intervals over test {unit}s; they do not contain the variation "
        "between seeds.",
    ]
    if not binary:
        notes.append(mean_note(results))
    if results["reference"] is not None:
        notes.append(
            f"Δ is the {lead_title(results)} minus that of {results['reference']} on the same resampled {unit}s and "
            "seeds; an interval that includes 0 does not tell the two apart. Intervals are not adjusted for the number "
            "of methods."
        )
    notes.append("n/a: not defined for these predictions, or not measured.")
    return notes


def unit_name(split: dict[str, Any]) -> str:
    """What the bootstrap resamples: "record", "patient" or "window"."""
    return "window" if split["unit"] == "row" else split["unit"]


def pooled_unit(metrics: dict[str, Any]) -> str:
    """What has one answer in the `group` part of metrics.json, "recording" or what is resampled."""
    return metrics["group"].get("of") or unit_name(metrics["split"])


def table_csv(results: dict[str, Any]) -> str:
    """Plain numbers: the table's columns, then spread and interval of every metric, then the method's key."""

    def number(value: float | None, scale: float = 1.0) -> str:
        # Ten digits: more than any reader needs, and 100 * 0.0326 stays 3.26.
        return MISSING if value is None else f"{scale * value:.10g}"

    titles, lead = metric_titles(results), lead_of(results)
    records = []
    for row in results["rows"]:
        metrics = row["metrics"]
        difference = (row["difference"] or {}).get(lead, {"value": None, "ci_low": None, "ci_high": None})
        record = {
            "Method": row["title"],
            "Epochs": number(row["epochs"]),
            "LR": number(row["learning_rate"]),
            **{titles[name]: number(metrics[name]["mean"]) for name in _BEFORE_COSTS},
            "Trainable %": number(row["trainable_fraction"], 100),
            titles["auroc"]: number(metrics["auroc"]["mean"]),
            "s/epoch": number(row["seconds_per_epoch"]),
            "Peak memory bytes": number(row["peak_memory_bytes"]),
            "File bytes": number(row["file_bytes"]),
            f"{titles[lead]} difference": number(difference["value"]),
            f"{titles[lead]} difference_ci_low": number(difference["ci_low"]),
            f"{titles[lead]} difference_ci_high": number(difference["ci_high"]),
            **{titles[name]: number(metrics[name]["mean"]) for name in titles if name not in (*_BEFORE_COSTS, "auroc")},
        }
        for name, title in titles.items():
            for part in ("std", "ci_low", "ci_high"):
                record[f"{title}_{part}"] = number(metrics[name][part])
        record |= {"Key": row["method"], "Kind": row["kind"], "Seeds": str(len(row["seeds"]))}
        # What must not get lost when the file travels alone.
        record |= {"Weights": results["weights"], "Split by": results["split"]["unit"]}
        records.append(record)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def table_markdown(results: dict[str, Any]) -> str:
    """The table as Markdown, baselines in italics under an empty rule row, notes as a list below."""
    columns = table_columns(results)
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join([" :--- "] + [" ---: "] * (len(columns) - 1)) + "|",
    ]
    for kind in ("method", "baseline"):
        rows = [row for row in results["rows"] if row["kind"] == kind]
        if kind == "baseline" and rows:
            lines.append("| **Baselines** |" + " |" * (len(columns) - 1))
        for row in rows:
            lines.append("| " + " | ".join(escape_markdown(text(row)) for text in columns.values()) + " |")
    notes = [f"- {escape_markdown(note)}" for note in table_notes(results)]
    return "\n".join([*lines, "", *notes, ""])


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def terminal_table(results: dict[str, Any], width: int = 100) -> RenderableType:
    """The table for a terminal `width` characters wide, with its notes: one table, or two where one does not fit.

    Below 110 characters, methods go by their short names ("lora"), as on the command line, and AUROC moves down.
    """
    columns = table_columns(results)
    titles, first = list(columns), 9
    if width < SHORT_NAMES_BELOW:
        columns["Method"], first = lambda row: row["method"], 8
    parts = [titles] if width >= ONE_TABLE_FROM else [titles[:first], ["Method", *titles[first:]]]
    tables: list[RenderableType] = [_terminal_part(results, columns, part) for part in parts]
    notes = [Text(f"• {note}", style="yellow" if note in results["notes"] else "dim") for note in table_notes(results)]
    return Group(*tables, *notes)


def _terminal_part(results: dict[str, Any], columns: dict[str, Callable[[Row], str]], titles: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in titles:
        # A word of the title is never cut; "Trainable %" may take two lines.
        longest_word = max(map(len, title.split()))
        justify = "left" if title == "Method" else "right"
        table.add_column(title, justify=justify, overflow="fold", min_width=longest_word)
    previous = None
    for row in results["rows"]:
        if previous == "method" and row["kind"] == "baseline":
            table.add_section()
        previous = row["kind"]
        # Spread and interval go to a second line: side by side they would need a very wide terminal.
        cells = [columns[title](row).replace(" ± ", "\n±").replace(" (", "\n(", 1) for title in titles[1:]]
        table.add_row(Text(columns["Method"](row)), *(Text(cell, justify="right") for cell in cells))
    return table
