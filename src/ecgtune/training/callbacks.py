"""Hooks of the training loop: what else happens when it begins, after a step, after an epoch, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune.utils.progress import ProgressBar


class Callback:
    """Base of the hooks that `train` calls; each does nothing unless it is overridden.

    A callback reads and reports. It must not change the model, or a resumed training ends on other numbers.
    """

    def on_train_begin(self, done: int, total: int) -> None:
        """Before the first step: a resumed training has `done` of `total` optimizer steps behind it."""

    def on_step_end(self, step: int) -> None:
        """After optimizer step `step`, from 0 over the whole training."""

    def on_epoch_end(self, row: Mapping[str, Any], sentence: str) -> None:
        """After an epoch was validated and saved. row: its line of log.jsonl; sentence: the same in a few words."""

    def on_train_end(self, left: int) -> None:
        """After the last step; early stopping leaves `left` optimizer steps out."""


class ProgressCallback(Callback):
    """Moves `bar` by `units` for each step; logs a line per epoch that begins with `title`, with the time left."""

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
