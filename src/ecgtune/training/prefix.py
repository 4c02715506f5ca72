"""What training cannot change is computed once: whether that pays, where it is kept, and how it is found again.

An entry of the cache folder is one file, `prefix-<key>.npy`, whose rows stand for the windows of a split. The key is a
digest of the prepared windows themselves, of the weights below the split and of the number format, so an entry can be
wrong for no other data, preprocessing or model, and methods, seeds and later runs share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch

from ecgtune import __version__
from ecgtune.config.base import require
from ecgtune.config.optimisation import Optimisation
from ecgtune.config.trainer import TrainerSettings
from ecgtune.errors import RunError
from ecgtune.methods.base import Method
from ecgtune.methods.split import FrozenPrefix, SplitPoint, split_point
from ecgtune.models.classifier import Classifier
from ecgtune.training.batches import Windows, array_of
from ecgtune.training.inference import BATCH, answers_of, choose_device, encode_once
from ecgtune.training.precision import choose_precision
from ecgtune.utils.cache import cache_folder, cache_key, evict

FORMAT = 2  # raise it whenever what is stored changes
#: Share of the machine's memory that training and validation windows may take at the split. Each step reads other rows:
#: from memory, where the system keeps files that fit, that is next to nothing; from a disk it can cost more than
#: computing anew.
MEMORY_SHARE = 0.25
#: Share of the memory's size that all entries together may take on disk; those unused for longest go first.
KEPT_SHARE = 0.5


@dataclass(frozen=True)
class Once:
    """Training and validation windows as a training reads them, and one sentence on why they are what they are."""

    training: Windows
    validation: Windows
    sentence: str


def check_prefix(
    model: Classifier, method: Method, settings: Optimisation, trainer: TrainerSettings, augmented: bool
) -> None:
    """Raise SettingError where `prefix_cache` is "on" but nothing can be computed once. `method` is attached."""
    if trainer.prefix_cache == "on":
        _, reason = _split(model, method, settings, trainer, augmented)
        require(not reason, f"prefix_cache is 'on', but {reason}; leave it out")


def compute_once(
    model: Classifier,
    method: Method,
    training: Windows,
    validation: Windows,
    settings: Optimisation,
    trainer: TrainerSettings,
    *,
    augmented: bool,
    copies: int = 1,
) -> Once:
    """The windows, signals, as what trains reads them: at the deepest split where that is possible, pays and fits.

    augmented: whether training windows change from epoch to epoch. copies: of which `training` is made; an epoch shows
    one of them. The model goes to the device of the training.
    Raises what `check_prefix` raises.
    """
    check_prefix(model, method, settings, trainer, augmented)
    split, reason = _split(model, method, settings, trainer, augmented)
    device = choose_device(trainer.device)
    model.to(device)
    size = 0
    if split is not None:
        windows = len(training) + len(validation)
        size = windows * _row_bytes(model, split, training, trainer.precision)
        if trainer.prefix_cache == "auto":
            memory = psutil.virtual_memory().total
            reason = does_not_pay(split, size, settings.epochs, device.type, memory, copies=copies)
    if split is None or reason:
        return Once(training, validation, f"nothing is computed once: {reason}")
    kept = [_encoded(model, split, windows, settings, trainer) for windows in (training, validation)]
    (training, _), (validation, _) = kept
    place = "; ".join(dict.fromkeys(place for _, place in kept))
    return Once(training, validation, f"computed once: {split}, {size / 1e6:,.0f} MB, {place}")


def does_not_pay(split: SplitPoint, size: int, epochs: int, device: str, memory: int, *, copies: int = 1) -> str:
    """Why `size` bytes at `split` are better computed anew in each epoch on this kind of device; "" where they are not.

    memory: bytes that the machine has. A rule of settings and machine alone, so that a resumed training decides alike.
    """
    if split.pooled:
        return ""  # no larger than the signals
    if epochs <= copies:
        return "there is one epoch" if epochs == 1 else "no augmented copy would be seen twice"
    if device != "cpu" and not split.skips_blocks:
        return "bringing tokens to the device takes as long as the convolutions that make them"
    if size > MEMORY_SHARE * memory:
        return f"{split} would take {size / 1e9:.1f} GB, more than a quarter of this machine's memory"
    return ""


def _split(
    model: Classifier, method: Method, settings: Optimisation, trainer: TrainerSettings, augmented: bool
) -> tuple[SplitPoint | None, str]:
    """The deepest split, or None and why."""
    if trainer.prefix_cache == "off":
        return None, "prefix_cache is off"
    if augmented:
        return None, "augmentation shows other windows in every epoch"
    if model.mixes_leads:
        return None, "the lead adapter trains in front of the encoder"
    split = split_point(model, method, settings.drop_path)
    return split, "" if split else f"{method.name} trains weights before the first block"


def _row_bytes(model: Classifier, split: SplitPoint, windows: Windows, precision: str) -> int:
    (answer,) = answers_of(FrozenPrefix(model, split), windows.inputs[:1], 1, precision)
    return answer.nbytes


def _encoded(
    model: Classifier, split: SplitPoint, windows: Windows, settings: Optimisation, trainer: TrainerSettings
) -> tuple[Windows, str]:
    """The windows at the split, from the cache or into it, and where they are."""
    precision = choose_precision(next(model.parameters()).device, trainer.precision)
    batch = trainer.inference_batch(settings.batch_size)
    file = cache_folder() / f"prefix-{key_of(model, split, windows, precision)}.npy"
    with suppress(OSError, ValueError, EOFError):  # none yet, or one that something has damaged: it is made anew
        stored = np.load(file, mmap_mode="c")
        if len(stored) == len(windows):
            file.touch()
            return Windows(stored, windows.label, split), "found in the cache"
    try:
        evict(file.parent, "prefix-*.npy", KEPT_SHARE * psutil.virtual_memory().total)
        return encode_once(
            model, windows, precision=precision, split=split, file=file, batch_size=batch
        ), "kept in the cache"
    except (OSError, RunError) as error:
        encoded = encode_once(model, windows, precision=precision, split=split, batch_size=batch)
        return encoded, f"kept in memory, because {error}"


def key_of(model: Classifier, split: SplitPoint, windows: Windows, precision: str) -> str:
    """Return the key of these windows in the cache; it depends on windows, weights, split point and number format."""
    prefix = FrozenPrefix(model, split)
    device = next(model.parameters()).device.type
    facts = [FORMAT, __version__, torch.__version__, device, precision, prefix.describe(), windows.inputs.shape]

    def contents() -> Iterator[Any]:
        for start in range(0, len(windows), BATCH):  # they may be more than fits into memory
            yield np.ascontiguousarray(windows.inputs[start : start + BATCH]).data
        for name, tensor in sorted(prefix.tensors().items()):
            yield f"{name} {tuple(tensor.shape)}".encode()
            yield np.ascontiguousarray(array_of(tensor.detach().cpu().contiguous())).data

    return cache_key(facts, contents())
