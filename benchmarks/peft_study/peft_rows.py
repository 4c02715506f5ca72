"""Tidy rows in CSV files that grow as the study goes on, what tells a run from every other, and the tasks' windows."""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.data import Dataset, read_dataset
from ecgtune.data.dataset import Source
from ecgtune.files import write_text
from ecgtune.models import load_model
from ecgtune.recipe import Recipe

Row = dict[str, str]
MILLIVOLT = 1000.0  # microvolts


def read_rows(file: Path) -> list[Row]:
    """The rows of `file`; none when it does not exist."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def write_rows(file: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write all rows at once, so that a stop leaves the file as it was."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def into_page(page: Path, name: str, text: str) -> None:
    """Put `text` where the page has its place, between two comments with its name."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = page.read_text(encoding="utf-8").split(start)
    write_text(page, before + start + text + end + rest.split(end)[1])


def key(recipe: Recipe, seed: int, dataset: str) -> Row:
    """What tells a run from every other: data, weights, all settings, seed. dataset: sha256 of its file."""
    return {
        "data": dataset[:12],
        "weights": weights(recipe.model.name, seed),
        "settings": settings_key(recipe),
        "seed": str(seed),
    }


def settings_key(settings: Any) -> str:
    """Tells the settings of one run from those of any other: a hash of all that is not as the dataclasses have it.

    A setting that ecgtune gets later, and that is off unless asked for, leaves the key of an older run as it is.
    """
    return digest(json.dumps(_chosen(settings), sort_keys=True))


def _chosen(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    unset = object()
    chosen: dict[str, Any] = {"": type(value).__name__}
    for field in dataclasses.fields(value):
        default = unset if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = default if field.default is dataclasses.MISSING else field.default
        given = getattr(value, field.name)
        if given != default:
            chosen[field.name] = _chosen(given)
    return chosen


@lru_cache
def weights(model: str, seed: int) -> str:
    """What results say about the weights that a training with `seed` starts from."""
    return load_model(model, seed=seed).weights.describe()


def digest(text: str) -> str:
    """Twelve characters of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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
