"""Progress bar with the remaining time, and the logger of the library."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ecgtune.text import printable
from ecgtune.utils import formatting

#: Logger of the library. It is silent unless the caller adds a handler, as the command line does.
LOGGER = logging.getLogger("ecgtune")
LOGGER.addHandler(logging.NullHandler())


class ProgressBar:
    """Progress bar over units of work (windows through the model), with the elapsed and the remaining time.

    It is shown on a terminal, unless the level of the logger `ecgtune` is above INFO. `shown=False` disables it and its
    log lines: for work inside other work that has a bar.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown and LOGGER.level <= logging.INFO
        console = Console(file=sys.stderr, quiet=not self._shown)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not (self._shown and console.is_terminal),
        )
        self._task: TaskID = self._bar.add_task("", total=None)
        self._total = self._done = 0.0
        self._started = time.monotonic()

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def left(self) -> str:
        """Remaining time at the current speed, such as ", about 2 min left"; "" if it is unknown."""
        if not 0 < self._done < self._total:
            return ""
        seconds = (time.monotonic() - self._started) * (self._total - self._done) / self._done
        return f", about {formatting.duration(seconds)} left"

    def expect(self, units: float) -> None:
        """Add `units` to the total work."""
        if not self._done:
            self._started = time.monotonic()  # excludes earlier checks from the measured speed
        self._total += units
        self._bar.update(self._task, total=self._total)

    def advance(self, units: float) -> None:
        self._done += units
        self._bar.update(self._task, advance=units)

    def count(self, done: int, total: int) -> None:
        """Show that `done` of `total` units of work are done, where nothing else moves the bar."""
        if not self._total:
            self.expect(total)
        self.advance(done - self._done)

    def describe(self, text: str) -> None:
        """Set the text left of the bar."""
        self._bar.update(self._task, description=printable(text))

    def note(self, text: str) -> None:
        """Log a line, with text of files escaped, unless it is empty."""
        if text and self._shown:
            LOGGER.info("%s", printable(" ".join(text.splitlines())))
