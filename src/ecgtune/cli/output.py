"""Results and the log of the library on the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class _ToStderr(logging.Handler):
    """Prints records to the current stderr, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def show_log() -> None:
    """Print the log of the library to stderr."""
    logger = logging.getLogger("ecgtune")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _ToStderr) for handler in logger.handlers):
        logger.addHandler(_ToStderr())


def print_comparison(results: dict[str, Any], out: Path) -> None:
    """Print the table of a comparison, as wide as the terminal, the method to take, and where the report is."""
    from rich.console import Console

    from ecgtune.reporting.recommendation import load_line, recommendation_sentences
    from ecgtune.reporting.tables import terminal_table

    console = Console()
    console.print(terminal_table(results, console.width))
    for sentence in recommendation_sentences(results):
        print(sentence)
    line = load_line(results, out.as_posix())
    if line:
        print(f"  {line}")
    print(f"report: {out / 'report.html'}")


def print_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under a header, in columns as wide as their longest cell."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
