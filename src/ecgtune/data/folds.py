"""Cross-validation: k-fold, nested k-fold, and leave one site out.

Each round is the dataset with another split column, so a round can be used like any dataset.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_seed
from ecgtune.data.dataset import Dataset
from ecgtune.data.splits import assign_groups
from ecgtune.data.tasks import group_counts
from ecgtune.errors import DataError, SettingError
from ecgtune.text import shown
from ecgtune.utils.formatting import counted


def k_folds(dataset: Dataset, folds: int = 5, *, seed: int = 0, nested: bool = False) -> tuple[Dataset, ...]:
    """Return the rounds of a cross-validation: each group of windows is tested once, in one of `folds` folds.

    In round i fold i is the test split, the next one validation (for epoch and threshold), and the others are training.
    `nested` gives folds * (folds - 1) rounds instead: each test fold with each other fold as validation, the rounds of
    one test fold in a row. Folds are drawn by group, stratified by label, from `seed` alone; the split of the file is
    not used.

    Raises SettingError for fewer than 3 folds or a negative seed, DataError for fewer groups than folds.
    """
    check_seed(seed)
    if folds < 3:
        raise SettingError(f"folds {folds} is not allowed; 3 or more are, to train, to validate and to test")
    unit = "row" if dataset.group is None else (dataset.group_name or "group")
    group = np.arange(len(dataset)) if dataset.group is None else dataset.group
    names, codes = np.unique(group, return_inverse=True)
    if len(names) < folds:
        raise DataError(
            f"{dataset.source.path}: {counted(len(names), unit)} cannot fill {folds} folds; use fewer folds"
        )
    counts = group_counts(dataset.label, dataset.classes, codes, len(names))
    fold = assign_groups(counts, (1 / folds,) * folds, np.random.default_rng(seed))[codes]
    rounds = []
    for test in range(folds):
        others = [(test + 1 + step) % folds for step in range(folds - 1)]
        for val in others if nested else others[:1]:
            origin = f"{folds} folds by {unit}, stratified by label, seed {seed}: test {test + 1}, validation {val + 1}"
            rounds.append(
                _round(dataset, np.where(fold == test, "test", np.where(fold == val, "val", "train")), origin)
            )
    return tuple(rounds)


def leave_one_site_out(dataset: Dataset) -> tuple[Dataset, ...]:
    """Return one round per site, with its windows as the test split; validation is drawn from the others.

    It estimates performance at a new site. Raises DataError without sites, with one only, or when a patient was at two:
    the test patients would then not be new.
    """
    if dataset.site is None:
        raise DataError(f"{dataset.source.path}: no column names the sites of the recordings; name one with --site")
    sites = np.unique(dataset.site)
    if len(sites) < 2:
        raise DataError(f"{dataset.source.path}: all recordings come from {shown(sites[0])}; two sites are needed")
    if dataset.group is not None:
        _, first, codes = np.unique(dataset.group, return_index=True, return_inverse=True)
        other = np.flatnonzero(dataset.site != dataset.site[first[codes]])
        if len(other):
            row = other[0]
            raise DataError(
                f"{dataset.source.path}: {dataset.group_name} {shown(dataset.group[row])} was at"
                f" {shown(dataset.site[first[codes[row]]])} and {shown(dataset.site[row])}; leave one of the two out"
            )
    return tuple(
        _round(dataset, np.where(dataset.site == site, "test", "train"), f"site {shown(site)} left out")
        for site in sites
    )


def _round(dataset: Dataset, split: NDArray[np.str_], origin: str) -> Dataset:
    return replace(dataset, split=split, source=replace(dataset.source, split_origin=origin))
