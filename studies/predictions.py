"""Predictions of runs on their test windows: a file for each run, outside the repository.

A study with `keep_predictions = true` also has those of its rows in one file of the repository, so that statistics can
be computed where only a part of the runs was trained.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import locked

from ecgtune.utils.files import write_atomically

#: Arrays of a run: label, group and probability (test windows,), threshold ().
Arrays = Mapping[str, NDArray[Any]]


def save_run(file: Path, run: Arrays) -> None:
    """Write the predictions of a run."""
    write_atomically(file, lambda part: _save(part, run))


def load_run(file: Path) -> Arrays:
    """Read the predictions of a run."""
    with np.load(file) as arrays:
        return dict(arrays)


def synchronise(file: Path, folder: Path, names: Collection[str]) -> None:
    """Make `file` hold the runs `names`, and `folder` a file of each; runs that neither has are left out."""
    with locked(file):
        kept = read_kept(file)
        for name in kept.keys() - {path.name for path in folder.glob("*.npz")}:
            save_run(folder / name, kept[name])
        runs = {name: kept.get(name) or load_run(folder / name) for name in names if (folder / name).is_file()}
        if list(runs) != list(kept):
            write_atomically(file, lambda part: _save(part, _packed(runs)))


def read_kept(file: Path) -> dict[str, Arrays]:
    """Read the runs of `file` by name; none if it does not exist."""
    if not file.is_file():
        return {}
    kept = load_run(file)
    tests = [(kept[f"label_{test}"], kept[f"group_{test}"]) for test in kept["test"]]
    ends = np.cumsum([len(label) for label, _ in tests])
    parts = np.split(kept["probability"], ends[:-1])
    return {
        str(name): {"label": label, "group": group, "probability": probability, "threshold": threshold}
        for name, (label, group), probability, threshold in zip(
            kept["run"], tests, parts, kept["threshold"], strict=True
        )
    }


def _packed(runs: Mapping[str, Arrays]) -> Arrays:
    """Return the arrays of a file of several runs; runs with the same test windows share labels and groups."""
    tests: dict[bytes, int] = {}
    packed: dict[str, NDArray[Any]] = {}
    which = []
    for run in runs.values():
        test = tests.setdefault(run["label"].tobytes() + run["group"].tobytes(), len(tests))
        packed |= {f"label_{test}": run["label"], f"group_{test}": run["group"]}
        which.append(test)
    probability = [run["probability"] for run in runs.values()]
    return packed | {
        "run": np.array(list(runs), dtype=np.str_),
        "test": np.array(which, dtype=np.int64),
        "probability": np.concatenate(probability) if probability else np.empty(0),
        "threshold": np.array([run["threshold"] for run in runs.values()]),
    }


def _save(part: Path, arrays: Arrays) -> None:
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
