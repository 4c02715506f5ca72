"""The comparison table as CSV, Markdown and terminal text, with the notes below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ecgtune.data.positive import stored_positive
from ecgtune.evaluation.metrics import METRICS
from ecgtune.reporting.encoders import PAIR_HEADER, compares_encoders, cost_columns, pair_note, pair_rows
from ecgtune.reporting.recommendation import recommendation_sentences
from ecgtune.reporting.wording import (
    Row,
    evaluations_sentence,
    lead_of,
    lead_title,
    mean_note,
    metric_titles,
    positive_note,
    task_of,
    too_few_note,
    unit_name,
)
from ecgtune.text import printable, printable_values
from ecgtune.utils import formatting
from ecgtune.utils.csv_cells import csv_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Columns = dict[str, Callable[[Row], str]]

# Widths of a terminal in characters.
ONE_TABLE_FROM = 150
SHORT_NAMES_BELOW = 110
#: Columns of calibration: measure and side of `calibration` in a row of results.json.
CALIBRATION = {
    "ECE": ("ece", "after"),
    "ECE uncalibrated": ("ece", "before"),
    "Brier score": ("brier", "after"),
    "Brier score uncalibrated": ("brier", "before"),
    "Log-loss": ("log_loss", "after"),
    "Log-loss uncalibrated": ("log_loss", "before"),
}
#: Metrics in front of the costs; AUROC follows the percentage of trainable weights.
_BEFORE_COSTS = ("accuracy", "precision", "recall", "f1")


def _metric(name: str) -> Callable[[Row], str]:
    return lambda row: formatting.with_std(row["metrics"][name])


def difference_text(row: Row, results: dict[str, Any]) -> str:
    """`+0.012 (-0.004 to +0.028)`, `reference` in the row of the reference, `n/a` without a reference."""
    if row["difference"] is None:
        return formatting.MISSING
    if row["method"] == results["reference"]:
        return "reference"
    entry = row["difference"][lead_of(results)]
    return f"{formatting.signed(entry['value'])} ({formatting.signed_interval(entry)})"


def metric_columns(results: dict[str, Any]) -> dict[str, str]:
    """The metric of each column of scores: title -> name."""
    titles = metric_titles(results)
    shown = [*_BEFORE_COSTS, "auroc", *(name for name in titles if name not in METRICS)]
    return {titles[name]: name for name in shown}


def table_columns(results: dict[str, Any]) -> Columns:
    """Title and text of every column, in the order of the table; each function takes a row of results.json."""
    titles = metric_titles(results)
    scores = {title: _metric(name) for title, name in metric_columns(results).items()}
    early = {titles[name]: scores.pop(titles[name]) for name in _BEFORE_COSTS}
    columns: Columns = {
        "Method": lambda row: row["title"],
        "Epochs": lambda row: formatting.count(row["epochs"]),
        "LR": lambda row: formatting.rate(row["learning_rate"]),
        **early,
        "Trainable %": lambda row: formatting.percent(row["trainable_fraction"]),
        **scores,
        **cost_columns(results),
        "s/epoch": lambda row: formatting.seconds(row["seconds_per_epoch"]),
        "Peak memory": lambda row: formatting.size(row["peak_memory_bytes"]),
        "File size": lambda row: formatting.size(row["file_bytes"]),
    }
    if results["reference"] is not None:
        columns[f"Δ {lead_title(results)} vs {results['reference']}"] = lambda row: difference_text(row, results)
    return columns


def differences(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries of the column of differences, the only one with intervals in `table_columns`."""
    lead = lead_of(results)
    return [
        row["difference"][lead]
        for row in results["rows"]
        if row["difference"] is not None and row["method"] != results["reference"]
    ]


