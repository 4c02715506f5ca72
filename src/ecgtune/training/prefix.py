"""Precomputation of the frozen prefix of a model, and its cache.

A cache entry is one file, `prefix-<key>.npy`, with one row per window of a split. The key is a digest of the prepared
windows, the weights of the prefix, the number format, and the code of an encoder or method from outside the package, so
methods, seeds and later runs share entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
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
from ecgtune.training.batches import TrainingInputs, Windows, array_of
from ecgtune.training.inference import BATCH, choose_device, forward_batches, precompute, read_rows
from ecgtune.training.precision import choose_precision
from ecgtune.utils.cache import cache_folder, cache_key, evict
from ecgtune.utils.sources import source_digest

FORMAT = 4  # increase it when the content of an entry changes
#: Largest fraction of the machine's memory for precomputed training and validation windows. Steps read random rows,
#: which is fast while the system caches the file in memory; from a disk it can take longer than computing them again.
MEMORY_FRACTION = 0.25
#: Largest size of all entries on disk, as a fraction of the machine's memory; the least recently used are removed.
CACHE_FRACTION = 0.5


def check_prefix_cache(
    model: Classifier, method: Method, settings: Optimisation, trainer: TrainerSettings, augmented: bool
) -> None:
    """Raise SettingError if `prefix_cache` is "on" but nothing can be precomputed. `method` is attached to `model`."""
    if trainer.prefix_cache == "on":
        _, reason = _choose_split(model, method, settings, trainer, augmented)
        require(not reason, f"prefix_cache is 'on', but {reason}; leave it out")


def precompute_inputs(
    model: Classifier, method: Method, inputs: TrainingInputs, settings: Optimisation, trainer: TrainerSettings
) -> TrainingInputs:
    """Return the windows, signals, as values at the deepest split point if that is possible, faster and fits.

    Moves the model to the device of the training. Raises as `check_prefix_cache` does.
    """
    training, validation, augmented = inputs.training, inputs.validation, inputs.augment is not None
    check_prefix_cache(model, method, settings, trainer, augmented)
    split, reason = _choose_split(model, method, settings, trainer, augmented)
    device = choose_device(trainer.device)
    model.to(device)
    size = 0
    if split is not None:
        windows = len(training) + len(validation)
        size = windows * _row_bytes(model, split, training, trainer.precision)
        if trainer.prefix_cache == "auto":
            memory = psutil.virtual_memory().total
            reason = reason_against(split, size, settings.epochs, device.type, memory, copies=inputs.copies)
    if split is None or reason:
        return replace(inputs, sentence=f"nothing is precomputed: {reason}")
    stored = [_load_or_precompute(model, split, windows, settings, trainer) for windows in (training, validation)]
    (training, _), (validation, _) = stored
    place = "; ".join(dict.fromkeys(place for _, place in stored))
    sentence = f"precomputed: {split}, {size / 1e6:,.0f} MB"
    return replace(inputs, training=training, validation=validation, sentence=sentence, place=place)


def reason_against(split: SplitPoint, size: int, epochs: int, device: str, memory: int, *, copies: int = 1) -> str:
    """Return the reason why precomputing `size` bytes at `split` is slower than repeating it; "" if it is not.

    device: its type. memory: bytes of the machine. It depends only on settings and machine, so that a resumed training
    decides alike.
    """
    if split.pooled:
        return ""  # no larger than the signals
    if epochs <= copies:
        return "there is one epoch" if epochs == 1 else "no augmented copy is used twice"
    if device != "cpu" and not split.skips_blocks:
        return "copying tokens to the device takes as long as the convolutions that compute them"
    if size > MEMORY_FRACTION * memory:
        return f"{split} need {size / 1e9:.1f} GB, more than a quarter of this machine's memory"
    return ""


def _choose_split(
    model: Classifier, method: Method, settings: Optimisation, trainer: TrainerSettings, augmented: bool
) -> tuple[SplitPoint | None, str]:
    """Return the deepest split point and "", or None and the reason."""
    if trainer.prefix_cache == "off":
        return None, "prefix_cache is off"
    if augmented:
        return None, "augmentation changes the windows in every epoch"
    if model.mixes_leads:
        return None, "the lead adapter in front of the encoder is trainable"
    split = split_point(model, method, skips=settings.drop_path > 0 or settings.layer_drop > 0)
    return split, "" if split else f"{method.name} trains weights before the first block"


def _row_bytes(model: Classifier, split: SplitPoint, windows: Windows, precision: str) -> int:
    (output,) = forward_batches(FrozenPrefix(model, split), windows.inputs[:1], 1, precision)
    return output.nbytes


def _load_or_precompute(
    model: Classifier, split: SplitPoint, windows: Windows, settings: Optimisation, trainer: TrainerSettings
) -> tuple[Windows, str]:
    """Return the values at the split point, and where they are stored."""
    precision = choose_precision(next(model.parameters()).device, trainer.precision)
    batch = trainer.inference_batch(settings.batch_size)
    options: dict[str, Any] = {"precision": precision, "split": split, "batch_size": batch}
    code = _code_of(model)
    if code is None:
        return precompute(model, windows, **options), "in memory, because code of the encoder or method is in no file"
    file = cache_folder() / f"prefix-{prefix_key(model, split, windows, precision, code)}.npy"
    stored = read_rows(file)
    if stored is not None and len(stored) == len(windows):
        with suppress(OSError):  # another process has removed it
            file.touch()
        return Windows(stored, windows.label, split), "found in the cache"
    try:
        evict(file.parent, "prefix-*.npy", CACHE_FRACTION * psutil.virtual_memory().total)
        return precompute(model, windows, file=file, **options), "saved in the cache"
    except (OSError, RunError) as error:
        return precompute(model, windows, **options), f"in memory, because {error}"


def _code_of(model: Classifier) -> str | None:
    """Digest of the code that is not of this package, None where it is in no file."""
    return source_digest({type(model.attached), *map(type, model.encoder.modules())})


def prefix_key(model: Classifier, split: SplitPoint, windows: Windows, precision: str, code: str = "") -> str:
    """Return the cache key, a digest of windows, prefix weights, split point, number format and `code`."""
    prefix = FrozenPrefix(model, split)
    device = next(model.parameters()).device.type
    config = repr(model.base_encoder.config)  # the same weights may compute otherwise (`Classifier.like_published`)
    facts = [FORMAT, __version__, torch.__version__, device, precision, prefix.describe(), config, windows.inputs.shape]
    facts += [code] if code else []

    def contents() -> Iterator[Any]:
        for start in range(0, len(windows), BATCH):  # in batches, as the windows may not fit into memory
            yield np.ascontiguousarray(windows.inputs[start : start + BATCH]).data
        for name, tensor in sorted(prefix.tensors().items()):
            yield f"{name} {tuple(tensor.shape)}".encode()
            yield np.ascontiguousarray(array_of(tensor.detach().cpu().contiguous())).data

    return cache_key(facts, contents())
