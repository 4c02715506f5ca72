"""Augmented copies of the training windows that are made beforehand, so that a frozen encoder runs once for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgtune.training.batches import Inputs, Windows

Augment = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


@dataclass(frozen=True)
class Views:
    """Augmented when they are read: row `copy * windows + row` is window `row` as epoch `copy` would show it.

    inputs: the windows (windows, leads, samples). A function of rows and seed alone, like the augmentation itself.
    """

    inputs: Inputs
    augment: Augment
    seed: int
    copies: int

    @property
    def shape(self) -> Sequence[int]:
        return (len(self), *self[:1].shape[1:])

    def __len__(self) -> int:
        return self.copies * len(self.inputs)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        places = np.arange(len(self))[index]
        copies, rows = np.divmod(places, len(self.inputs))
        shown = {
            copy: self.augment(self.inputs[rows[copies == copy]], rows[copies == copy], self.seed, int(copy))
            for copy in np.unique(copies)
        }
        answer = np.empty((len(places), *next(iter(shown.values())).shape[1:]), np.float32)
        for copy, windows in shown.items():
            answer[copies == copy] = windows
        return answer


def views_of(windows: Windows, augment: Augment, *, seed: int, copies: int) -> Windows:
    """`copies` of `windows`, signals, one behind the other; labels are repeated."""
    repeated = np.tile(windows.label, (copies, *[1] * (windows.label.ndim - 1)))
    return Windows(Views(windows.inputs, augment, seed, copies), repeated)
