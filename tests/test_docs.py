"""Links in the docs exist, and sentences about results agree with the files."""

import json
import re
from pathlib import Path

import ecgtune
from ecgtune.models.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ENCODERS = ROOT / "docs" / "encoders.md"
PAGES = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), RESULTS / "README.md"]


def test_links_lead_to_files():
    broken = [
        (page.name, link)
        for page in PAGES
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def table_of_encoders() -> str:
    """The content of `ecgtune models` in short; `python tests/test_docs.py` writes them."""
    rows = ["| name | network | weights | leads | input | licence | from |", "|---|---|---|---|---|---|---|"]
    for model in ecgtune.list_models():
        if not MODELS[model.name].architecture.__module__.startswith("ecgtune."):
            continue  # of another test
        taken = f"{model.sampling_rate:g} Hz" + ("" if model.seconds is None else f", {model.seconds:g} s")
        licence = f"{model.licence}: {model.terms.partition(';')[0]}" if model.terms else model.licence
        rows.append(
            f"| `{model.name}` | {model.description} | {model.parameters / 1e6:.1f} M | {len(model.leads) or 'any'} |"
            f" {taken} | {licence} | {model.source.partition(' ')[0]} |"
        )
    return "\n".join(["<!-- models -->", *rows, "<!-- end of models -->"])


def test_the_page_lists_the_encoders():
    assert table_of_encoders() in ENCODERS.read_text("utf-8")


def test_normalisations_have_the_accuracy_that_the_page_states():
    results = json.loads((RESULTS / "simulated-normalisation" / "results.json").read_text())
    zscore, whole, none = results["rows"]
    assert [row["method"] for row in results["rows"]] == ["zscore", "global", "none"]
    assert whole["metrics"]["accuracy"]["values"] == zscore["metrics"]["accuracy"]["values"]
    difference = none["difference"]["accuracy"]
    assert difference["ci_low"] <= 0 <= difference["ci_high"]


def test_every_file_of_results_is_in_the_list():
    listed = (RESULTS / "README.md").read_text("utf-8")
    for file in (file for file in RESULTS.iterdir() if file.is_file()):
        name = re.sub(r"-(tiny-|full-)?(amx|avx2|avx512|avx512-bf16|cuda-\w+)(?=\.)", "-KIND", file.name)
        assert file.name == "README.md" or f"`{name}`" in listed, file.name


if __name__ == "__main__":
    page = ENCODERS.read_text("utf-8")
    ENCODERS.write_text(re.sub(r"<!-- models -->.*<!-- end of models -->", table_of_encoders(), page, flags=re.DOTALL))
