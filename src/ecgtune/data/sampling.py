"""Seeded random draws, and draws of rows that keep the proportions of labels and splits."""

import numpy as np
from numpy.typing import NDArray


def generator(*key: int) -> np.random.Generator:
    """Return a generator that depends on the numbers of `key` (0 or more each) alone."""
    return np.random.Generator(np.random.PCG64(list(key)))


def representative_rows(
    stratum: NDArray[np.int64],
    group: NDArray[np.str_] | None,
    split: NDArray[np.str_] | None,
    count: int,
    seed: int,
    *,
    whole: bool = True,
) -> NDArray[np.int64]:
    """Draw `count` sorted row indices in which strata (`tasks.strata`) and splits have the fractions of the whole.

    Groups are taken whole in a random order, within each stratum and split until its quota is full; only the last group
    of each is divided. whole: False takes one window of each group in turn instead, so that as many groups as possible
    are there. Fewer rows are always among more.
    """
    rng = np.random.default_rng(seed)
    rank = rng.permutation(len(stratum))
    if group is not None:
        names, codes = np.unique(group, return_inverse=True)
        of_group = rng.permutation(len(names))[codes]
        if not whole:
            order = np.argsort(rank)
            number = np.empty_like(rank)
            number[order] = number_within(group[order])
            of_group += number * len(names)
        rank = of_group
    if split is not None:
        stratum = stratum + np.unique(split, return_inverse=True)[1] * (int(stratum.max()) + 1)
    values, cell = np.unique(stratum, return_inverse=True)
    quotas = proportional_counts(count, np.bincount(cell, minlength=len(values)))
    rows = []
    for index, quota in enumerate(quotas):
        members = np.flatnonzero(cell == index)
        rows.append(members[np.argsort(rank[members], kind="stable")][:quota])
    return np.sort(np.concatenate(rows)).astype(np.int64)


def proportional_counts(count: int, weights: NDArray) -> NDArray[np.int64]:
    """Divide `count` into whole numbers in proportion to `weights`, by largest remainder (Hamilton's method)."""
    exact = count * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    whole = np.floor(exact).astype(np.int64)
    extra = np.argsort(-(exact - whole), kind="stable")[: count - int(whole.sum())]
    whole[extra] += 1
    return whole


def number_within(recording: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the number of each window in its recording, from 0 in their order: (windows,)."""
    _, code = np.unique(recording, return_inverse=True)
    order = np.argsort(code, kind="stable")
    first = np.searchsorted(code[order], code[order])
    number = np.empty(len(code), dtype=np.int64)
    number[order] = np.arange(len(code)) - first
    return number
