"""Names that files give to classes and methods, in tables, figures, reports and cards."""

import io
import json
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from ecgtune.reporting.tables import terminal_table
from ecgtune.reporting.writing import write_comparison, write_run

ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize(
    ("negative", "positive", "title"),
    [
        ("$\\frac{$", "_x^{\x1b[31m", "_LoRA $a_{"),
        ("שלום 心房 \u202egnp.exe", "مرحبا\nerror: fake line", "[bold]LoRA[/] <script>"),
        pytest.param("a" * 200, "b " * 100, "L" * 200, marks=pytest.mark.slow),
        pytest.param("*AF*|`x`", "=cmd|' /C calc'!A0", "", marks=pytest.mark.slow),
    ],
)
def test_any_name_is_shown_as_text(make_comparison, tmp_path, negative, positive, title):
    results = make_comparison(tmp_path, names=("full", "lora"))
    renamed = {"sinus rhythm": negative, "fibrillation": positive, "LoRA r16, all linear layers": title}

    def rename(value):
        if isinstance(value, dict):
            return {rename(key): rename(part) for key, part in value.items()}
        if isinstance(value, list):
            return [rename(part) for part in value]
        return renamed.get(value, value)

    for file in tmp_path.rglob("metrics.json"):
        file.write_text(json.dumps(rename(json.loads(file.read_text()))))
    results = rename(results)
    write_comparison(tmp_path, results)
    write_run(tmp_path / "lora/seed-0")
    for file in [*tmp_path.rglob("*.svg"), *tmp_path.rglob("*.html"), *tmp_path.rglob("*.md")]:
        assert not ACTING.search(file.read_text()), file
    drawn = [" ".join(ElementTree.parse(file).getroot().itertext()) for file in tmp_path.rglob("*confusion.svg")]
    assert len(drawn) == 3
    assert all(negative[:4] in text and positive[:2] in text for text in drawn)
    assert "<script>" not in re.sub(r"<script>\s*[\"/(]", "", (tmp_path / "lora/seed-0/report.html").read_text())
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal_table(results, 120))
    shown = console.export_text()
    assert not ACTING.search(shown)
    assert not any(line.startswith("error") for line in shown.splitlines())
