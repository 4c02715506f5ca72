"""The time that an auto has spent, over all commands in its folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ecgtune.training.callbacks import Callback
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import is_there, read_json
from ecgtune.workflows.auto.schemas import Spent

FILE = "spent.json"
_EVERY = 5.0  # seconds between two writes
_SLOWEST = 8.0
_AGAIN = "remove it and rerun, which counts the time from 0 again"


class Budget(Callback):
    """Clock of an auto: `spent` seconds so far, of `seconds`; spent.json keeps them when the command is killed.

    As a callback of a training it also keeps the progress bar up to date, which is in seconds of the budget.
    """

    def __init__(self, out: Path, progress: ProgressBar) -> None:
        self._file, self._progress = out / FILE, progress
        self._before = read_json(self._file, Spent, _AGAIN)["seconds"] if is_there(self._file) else 0.0
        self._started = self._written = time.monotonic()
        self._computed = time.process_time()
        self._shown = 0.0
        self.seconds = 0.0

    def limit(self, seconds: float) -> None:
        """Set the budget, which may be spent already."""
        self.seconds = seconds
        self._progress.expect(seconds)
        self.tick()

    @property
    def spent(self) -> float:
        return self._before + time.monotonic() - self._started

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    @property
    def slowdown(self) -> float:
        """Seconds that a second of computing takes on a machine that does other work too, 1 to `_SLOWEST`."""
        computed = time.process_time() - self._computed
        taken = time.monotonic() - self._started
        return min(_SLOWEST, max(1.0, taken / computed)) if computed > _EVERY else 1.0

    def tick(self, *, now: bool = False) -> None:
        """Show the time, and write it where the last writing was a while ago, or `now`."""
        spent = self.spent
        if self.seconds:
            self._progress.advance(spent - self._shown)
            self._shown = spent
        if now or time.monotonic() - self._written > _EVERY:
            self._written = time.monotonic()
            write_json(self._file, {"seconds": spent})

    def on_step_end(self, step: int) -> None:
        self.tick()


class Deadline(Callback):
    """Ends a training `seconds` after it began, at the next step; its validation follows.

    steps: optimizer steps after which each phase (the head alone, then the method) ends instead, which repeats a
    training that was ended. `steps` is then the number of each so far, and `ended` whether it ended one.
    """

    def __init__(self, seconds: float, steps: Sequence[int] | None = None) -> None:
        self._seconds, self._end, self._most = seconds, 0.0, steps
        self.steps: list[int] = []
        self.ended = False

    def on_train_begin(self, done: int, total: int) -> None:
        self._end = self._end or time.monotonic() + self._seconds
        self.steps.append(done)

    def on_step_end(self, step: int) -> None:
        self.steps[-1] = step + 1

    @property
    def ends_training(self) -> bool:
        phase = len(self.steps) - 1
        if self._most is None:
            ends = time.monotonic() >= self._end
        else:
            ends = phase < len(self._most) and self.steps[phase] >= self._most[phase]
        self.ended |= ends
        return ends