def table_notes(results: dict[str, Any], entries: Iterable[dict[str, Any]] | None = None) -> list[str]:
    """The notes of the comparison, then the meaning of the columns.

    entries: metrics whose intervals are shown; `differences` when not given.
    """
    test = results["split"]["counts"]["test"]
    unit = unit_name(results["split"])
    binary = task_of(results) == "binary"
    positive = f", {formatting.count(test['positives'])} positive ({stored_positive(results)[0]})" if binary else ""
    of_groups = f" of {formatting.counted(test['groups'], unit)}" if test["groups"] else ""
    windows = formatting.counted(test["windows"], "window")
    notes = [
        *results["notes"],
        f"Test split ({results['split']['origin']}): {windows}{of_groups}{positive}. " + evaluations_sentence(results),
        "Scores are means over seeds; ± is the standard deviation over seeds.",
        f"Intervals are 95 % percentile bootstrap intervals over test {unit}s; they do not include the variation "
        "between seeds.",
    ]
    notes.append(positive_note(results) if binary else mean_note(results))
    if results["reference"] is not None:
        notes.append(
            f"Δ is the {lead_title(results)} minus that of {results['reference']}, on the same resampled {unit}s and "
            "seeds; an interval that includes 0 does not separate the two. Intervals are not adjusted for the number "
            "of methods."
        )
    notes += _test_notes(results)
    if compares_encoders(results):
        notes.append(pair_note(results))
    too_few = too_few_note(differences(results) if entries is None else entries)
    return [*notes, *([too_few] if too_few else []), "n/a: not defined for these predictions, or not measured."]


def _test_notes(results: dict[str, Any]) -> list[str]:
    """p-values of the differences in the ranking metric, adjusted for their number, and the interval with seeds."""
    lead = lead_of(results)
    tested = [
        f"{row['method']} {row['difference'][lead]['p_holm']:.2g}"
        for row in results["rows"]
        if row["difference"] and "p_holm" in row["difference"][lead]
    ]
    notes = []
    if tested:
        notes.append(
            f"p-values of the {lead_title(results)} against {results['reference']}, adjusted for their number (Holm): "
            f"{', '.join(tested)}."
        )
    both = [
        f"{row['method']} {formatting.interval(own)}"
        for row in results["rows"]
        if (own := row["metrics"][lead].get("with_seeds")) and row["kind"] == "method"
    ]
    if both:
        unit = unit_name(results["split"])
        notes.append(f"95 % intervals of the {lead_title(results)} over seeds and {unit}s together: {', '.join(both)}.")
    return notes


def table_csv(results: dict[str, Any]) -> str:
    """Plain numbers: the table's columns, then standard deviation and interval of every metric, then the key."""

    def number(value: float | None, scale: float = 1.0) -> str:
        # Ten digits, and 100 * 0.0326 stays 3.26.
        return formatting.MISSING if value is None else f"{scale * value:.10g}"

    titles, lead = metric_titles(results), lead_of(results)
    records = []
    for row in results["rows"]:
        metrics = row["metrics"]
        difference = (row["difference"] or {}).get(lead, dict.fromkeys(("value", "ci_low", "ci_high")))
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
            for key in ("std", "ci_low", "ci_high"):
                record[f"{title}_{key}"] = number(metrics[name][key])
        if results["rows"][0].get("calibration"):
            own = row.get("calibration")
            record |= {title: number(own and own[name][side]) for title, (name, side) in CALIBRATION.items()}
        record |= {"Key": row["method"], "Kind": row["kind"], "Seeds": str(len(row["seeds"]))}
        # Conditions of the numbers, for a file without its folder.
        record |= {"Weights": results["weights"], "Split by": results["split"]["unit"]}
        if task_of(results) == "binary":
            record["Positive class"] = stored_positive(results)[0]
        if compares_encoders(results):
            record |= {"Model": row["model"], "Trained": number(row["trainable"]), "Seconds": number(row["seconds"])}
        records.append(record)
    return csv_text([list(records[0]), *(list(record.values()) for record in records)])


