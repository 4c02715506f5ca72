"""One progress bar with the remaining time on a terminal; what stays is logged."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ecgtune.utils import formatting

#: The log of the library. Nothing of it is shown unless the caller adds a handler, as the command line does.
LOGGER = logging.getLogger("ecgtune")
LOGGER.addHandler(logging.NullHandler())


class ProgressBar:
    """Counts units of work (windows through the model) over everything the user waits for.

    `quiet` shows and logs nothing. On a terminal one bar shows the fraction done and the time left.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        console = Console(file=sys.stderr, quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=quiet or not console.is_terminal,
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
        """Words for the remaining time at the speed so far, such as ", about 2 min left"; "" while it is unknown."""
        if not 0 < self._done < self._total:
            return ""
        seconds = (time.monotonic() - self._started) * (self._total - self._done) / self._done
        return f", about {formatting.duration(seconds)} left"

    def expect(self, units: float) -> None:
        """Add `units` of work to what is to be done."""
        if not self._done:
            self._started = time.monotonic()  # what was checked before is no measure of the speed
        self._total += units
        self._bar.update(self._task, total=self._total)

    def advance(self, units: float) -> None:
        self._done += units
        self._bar.update(self._task, advance=units)

    def describe(self, text: str) -> None:
        """Say what is being done now, left of the bar."""
        self._bar.update(self._task, description=text)

    def note(self, text: str) -> None:
        """Log a line, unless it is empty."""
        if text and not self._quiet:
            LOGGER.info(text)
