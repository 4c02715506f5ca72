"""table.csv, table.md and the terminal table."""

import copy
import csv
import io

import pytest
from rich.console import Console

from ecgtune.reporting.tables import table_columns, table_csv, table_markdown, table_notes, terminal_table

EIGHT = ["Method", "Epochs", "LR", "Accuracy", "Precision", "Recall", "F1", "Trainable %"]


def terminal(results, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(terminal_table(results, width))
    return console.file.getvalue()


def cells(markdown):
    return [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")]


def test_csv_holds_the_numbers(results):
    rows = list(csv.DictReader(io.StringIO(table_csv(results))))
    assert list(rows[0])[:9] == [*EIGHT, "AUROC"]
    assert [row["Key"] for row in rows] == ["full", "adapter", "lora", "probe", "majority", "resnet"]
    for row, expected in zip(rows, results["rows"], strict=True):
        for title, name in (("Accuracy", "accuracy"), ("F1", "f1"), ("MCC", "mcc")):
            for part, column in (("mean", title), ("std", f"{title}_std"), ("ci_low", f"{title}_ci_low")):
                value = expected["metrics"][name][part]
                assert row[column] == "n/a" if value is None else float(row[column]) == pytest.approx(value, rel=1e-8)
        assert float(row["Trainable %"]) == pytest.approx(100 * expected["trainable_fraction"])
        assert (row["Weights"], row["Split by"]) == (results["weights"], results["split"]["unit"])
        assert float(row["Accuracy difference_ci_low"]) == pytest.approx(expected["difference"]["accuracy"]["ci_low"])
    assert rows[4]["Precision"] == rows[4]["Epochs"] == "n/a"


def test_markdown_table(results):
    header, _rule, *rows = cells(table_markdown(results))
    assert header[:8] == EIGHT
    assert header[8:] == ["AUROC", "s/epoch", "Peak memory", "File size", "Δ accuracy vs full"]
    assert [row[0] for row in rows].index("**Baselines**") == 4
    full = results["rows"][0]["metrics"]["accuracy"]
    assert rows[0][3] == f"{full['mean']:.3f} ± {full['std']:.3f}"
    assert rows[0][-1] == "reference"
    low = results["rows"][2]["difference"]["accuracy"]["ci_low"]
    assert f"({low:+.3f} to " in rows[2][-1]
    assert {len(row) for row in rows if row[0] != "**Baselines**"} == {13}


@pytest.mark.parametrize("width", [80, 100, 170])
def test_terminal_table_fits_and_is_complete(results, width):
    text = terminal(results, width)
    assert max(map(len, text.splitlines())) <= width
    for row in results["rows"]:
        assert f"{row['metrics']['accuracy']['mean']:.3f}" in text
        assert (row["title"].split()[0] if width >= 110 else row["method"]) in text
    flat = " ".join(text.split())
    for title in table_columns(results):
        assert all(word in flat for word in title.split())
    assert flat.count("Method ") == (1 if width == 170 else 2)
    assert "random (seed 0)" in flat


def test_notes_stand_under_every_table(results):
    notes = table_notes(results)
    assert notes[: len(results["notes"])] == results["notes"]
    text = " ".join(notes)
    for part in ("random (seed 0)", "0.5, fixed", "bootstrap intervals over test records", "240 windows of 40 records"):
        assert part in text
    assert "—" not in table_markdown(results)
    assert text.count(notes[-1]) == 1
    assert table_markdown(results).count("\n- ") == len(notes)


def test_without_a_reference_there_is_no_difference_column(results):
    alone = copy.deepcopy(results) | {"reference": None}
    for row in alone["rows"]:
        row["difference"] = None
    assert not any(title.startswith("Δ") for title in table_columns(alone))
    assert not any("Δ" in note for note in table_notes(alone))
    assert next(csv.DictReader(io.StringIO(table_csv(alone))))["Accuracy difference"] == "n/a"


def test_split_by_row_is_about_windows(make_comparison, tmp_path):
    results = make_comparison(tmp_path, names=("full", "probe"), grouped=False)
    text = " ".join(table_notes(results))
    assert "Split by row" in text
    assert "intervals over test windows" in text
    assert "240 windows, 120 positive (fibrillation)" in text
    assert all(row["group_metrics"] is None for row in results["rows"])


def test_titles_cannot_break_the_markdown(results):
    hostile = copy.deepcopy(results)
    hostile["rows"][0]["title"] = "a | b\n<script>*x*"
    header, _rule, first, *_ = table_markdown(hostile).splitlines()
    assert first.replace("\\|", "").count("|") == header.count("|")
    assert "\\<script\\>" in first


def test_the_note_on_too_few_stands_where_a_shown_interval_has_the_mark(results):
    marked = copy.deepcopy(results)
    for row in marked["rows"]:
        row["metrics"]["accuracy"]["too_few"] = True  # the table shows its standard deviation, not its interval
    assert "too few" not in table_markdown(marked).casefold()
    next(row for row in marked["rows"] if row["method"] == "probe")["difference"]["accuracy"]["too_few"] = True
    assert "too few" in table_markdown(marked)
    assert any(note.startswith("Too few: all resamples agree") for note in table_notes(marked))
