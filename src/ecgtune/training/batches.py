"""Windows in memory and the order in which an epoch sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ecgtune.methods.split import SplitPoint


class Inputs(Protocol):
    """What of an array the loop uses: an array in memory, a memory map, or windows prepared as they are asked for."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Windows:
    """Prepared windows of one split: `inputs` (windows, ...), what the trained module reads; `label` as in `Dataset`.

    split: None where `inputs` are signals, float32 (windows, leads, samples); else the split point of the model whose
    values they are, see `encode_once`.
    """

    inputs: Inputs
    label: np.ndarray
    split: SplitPoint | None = None

    def __len__(self) -> int:
        return len(self.label)


def tensor_of(inputs: np.ndarray) -> Tensor:
    """The array as a tensor that shares its memory; int16 holds the bits of bfloat16, for which numpy has no name."""
    tensor = torch.from_numpy(inputs)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor


def array_of(tensor: Tensor) -> np.ndarray:
    """The inverse of `tensor_of`, for tensors on the CPU."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


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
