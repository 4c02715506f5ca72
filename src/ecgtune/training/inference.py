"""Forward passes without gradients, batch by batch."""

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
from ecgtune.utils.cache import checksum
from ecgtune.utils.files import open_file, write_atomically

BATCH = 256
FEATURES = SplitPoint("features")
_SUM_BYTES = 4


def choose_device(name: str) -> torch.device:
    """Return the device "auto", "cpu", "cuda" or "mps". Raises SettingError if this machine does not have it."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if present["cuda"] else "mps" if present["mps"] else "cpu")
    if not present.get(name, False):
        available = ", ".join(device for device, found in present.items() if found)
        raise SettingError(f"device {name!r} is not available on this machine; available: auto, {available}")
    return torch.device(name)


def logits_of(module: nn.Module, inputs: Inputs, *, batch_size: int = BATCH, precision: str = "fp32") -> np.ndarray:
    """Return `module(inputs)` as float32 `(windows, ...)`, computed as in `forward_batches`."""
    return torch.cat([output.float() for output in forward_batches(module, inputs, batch_size, precision)]).numpy()


@torch.no_grad()
def forward_batches(module: nn.Module, inputs: Inputs, batch_size: int, precision: str) -> Iterator[Tensor]:
    """Yield `module(inputs)` per batch on the CPU, in the dtype of the output.

    The module is in evaluation mode meanwhile; its mode is restored at the end.
    """
    device = next(module.parameters()).device
    training = module.training
    module.eval()
    for start in range(0, len(inputs), batch_size):
        batch = tensor_of(np.ascontiguousarray(inputs[start : start + batch_size])).to(device)
        with autocast(device, precision):
            output = module(batch)
        yield output.cpu()
    module.train(training)


def precompute(
    model: Classifier,
    windows: Windows,
    *,
    precision: str = "fp32",
    split: SplitPoint = FEATURES,
    file: Path | None = None,
    batch_size: int = BATCH,
) -> Windows:
    """Return the values of `windows`, signals, at the split point of the model.

    file: where to store them, as a `.npy` file; None keeps them in memory. Features are float32; tokens and states keep
    the dtype of the prefix output, so that no value is rounded. Raises RunError if the file cannot be written.
    """
    prefix = FrozenPrefix(model, split)
    outputs = (
        array_of(output.float() if split.pooled else output)
        for output in forward_batches(prefix, windows.inputs, batch_size, precision)
    )
    if file is None:
        return Windows(np.concatenate(list(outputs)), windows.label, split)
    write_rows(file, outputs, len(windows))
    return Windows(np.load(file, mmap_mode="c"), windows.label, split)


def write_rows(file: Path, chunks: Iterator[np.ndarray], rows: int) -> None:
    """Write the concatenation of `chunks`, `rows` rows in total, as one `.npy` file, atomically; a checksum follows."""

    def write(partial: Path) -> None:
        # Not through a memory map, which kills the process on a full disk instead of raising an error.
        with partial.open("wb") as target:
            for number, chunk in enumerate(chunks):
                if number == 0:
                    shape = (rows, *chunk.shape[1:])
                    header = {"descr": format.dtype_to_descr(chunk.dtype), "fortran_order": False, "shape": shape}
                    format.write_array_header_1_0(target, header)
                target.write(np.ascontiguousarray(chunk).data)
        with partial.open("ab") as target:
            target.write(checksum(partial).to_bytes(_SUM_BYTES, "little"))

    write_atomically(file, write)


def read_rows(file: Path) -> np.ndarray | None:
    """Return the array of a file of `write_rows`, memory-mapped; None where it is missing or has changed since."""
    try:
        with open_file(file) as source:
            source.seek(-_SUM_BYTES, 2)
            stored = int.from_bytes(source.read(), "little")
        return np.load(file, mmap_mode="c") if checksum(file, _SUM_BYTES) == stored else None
    except (OSError, ValueError, EOFError):
        return None


def probability_of(logits: np.ndarray, task: Task = "binary") -> np.ndarray:
    """Return the softmax over the last axis in float64, for several labels the logistic function of each."""
    if task == "multilabel":
        # Evaluated at -|logit|, so that no exponential overflows.
        falling = np.exp(-np.abs(np.asarray(logits, np.float64)))
        return np.where(np.asarray(logits) >= 0, 1.0, falling) / (1.0 + falling)
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    exponent = np.exp(shifted)
    return exponent / exponent.sum(axis=-1, keepdims=True)
