"""Numbers in the docs are those of the results that they name; links lead somewhere."""

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), ROOT / "benchmarks" / "results" / "README.md"])
LINKS = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: str(getattr(value, "name", value)))
def test_links_lead_somewhere(page, link):
    assert (page.parent / link).exists()


def test_normalisation_page_quotes_its_results():
    page = (ROOT / "docs" / "normalisation.md").read_text("utf-8")
    for row in json.loads((ROOT / "benchmarks" / "results" / "normalisation.json").read_text())["rows"]:
        name, *numbers = row.values()
        digits = zip(numbers, (4, 5, 4, 5), strict=True)
        assert f"| {name} | " + " | ".join(f"{number:.{n}f}" for number, n in digits) + " |" in page


def test_normalisation_page_says_what_the_comparison_found():
    results = json.loads((ROOT / "benchmarks" / "results" / "simulated-normalisation" / "results.json").read_text())
    zscore, whole, none = results["rows"]
    assert [row["method"] for row in results["rows"]] == ["zscore", "global", "none"]
    assert whole["metrics"]["accuracy"]["values"] == zscore["metrics"]["accuracy"]["values"]
    assert none["difference"]["accuracy"]["ci_low"] <= 0 <= none["difference"]["accuracy"]["ci_high"]


def test_every_kept_comparison_is_in_the_list_with_its_command():
    listed = (ROOT / "benchmarks" / "results" / "README.md").read_text("utf-8")
    kept = list((ROOT / "benchmarks" / "results").glob("*/results.json"))
    assert kept
    for file in kept:
        assert f"## {file.parent.name}\n\n```\n{json.loads(file.read_text())['command']}\n```" in listed


@pytest.mark.parametrize("name", ["study", "proof"])
def test_pretraining_page_holds_the_tables_of_the_kept_rows(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "pretraining"))
    script, rows = importlib.import_module(name), importlib.import_module("rows")
    kept = rows.read_rows(script.RESULTS / f"{name}.csv")
    assert kept
    shown = script.rows_of_today(kept) if name == "proof" else kept
    assert script.table(shown) in (ROOT / "docs" / "pretraining.md").read_text("utf-8")


def test_pretraining_page_quotes_the_weights_that_ship():
    settings = json.loads((ROOT / "src/ecgtune/models/embedded/ecg-fm-tiny/model.json").read_text())
    assert settings["sha256"] in (ROOT / "docs" / "pretraining.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "speed",
        "plan",
        "tried",
        "lora_epoch",
        "methods",
        "int8",
        "utilisation",
        "plan_full_size",
        "max_memory",
        "growth",
        "records",
    ],
)
def test_performance_page_holds_the_tables_of_the_kept_results(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "speed"))
    table = importlib.import_module("page").contents()[name]
    assert f"<!-- {name} -->\n{table}<!-- end of {name} -->" in (ROOT / "docs" / "performance.md").read_text("utf-8")
