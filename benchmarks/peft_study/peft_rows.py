"""What tells a run from every other, and the tasks' windows; rows and pages are those of `benchmarks/kept_rows.py`."""

import hashlib
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

from ecgtune.data.dataset import Dataset, Source
from ecgtune.io.windows import read_dataset
from ecgtune.models.loading import load_model
from ecgtune.recipe.recipe import Recipe

sys.path.append(str(Path(__file__).parents[1]))
from kept_rows import Row, add_row, alone, digest, into_page, read_rows, settings_key, write_rows

__all__ = [
    "Row", "abnormal", "add_row", "alone", "digest", "fibrillation", "into_page", "key", "read_rows", "settings_key",
    "weights", "write_rows",
]  # fmt: skip
MILLIVOLT = 1000.0  # microvolts


def key(recipe: Recipe, seed: int, dataset: str) -> Row:
    """What tells a run from every other: data, weights, all settings, seed. dataset: sha256 of its file."""
    return {
        "data": dataset[:12],
        "weights": weights(recipe.model.name, seed),
        "settings": settings_key(recipe),
        "seed": str(seed),
    }


@lru_cache
def weights(model: str, seed: int) -> str:
    """What results say about the weights that a training with `seed` starts from."""
    return load_model(model, seed=seed).weights.describe()


def abnormal(file: Path) -> Dataset:
    """Normal against abnormal, half of the windows each: cinc2017_windows.npz."""
    return read_dataset(file)


def fibrillation(file: Path) -> Dataset:
    """Atrial fibrillation against every other rhythm and noise, as frequent as they are: cinc2017_rhythms.npz."""
    with np.load(file) as arrays:
        return Dataset(
            signal=(arrays["signal"][:, None].astype(np.float32) / MILLIVOLT),
            label=(arrays["label"] == "A").astype(np.int64),
            classes=("other", "fibrillation"),
            sampling_rate=float(arrays["sampling_rate"]),
            leads=("II",),  # what `read_dataset` calls the lead of a file that names none
            unit="mV",
            group=arrays["record"],
            group_name="record",
            split=arrays["split"],
            source=Source(file.name, hashlib.sha256(file.read_bytes()).hexdigest()),
        )
