"""Augmented copies of the training windows, so that a frozen encoder runs once per copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgtune.training.batches import Augment, Inputs, Windows


@dataclass(frozen=True)
class AugmentedCopies:
    """Lazily augmented windows: row `copy * windows + row` is window `row` as augmented in epoch `copy`.

    inputs: the windows (windows, leads, samples). A row depends only on its index and the seed.
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
        copies, rows = np.divmod(np.arange(len(self))[index], len(self.inputs))
        augmented = {
            copy: self.augment(self.inputs[rows[copies == copy]], rows[copies == copy], self.seed, int(copy))
            for copy in np.unique(copies)
        }
        result = np.empty((len(rows), *next(iter(augmented.values())).shape[1:]), np.float32)
        for copy, windows in augmented.items():
            result[copies == copy] = windows
        return result


def augmented_copies(windows: Windows, augment: Augment, *, seed: int, copies: int) -> Windows:
    """Return `copies` concatenated augmented copies of `windows` (signals), with repeated labels."""
    repeated = np.tile(windows.label, (copies, *[1] * (windows.label.ndim - 1)))
    return Windows(AugmentedCopies(windows.inputs, augment, seed, copies), repeated)
