"""Windows through a model without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format
from torch import Tensor, nn

from ecgtune.data.tasks import Task
from ecgtune.errors import SettingError
from ecgtune.methods.split import FrozenPrefix, SplitPoint
from ecgtune.models.classifier import Classifier
from ecgtune.training.batches import Inputs, Windows, array_of, tensor_of
from ecgtune.training.precision import autocast
from ecgtune.utils.files import write_atomically

BATCH = 256
FEATURES = SplitPoint("features")


def choose_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "mps" as a device. Raises SettingError when this machine does not have it."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if present["cuda"] else "mps" if present["mps"] else "cpu")
    if not present.get(name, False):
        here = ", ".join(device for device, there in present.items() if there)
        raise SettingError(f"device {name!r} is not on this machine; here: auto, {here}")
    return torch.device(name)


def logits_of(module: nn.Module, inputs: Inputs, *, batch_size: int = BATCH, precision: str = "fp32") -> np.ndarray:
    """`module(inputs)` in batches, in evaluation mode; float32 `(windows, ...)`. The module's mode is put back."""
    return torch.cat([answer.float() for answer in answers_of(module, inputs, batch_size, precision)]).numpy()


@torch.no_grad()
def answers_of(module: nn.Module, inputs: Inputs, batch_size: int, precision: str) -> Iterator[Tensor]:
    """`module(inputs)` batch by batch on the CPU, in evaluation mode, in the number format in which it comes."""
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    for start in range(0, len(inputs), batch_size):
        batch = tensor_of(np.ascontiguousarray(inputs[start : start + batch_size])).to(device)
        with autocast(device, precision):
            answer = module(batch)
        yield answer.cpu()
    module.train(training)


def encode_once(
    model: Classifier,
    windows: Windows,
    *,
    precision: str = "fp32",
    split: SplitPoint = FEATURES,
    file: Path | None = None,
    batch_size: int = BATCH,
) -> Windows:
    """The windows, signals, as what the part of the model behind `split` reads.

    file: where to keep it, for `training.prefix` to find again; in memory otherwise. Features are float32; tokens and
    states have the number format in which the model goes on with them, so that nothing is rounded that would not be.
    Raises RunError when the file cannot be written.
    """
    prefix = FrozenPrefix(model, split)
    answers = (
        array_of(answer.float() if split.pooled else answer)
        for answer in answers_of(prefix, windows.inputs, batch_size, precision)
    )
    if file is None:
        return Windows(np.concatenate(list(answers)), windows.label, split)
    write_rows(file, answers, len(windows))
    return Windows(np.load(file, mmap_mode="c"), windows.label, split)


def write_rows(file: Path, pieces: Iterator[np.ndarray], rows: int) -> None:
    """Write arrays one after the other into one `.npy` file of `rows` rows; the whole file appears or none."""

    def write(partial: Path) -> None:
        # Not through a memory map: on a full disk that would kill the process instead of raising an error.
        with partial.open("wb") as target:
            for number, piece in enumerate(pieces):
                if number == 0:
                    shape = (rows, *piece.shape[1:])
                    header = {"descr": format.dtype_to_descr(piece.dtype), "fortran_order": False, "shape": shape}
                    format.write_array_header_1_0(target, header)
                target.write(np.ascontiguousarray(piece).data)

    write_atomically(file, write)


def probability_of(logits: np.ndarray, task: Task = "binary") -> np.ndarray:
    """Softmax over the last axis, in float64; of several labels each one's own logistic function."""
    if task == "multilabel":
        # Both halves of the same curve, so that no exponential overflows.
        falling = np.exp(-np.abs(np.asarray(logits, np.float64)))
        return np.where(np.asarray(logits) >= 0, 1.0, falling) / (1.0 + falling)
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    exponent = np.exp(shifted)
    return exponent / exponent.sum(axis=-1, keepdims=True)
