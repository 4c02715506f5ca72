"""Results, errors and the log of the library on the terminal: the only module that prints.

Every line is made printable first (`text`), because it may hold text of a file.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ecgtune.errors import RunError
from ecgtune.text import one_line, printable


class _ToStderr(logging.Handler):
    """Prints records to the current stderr, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(self.format(record))


def prepare_streams() -> None:
    """Escape characters that the encoding of stdout or stderr lacks, and text of files in tracebacks.

    A stream that the caller has closed (`2>&-`) becomes the null device. Else the next file that is opened would have
    its number, and `print` would take stdout for a stderr that is None.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)  # the lowest free number, which may be this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # until the end
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by an object of another kind
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.excepthook = _show_traceback


def show_log(level: int) -> None:
    """Print the log of the library from `level` on, Python's warnings, and those of other libraries, to stderr."""
    logging.captureWarnings(True)
    logging.lastResort = _ToStderr(logging.WARNING)  # Python's own does not escape text of files
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns about a home that cannot be written
    for name in ("ecgtune", "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        if not any(isinstance(handler, _ToStderr) for handler in logger.handlers):
            logger.addHandler(_ToStderr())


def say(*lines: str) -> None:
    """Print lines to stdout. Raises RunError when it cannot be written, such as for a full disk."""
    with to_stdout():
        for line in lines:
            print(printable(line))


def complain(text: str) -> None:
    """Print one line to stderr; if that cannot be written, nothing else can be written either."""
    with suppress(OSError):
        print(one_line(text), file=sys.stderr, flush=True)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Turn the error of a stdout that cannot be written into a RunError, where the body does nothing but print."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(
            f"standard output cannot be written ({error.strerror or error}); files that were written are kept"
        ) from None


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    with suppress(OSError):
        for line in traceback.format_exception(kind, error, trace):
            print(printable(line, lines=True), end="", file=sys.stderr)


def print_comparison(results: dict[str, Any], out: Path) -> None:
    """Print the table of a comparison, as wide as the terminal, the method to take, and where the report is."""
    from rich.console import Console

    from ecgtune.reporting.recommendation import load_line, recommendation_sentences
    from ecgtune.reporting.tables import terminal_table

    console = Console()
    with to_stdout():
        console.print(terminal_table(results, console.width))
    line = load_line(results, out.as_posix())
    say(*recommendation_sentences(results), *([f"  {line}"] if line else []), f"report: {out / 'report.html'}")


def print_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under a header, in columns as wide as their longest cell."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    say(*("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table))
