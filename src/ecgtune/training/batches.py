"""Windows in memory and the order in which an epoch sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Prepared windows of one split: `inputs` float32 (windows, ...), what the trained module reads; `label` as in
    `data.Dataset`."""

    inputs: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.label)


def epoch_order(seed: int, epoch: int, windows: int) -> np.ndarray:
    """The order of epoch `epoch` (0, 1, ...): a permutation of `windows` that depends on the arguments alone.

    A pure function needs no state to be saved, so a resumed run sees the same batches.
    """
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(windows)


def class_weight(label: np.ndarray, classes: int, rule: str) -> np.ndarray:
    """Weight of each class in the loss, float32 (classes,): ones, or "balanced": windows / (classes x count)."""
    if rule == "none":
        return np.ones(classes, np.float32)
    counts = np.bincount(label, minlength=classes)
    return (len(label) / (classes * np.maximum(counts, 1))).astype(np.float32)
