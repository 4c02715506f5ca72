"""Training, validation and test windows: stratified by label, never cutting through a patient or recording."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.near_duplicates import near_duplicate_groups
from ecgtune.data.sampling import check_seed, shares_of
from ecgtune.data.tasks import decided, group_counts, label_counts, strata
from ecgtune.errors import DataError, SettingError
from ecgtune.utils.text import shown

PARTS = ("train", "val", "test")
_SIZE_JITTER = 0.35  # spread of the log size by which groups are ordered: different seeds, different splits


@dataclass(frozen=True)
class Duplicates:
    """Windows that are equal sample for sample across splits: how many contents, and an example row pair of each."""

    count: int
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices (int64, sorted) of the three parts.

    `unit` is what is never cut ("patient", "record", "row"), `origin` says in one phrase where the split came from,
    `warnings` is what a reader of any table made from it must know, and `duplicates` counts windows that stand,
    sample for sample, in more than one part.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    unit: str
    origin: str
    warnings: tuple[str, ...]
    duplicates: int

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """The parts by name, in the order train, val, test."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def counts(self, dataset: Dataset) -> dict[str, dict[str, Any]]:
        """Windows, groups (None without groups) and positives (second class) of each part.

        For more than two classes or several labels `labels` stands in the place of `positives`:
        `{name: {"positives", "known"}}`, the windows of the class or with the label, and those of which it is known.
        """
        result: dict[str, dict[str, Any]] = {}
        for name, rows in self.parts().items():
            groups = None if dataset.group is None else len(np.unique(dataset.group[rows]))
            positives, known = (values.tolist() for values in label_counts(dataset.label[rows], dataset.classes))
            result[name] = {"windows": len(rows), "groups": groups}
            if dataset.task == "binary":
                result[name]["positives"] = positives[1]
            else:
                result[name]["labels"] = {
                    label: {"positives": positives[i], "known": known[i]} for i, label in enumerate(dataset.classes)
                }
        return result


