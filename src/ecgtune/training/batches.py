"""Windows, the order of an epoch, and class weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ecgtune.methods.split import SplitPoint

#: (inputs, rows, seed, epoch) -> the augmented inputs of these training windows in that epoch.
Augment = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


class Inputs(Protocol):
    """Array interface of the loop: an array in memory, a memory map, or windows that are prepared on access."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Windows:
    """Prepared windows of one split: `inputs` (windows, ...) of the trained module; `label` as in `Dataset`.

    split: None if `inputs` are signals, float32 (windows, leads, samples); else the split point of the model at which
    `precompute` computed them.
    """

    inputs: Inputs
    label: np.ndarray
    split: SplitPoint | None = None

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class TrainingInputs:
    """Windows of a training.

    augment: augmentation of the training windows (`data.WindowAugmentation`). copies: number of augmented copies that
    `training` concatenates (`augmented_copies`); epochs use them in turn. sentence: what is precomputed, or why nothing
    is. place: where precomputed windows are, which may differ in a repeated training and changes no result.
    """

    training: Windows
    validation: Windows
    augment: Augment | None = None
    copies: int = 1
    sentence: str = ""
    place: str = ""


def tensor_of(inputs: np.ndarray) -> Tensor:
    """Return a tensor that shares the memory of the array; int16 holds bfloat16 bits, because numpy lacks the type."""
    tensor = torch.from_numpy(inputs)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor


def array_of(tensor: Tensor) -> np.ndarray:
    """The inverse of `tensor_of`, for tensors on the CPU."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def epoch_order(seed: int, epoch: int, windows: int) -> np.ndarray:
    """Return the order of windows in epoch `epoch` (0, 1, ...), a permutation.

    It depends only on the arguments, so a resumed run has the same batches without a saved generator state.
    """
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(windows)


def class_weight(label: np.ndarray, classes: int, rule: str) -> np.ndarray:
    """Return class weights of the loss, float32 (classes,): ones, or "balanced": windows / (classes x count)."""
    if rule == "none":
        return np.ones(classes, np.float32)
    counts = np.bincount(label, minlength=classes)
    return (len(label) / (classes * np.maximum(counts, 1))).astype(np.float32)
