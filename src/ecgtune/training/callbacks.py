"""Callbacks of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune.utils.progress import ProgressBar


class Callback:
    """Base class of callbacks of `train`; every hook does nothing by default.

    A callback must not change the model, because a resumed training would then differ from an uninterrupted one.
    """

    def on_train_begin(self, done: int, total: int) -> None:
        """Called before the first step; `done` of `total` optimizer steps were run before a resume."""

    def on_step_end(self, step: int) -> None:
        """Called after optimizer step `step`, counted from 0 over the whole training."""

    def on_epoch_end(self, row: Mapping[str, Any], sentence: str) -> None:
        """Called after an epoch was validated and saved. row: its line of log.jsonl; sentence: a summary of it."""

    def on_train_end(self, left: int) -> None:
        """Called after the last step; `left` optimizer steps were skipped by early stopping."""

    @property
    def ends_training(self) -> bool:
        """Whether the training ends here; asked before each step. The epoch is validated as far as it went."""
        return False


class ProgressCallback(Callback):
    """Advance `bar` by `units` per step; log one line per epoch, which begins with `title`, with the remaining time."""

    def __init__(self, bar: ProgressBar, title: str, units: float) -> None:
        self._bar, self._title, self._units = bar, title, units

    def on_train_begin(self, done: int, total: int) -> None:
        self._bar.advance(done * self._units)

    def on_step_end(self, step: int) -> None:
        self._bar.advance(self._units)

    def on_epoch_end(self, row: Mapping[str, Any], sentence: str) -> None:
        self._bar.note(f"{self._title}: {sentence}{self._bar.left}")

    def on_train_end(self, left: int) -> None:
        self._bar.advance(left * self._units)