def table_markdown(results: dict[str, Any]) -> str:
    """The table as Markdown: methods, then baselines below a row of their own, then the notes as a list."""
    columns = table_columns(results)
    lines = [
        "| " + " | ".join(map(escape_markdown, columns)) + " |",
        "|" + "|".join([" :--- "] + [" ---: "] * (len(columns) - 1)) + "|",
    ]
    for kind in ("method", "baseline"):
        rows = [row for row in results["rows"] if row["kind"] == kind]
        if kind == "baseline" and rows:
            lines.append("| **Baselines** |" + " |" * (len(columns) - 1))
        for row in rows:
            lines.append("| " + " | ".join(escape_markdown(text(row)) for text in columns.values()) + " |")
    lines += _pair_lines(results)
    lines += _calibration_lines(results)
    take = " ".join(recommendation_sentences(results))
    notes = [f"- {escape_markdown(note)}" for note in table_notes(results)]
    return "\n".join([*lines, "", *([escape_markdown(take), ""] if take else []), *notes, ""])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, whose cells are escaped and whose first column is aligned to the left."""
    lines = ["| " + " | ".join(header) + " |", "| :--- |" + " ---: |" * (len(header) - 1)]
    return [*lines, *("| " + " | ".join(escape_markdown(cell) for cell in row) + " |" for row in rows)]


def _pair_lines(results: dict[str, Any]) -> list[str]:
    """A second table, of differences between encoders; none without several."""
    if not compares_encoders(results):
        return []
    header, rows = (PAIR_HEADER[0], f"Δ {lead_title(results)}", PAIR_HEADER[2]), pair_rows(results)
    return ["", *markdown_table(header, rows)]


def _calibration_lines(results: dict[str, Any]) -> list[str]:
    """A second table, of ECE, Brier score and log-loss before and after calibration; none without them."""
    rows = [row for row in results["rows"] if row.get("calibration")]
    if not rows:
        return []
    lines = ["", "| Calibration | " + " | ".join(CALIBRATION) + " |", "| :--- |" + " ---: |" * len(CALIBRATION)]
    for row in rows:
        cells = [formatting.score(row["calibration"][name][side]) for name, side in CALIBRATION.values()]
        lines.append("| " + " | ".join([escape_markdown(row["title"]), *cells]) + " |")
    return lines


def escape_markdown(text: str) -> str:
    """Text that Markdown shows unchanged, also inside a table."""
    text = " ".join(printable(text, lines=True).split())
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text


def terminal_table(results: dict[str, Any], width: int = 100) -> RenderableType:
    """The table for a terminal `width` characters wide, with its notes: one table, or two for a narrow terminal.

    Below 110 characters, methods have their short names ("lora"), as on the command line, and AUROC moves down.
    """
    from rich.console import Group
    from rich.text import Text

    results = printable_values(results)
    columns = table_columns(results)
    titles, first = list(columns), 9
    if width < SHORT_NAMES_BELOW:
        columns["Method"], first = lambda row: row["method"], 8
    blocks = [titles] if width >= ONE_TABLE_FROM else [titles[:first], ["Method", *titles[first:]]]
    tables: list[RenderableType] = [_terminal_block(results, columns, block) for block in blocks]
    if compares_encoders(results):
        tables.append(_pair_block(results))
    notes = [Text(f"• {note}", style="yellow" if note in results["notes"] else "dim") for note in table_notes(results)]
    return Group(*tables, *notes)


def _pair_block(results: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(*PAIR_HEADER, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for row in pair_rows(results):
        table.add_row(*row)
    return table


def _terminal_block(results: dict[str, Any], columns: Columns, titles: list[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in titles:
        # A word of the title is never cut; "Trainable %" may take two lines.
        longest_word = max(map(len, title.split()))
        justify = "left" if title == "Method" else "right"
        table.add_column(Text(title), justify=justify, overflow="fold", min_width=longest_word)
    previous = None
    for row in results["rows"]:
        if previous == "method" and row["kind"] == "baseline":
            table.add_section()
        previous = row["kind"]
        # Deviation and interval go to a second line: side by side they would need a very wide terminal.
        cells = [columns[title](row).replace(" ± ", "\n±").replace(" (", "\n(", 1) for title in titles[1:]]
        table.add_row(Text(columns["Method"](row)), *(Text(cell, justify="right") for cell in cells))
    return table