def split_dataset(
    dataset: Dataset,
    *,
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15),
    seed: int = 0,
    label_fraction: float = 1.0,
    allow_duplicates: bool = False,
) -> Split:
    """Split windows into training, validation and test.

    A split that the file brings is honoured. If it has training and only one other part, that part becomes the test
    windows, and validation windows are drawn from the training groups (val / (train + val) of `fractions`). Otherwise
    all is drawn by `fractions`, in that order: by group where there are groups, else by row with a warning. Each draw
    is stratified by label and depends on `seed` alone. `label_fraction` below 1 keeps only that share of the training
    windows and of the validation windows, drawn in the same way: as if the others had no labels.

    Windows with several labels are drawn so that each label is shared out; by row, each window counts for the rarest
    label that it has. With more than two classes, or several labels, one that validation or test lacks is told in
    `warnings`.

    Recordings with the same signal (`Source.near_duplicates`) in two parts are refused, or told in `warnings` with
    `allow_duplicates`; so are groups of windows from a file (`near_duplicate_groups`), which are told and not refused
    in a split that the file brings.

    Raises DataError when a part would lack a class (of more than two, or a label: when the training windows would, or
    a part would have none to be measured) or there are fewer groups than parts, SettingError for fractions
    that are not three positive numbers with the sum 1, a label share outside (0, 1] or a negative seed.
    """
    check_seed(seed)
    if not 0 < label_fraction <= 1:
        raise SettingError(f"label_fraction is {label_fraction}; allowed: above 0 up to 1 (all labels)")
    if len(fractions) != 3 or not all(0 < f < 1 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise SettingError(
            f"split fractions {fractions} are not allowed; three positive numbers with the sum 1 are,"
            " such as 0.70 0.15 0.15"
        )
    unit = "row" if dataset.group is None else (dataset.group_name or "group")
    everything = np.arange(len(dataset), dtype=np.int64)
    warnings: list[str] = list(dataset.source.notes)
    if dataset.split is None:
        train, val, test = _draw(dataset, everything, fractions, seed)
        origin = f"drawn {_percent(fractions)} by {unit}, stratified by label, seed {seed}"
    else:
        train, val, test, origin = _from_file(dataset, fractions, seed, unit, warnings)
    if label_fraction < 1:
        train = _labelled(dataset, "train", train, label_fraction, seed)
        val = _labelled(dataset, "val", val, label_fraction, seed)
        origin += f"; of training and validation only {100 * label_fraction:.3g} % of the labels, drawn by {unit}"
    if unit == "row":
        warnings.append(
            "split by row: the file names no patient or recording, so windows of one person may stand in"
            " several splits and the figures may be too good"
        )
    split = Split(train, val, test, unit, origin, tuple(warnings), 0)
    warnings += _check_classes(dataset, split)
    warnings += _check_near_duplicates(dataset, split, allow_duplicates)
    found = duplicate_windows(dataset, split)
    if found.count:
        pairs = ", ".join(f"{a} and {b}" for a, b in found.pairs[:3])
        warnings.append(
            f"{found.count} windows stand sample for sample in more than one split (rows {pairs}"
            f"{', ...' if found.count > 3 else ''}), so the figures may be too good"
        )
    return replace(split, warnings=tuple(warnings), duplicates=found.count)


def _from_file(dataset: Dataset, fractions: tuple[float, float, float], seed: int, unit: str, warnings: list[str]):
    """The parts as the file's split column says, with validation drawn when it has only two."""
    column = dataset.split
    rows = {name: np.flatnonzero(column == name) for name in PARTS}
    present = [name for name in PARTS if len(rows[name])]
    if present == list(PARTS):
        return rows["train"], rows["val"], rows["test"], dataset.source.split_origin or "from the file's split column"
    if "train" not in present or len(present) == 1:
        raise DataError(
            f"{dataset.source.path}: its split column has only {' and '.join(present)}; train and at least"
            " one of val and test are needed, or no split column"
        )
    other = present[1]
    share = fractions[1] / (fractions[0] + fractions[1])
    train, val = _draw(dataset, rows["train"], (1 - share, share), seed)
    told = "" if dataset.source.split_origin is None else f"{dataset.source.split_origin}; "
    origin = (
        f"{told}test: the file's {other} windows; validation: {100 * share:.3g} % of the file's training windows, drawn"
        f" by {unit}, stratified by label, seed {seed}"
    )
    warnings.append(
        f"the file has only train and {other}: its {other} windows are the test windows here, and validation"
        " windows (for the best epoch and the threshold) were drawn from its training windows"
    )
    return train, val, rows[other], origin


def _labelled(dataset: Dataset, name: str, rows: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """The share of a part that keeps its labels."""
    units = rows if dataset.group is None else np.unique(dataset.group[rows])
    kept = _draw(dataset, rows, (share, 1 - share), seed)[0] if len(units) > 1 else rows[:0]
    if not np.array_equal(decided(dataset.label[kept], dataset.classes), decided(dataset.label[rows], dataset.classes)):
        raise DataError(
            f"{dataset.source.path}: label_fraction {share:g} leaves the {name} split without a window of each class; "
            "use a larger one, or 1 for all labels"
        )
    return kept


def _draw(dataset: Dataset, rows: NDArray[np.int64], shares: tuple[float, ...], seed: int) -> list[NDArray[np.int64]]:
    """Cut `rows` into parts of the given shares, by group where there are groups."""
    rng = np.random.default_rng(seed)
    label = dataset.label[rows]
    if dataset.group is None:
        part = _parts_of_rows(strata(label), shares, rng)
    else:
        names, codes = np.unique(dataset.group[rows], return_inverse=True)
        if len(names) < len(shares):
            kind = dataset.group_name or "group"
            raise DataError(
                f"{dataset.source.path}: {len(names)} {kind}s cannot fill {len(shares)} splits; at least one"
                f" {kind} for each split is needed"
            )
        counts = group_counts(label, dataset.classes, codes, len(names))
        part = assign_groups(counts, shares, rng)[codes]
    return [rows[part == index] for index in range(len(shares))]


def _parts_of_rows(
    stratum: NDArray[np.int64], shares: tuple[float, ...], rng: np.random.Generator
) -> NDArray[np.int64]:
    part = np.empty(len(stratum), dtype=np.int64)
    for value in range(int(stratum.max()) + 1):
        members = rng.permutation(np.flatnonzero(stratum == value))
        sizes = shares_of(len(members), np.asarray(shares))
        if len(members) >= len(shares):
            while (sizes == 0).any():  # few windows: every part gets one, from the largest
                sizes[sizes.argmin()] += 1
                sizes[sizes.argmax()] -= 1
        part[members] = np.repeat(np.arange(len(shares)), sizes)
    return part


def assign_groups(counts: NDArray[np.int64], shares: tuple[float, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """Give each group, with `counts` (groups, classes) windows, to one part so that each class is cut by `shares`.

    Greedy from large to small: a group goes where it lowers the chi-squared distance between the windows that the parts
    have and those they should have the most. So parts fill at the same pace, each gets large and small groups, and the
    small ones at the end even out the rest. A class that has only as many groups left as there are parts without it is
    kept for those parts.
    """
    totals = counts.sum(axis=0)
    weight = [[n / total if total else 0.0 for n, total in zip(row, totals, strict=True)] for row in counts.tolist()]
    order = np.argsort(-np.log(counts.sum(axis=1)) + rng.normal(0, _SIZE_JITTER, len(counts)))
    have = [[0.0] * len(totals) for _ in shares]
    left = (counts > 0).sum(axis=0).tolist()
    part = np.zeros(len(counts), dtype=np.int64)
    for group in order.tolist():
        row = weight[group]
        classes = [c for c, n in enumerate(row) if n > 0]
        allowed: Iterable[int] = range(len(shares))
        for c in classes:
            lacking = [p for p in range(len(shares)) if have[p][c] == 0]
            if lacking and left[c] <= len(lacking):
                allowed = [p for p in allowed if p in lacking] or lacking
            left[c] -= 1
        best = min(allowed, key=lambda p: _distance_change(row, have[p], shares[p], classes))
        for c in classes:
            have[best][c] += row[c]
        part[group] = best
    return part


def _distance_change(row: list[float], have: list[float], share: float, classes: list[int]) -> float:
    """Change of sum((have - share)^2 / share) when a group joins a part; all in shares of the class."""
    return sum(row[c] * (2 * (have[c] - share) + row[c]) / share for c in classes)


def _check_classes(dataset: Dataset, split: Split) -> list[str]:
    """Warnings about classes or labels that validation or test cannot measure. Raises DataError, see split_dataset."""
    what = f"{dataset.group_name}s" if dataset.group is not None else "windows"
    warnings = []
    for name, rows in split.parts().items():
        usable = decided(dataset.label[rows], dataset.classes)
        lacking = [label for label, is_usable in zip(dataset.classes, usable, strict=True) if not is_usable]
        if not lacking:
            continue
        if dataset.task == "binary":
            empty = [label for index, label in enumerate(dataset.classes) if not (dataset.label[rows] == index).any()]
            raise DataError(
                f"{dataset.source.path}: the {name} split has no window of class {shown(empty[0])}; each of"
                f" train, val and test needs both classes: more {what} of that class, or other split"
                " fractions"
            )
        if name == "train" or len(lacking) == len(dataset.classes):
            raise DataError(
                f"{dataset.source.path}: the {name} split has no windows both with and without {shown(lacking[0])};"
                f" use more {what}, other split fractions, or leave that label out"
            )
        warnings.append(
            f"the {name} split has no windows both with and without {', '.join(map(shown, lacking))}: absent there, and"
            " left out of every mean over labels"
        )
    return warnings


def near_duplicates_across(dataset: Dataset, split: Split) -> tuple[tuple[str, str], ...]:
    """Pairs of recordings with the same signal, at whatever gain, offset or rate, of which each is in another part."""
    if not dataset.source.near_duplicates or dataset.recording is None:
        return ()
    part = {}
    for name, rows in split.parts().items():
        part |= dict.fromkeys(np.unique(dataset.recording[rows]).tolist(), name)
    return tuple(
        (first, second)
        for first, second in dataset.source.near_duplicates
        if first in part and second in part and part[first] != part[second]
    )


def _check_near_duplicates(dataset: Dataset, split: Split, allow_duplicates: bool) -> list[str]:
    pairs, what, warnings = near_duplicates_across(dataset, split), "recordings", []
    if dataset.recording is None and dataset.group is not None:
        group = dataset.group_name or "group"
        found = near_duplicate_groups(dataset, split.parts())
        pairs, what = () if found is None else found.pairs, f"{group}s"
        if found is not None and found.windows is not None:
            warnings.append(
                f"the same signal in two splits was looked for in the first {found.windows} windows of each {group}"
                " only, because there are so many"
            )
    if not pairs:
        return warnings
    named = ", ".join(f"{first} and {second}" for first, second in pairs[:3]) + (", ..." if len(pairs) > 3 else "")
    told = f"{len(pairs)} pairs of {what} with the same signal stand in different splits ({named})"
    # Figures on a split that others use too are wanted on that split; one that is drawn here can be drawn without them.
    published = dataset.recording is None and dataset.split is not None
    if not allow_duplicates and not published:
        raise DataError(
            f"{dataset.source.path}: {told}; leave one of each out, give both the same patient, or say"
            " --allow-duplicates"
        )
    return [*warnings, f"{told}, so the figures may be too good"]


def duplicate_windows(dataset: Dataset, split: Split) -> Duplicates:
    """Windows that are equal sample for sample and stand in more than one part, by a hash of their bytes."""
    part = np.full(len(dataset), -1, dtype=np.int8)
    for index, rows in enumerate(split.parts().values()):
        part[rows] = index
    first: dict[bytes, int] = {}
    pairs: dict[bytes, tuple[int, int]] = {}
    for row in np.flatnonzero(part >= 0).tolist():
        key = hashlib.blake2b(np.ascontiguousarray(dataset.signal[row]).data, digest_size=16).digest()
        earlier = first.setdefault(key, row)
        if part[earlier] != part[row]:
            pairs.setdefault(key, (earlier, row))
    return Duplicates(len(pairs), tuple(pairs.values()))


def _percent(fractions: tuple[float, ...]) -> str:
    return "/".join(f"{100 * f:.3g}" for f in fractions)
