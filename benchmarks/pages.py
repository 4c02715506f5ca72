"""Tables of docs/performance.md and of results/README.md (trained models) from the result files.

    python benchmarks/pages.py

rewrites all tables. Each benchmark also does so at its end.
"""

import csv
import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ecgtune.utils import formatting
from ecgtune.utils.files import json_value, write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
#: Name of a section of the page -> result files, and the module whose function `table` formats them.
SECTIONS = {
    "speed": ("speed-*.json", "bench"),
    "methods": ("methods-*.json", "methods"),
    "growth": ("growth-*.json", "growth"),
    "epoch": ("epoch-*.json", "epoch"),
    "micro": ("micro-*.json", "micro"),
    "int8": ("int8-*.json", "int8"),
    "export": ("export-*.json", "export"),
    "browser": ("browser-*.json", "browser"),
    "startup": ("startup-*.json", "startup"),
    "reading": ("reading-*.json", "reading"),
    "memory": ("memory-*.json", "memory"),
    "plan": ("plan-*.json", "plan"),
}
NOT_MEASURED = "Not measured yet.\n"
#: The study of methods, and the rows of it that open the page of results.
STUDY = ROOT / "studies" / "peft" / "results"
TRAINED = ("full", "lora", "oft", "side", "probe", "resnet")
TASKS = {"abnormal": "normal against abnormal", "fibrillation": "atrial fibrillation against the rest"}


def contents() -> dict[str, str]:
    """Return the Markdown of each section of docs/performance.md: one table per kind of processor."""
    for folder in (RESULTS.parent, RESULTS.parent / "speed"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    found = {}
    for section, (pattern, module) in SECTIONS.items():
        table = importlib.import_module(module).table
        found[section] = "\n".join(table(json_value(file)) for file in sorted(RESULTS.glob(pattern))) or NOT_MEASURED
    return found


def trained() -> str:
    """Return a Markdown table of accuracy and AUROC of trained models on the study's test windows, with all labels."""
    with (STUDY / "statistics.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["study"], row["fraction"]) == ("methods", "1")]
    cells = {(row["task"], row["variant"], row["metric"]): row for row in rows if row["variant"] == row["reference"]}
    with (STUDY / "runs.csv").open(newline="", encoding="utf-8") as file:
        runs = [row for row in csv.DictReader(file) if (row["study"], row["fraction"]) == ("methods", "1")]
    fraction = {row["variant"]: formatting.percent(float(row["trainable_fraction"])) for row in runs}

    def score(task: str, name: str, metric: str) -> str:
        cell = cells[task, name, metric]
        low, high = (float(cell[f"ci_{end}"]) for end in ("low", "high"))
        return f"{float(cell['value']):.3f} ({low:.3f} to {high:.3f})"

    lines = [
        (
            f"`{name}`",
            fraction[name],
            *(score(task, name, metric) for task in TASKS for metric in ("accuracy", "auroc")),
        )
        for name in TRAINED
    ]
    header = [f"{title}: {metric}" for title in TASKS.values() for metric in ("accuracy", "AUROC")]
    return markdown(("method", "trainable %", *header), lines)


def update() -> None:
    """Write every section of docs/performance.md, and the table of results/README.md."""
    for section, text in contents().items():
        replace_section(PAGE, section, text)
    replace_section(RESULTS / "README.md", "trained", trained())


def replace_section(page: Path, name: str, text: str) -> None:
    """Replace the text between the lines `<!-- name -->` and `<!-- end of name -->` of `page`."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = page.read_text(encoding="utf-8").split(start)
    write_text(page, before + start + text + end + rest.split(end)[1])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def amount(value: float | None, unit: str = "s") -> str:
    """Format a measured value with its unit: "s", "bytes" or "records/s"."""
    if value is None:
        return "not measured"
    if unit == "bytes":
        return formatting.size(value)
    if unit == "records/s":
        return f"{value:.3g} records/s"
    if value >= 1:
        return f"{value:.1f} s"
    return f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"


def times(value: float | None) -> str:
    """Format a ratio: "1.56x"."""
    return "" if value is None else f"{value:.3g}x" if value < 1000 else f"{value:,.0f}x"


if __name__ == "__main__":
    update()
