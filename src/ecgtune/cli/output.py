"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def print_comparison(results: dict[str, Any], out: Path) -> None:
    """Print the table of a comparison, as wide as the terminal, and where its report is."""
    from rich.console import Console

    from ecgtune.reporting.tables import terminal_table

    console = Console()
    console.print(terminal_table(results, console.width))
    print(f"report: {out / 'report.html'}")


def print_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under a header, in columns as wide as their longest cell."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
