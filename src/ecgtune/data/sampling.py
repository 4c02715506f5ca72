"""Seeded draws, and draws of rows that keep the proportions of labels and splits."""

from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import require


def check_seed(seed: object) -> None:
    """Raise SettingError for anything but a whole number from 0 on."""
    allowed = isinstance(seed, Integral) and not isinstance(seed, bool) and int(seed) >= 0
    require(allowed, f"seed is {seed}; allowed: 0 or more (a whole number)")


def generator(*key: int) -> np.random.Generator:
    """A generator that depends on the numbers of `key` (0 or more each) alone."""
    return np.random.Generator(np.random.PCG64(list(key)))


def representative_rows(
    stratum: NDArray[np.int64],
    group: NDArray[np.str_] | None,
    split: NDArray[np.str_] | None,
    count: int,
    seed: int,
) -> NDArray[np.int64]:
    """`count` sorted row indices with the shares that strata (`tasks.strata`) and splits have in the whole.

    Groups are put in one random order and taken whole from its start, within each stratum and split until its share is
    full; only the last group of each is cut.
    """
    rng = np.random.default_rng(seed)
    if group is None:
        rank = rng.permutation(len(stratum))
    else:
        names, codes = np.unique(group, return_inverse=True)
        rank = rng.permutation(len(names))[codes]
    if split is not None:
        stratum = stratum + np.unique(split, return_inverse=True)[1] * (int(stratum.max()) + 1)
    values, cell = np.unique(stratum, return_inverse=True)
    quotas = shares_of(count, np.bincount(cell, minlength=len(values)))
    rows = []
    for index, quota in enumerate(quotas):
        members = np.flatnonzero(cell == index)
        rows.append(members[np.argsort(rank[members], kind="stable")][:quota])
    return np.sort(np.concatenate(rows)).astype(np.int64)


def shares_of(count: int, weights: NDArray) -> NDArray[np.int64]:
    """Cut `count` into whole numbers in proportion to `weights`, by largest remainder (Hamilton's method)."""
    exact = count * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    whole = np.floor(exact).astype(np.int64)
    extra = np.argsort(-(exact - whole), kind="stable")[: count - int(whole.sum())]
    whole[extra] += 1
    return whole


def number_within(recording: NDArray[np.str_]) -> NDArray[np.int64]:
    """The place of each window among those of its recording, counted from 0 in their order: (windows,)."""
    _, code = np.unique(recording, return_inverse=True)
    order = np.argsort(code, kind="stable")
    first = np.searchsorted(code[order], code[order])
    number = np.empty(len(code), dtype=np.int64)
    number[order] = np.arange(len(code)) - first
    return number
