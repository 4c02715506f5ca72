"""Training, validation and test splits: stratified by label; patients and recordings are never divided."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import check_seed
from ecgtune.config.data import DataSettings
from ecgtune.data.dataset import Dataset
from ecgtune.data.near_duplicates import Rows, near_duplicate_groups
from ecgtune.data.plausibility import doubts
from ecgtune.data.positive import POSITIVE
from ecgtune.data.sampling import proportional_counts
from ecgtune.data.tasks import decided, group_counts, label_counts, strata
from ecgtune.errors import DataError, SettingError
from ecgtune.text import shown
from ecgtune.utils.formatting import counted

SPLITS = ("train", "val", "test")
_SIZE_JITTER = 0.35  # spread of the log size by which groups are ordered: different seeds, different splits


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices (int64, sorted) of the three splits.

    unit: the unit that is never divided ("patient", "record", "row"). origin: a phrase about the source of the split.
    warnings: limits of all results on it. duplicates: number of identical windows in several splits.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    unit: str
    origin: str
    warnings: tuple[str, ...]
    duplicates: int

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in self.by_name().items())
        return f"Split({sizes}, by {self.unit})"

    def by_name(self) -> dict[str, NDArray[np.int64]]:
        """Return the rows by the names train, val, test, in this order."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def counts(self, dataset: Dataset) -> dict[str, dict[str, Any]]:
        """Count windows, groups (None without groups) and positives (of two classes) of each split.

        More than two classes or several labels have `labels` in place of `positives`: `{name: {"positives", "known"}}`,
        the windows of the class or with the label, and those for which it is known.
        """
        result: dict[str, dict[str, Any]] = {}
        for name, rows in self.by_name().items():
            groups = None if dataset.group is None else len(np.unique(dataset.group[rows]))
            positives, known = (values.tolist() for values in label_counts(dataset.label[rows], dataset.classes))
            result[name] = {"windows": len(rows), "groups": groups}
            if dataset.task == "binary":
                result[name]["positives"] = positives[POSITIVE]
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

    The split column of the file is used where there is one. If it has training and only one other split, the latter
    becomes the test split, and validation is drawn from the training groups (val / (train + val) of `fractions`).
    Otherwise all splits are drawn by `fractions`: by group where there are groups, else by row with a warning. Each
    draw is stratified by label and depends on `seed` alone. `label_fraction` below 1 keeps only that fraction of the
    training and validation windows, drawn in the same way.

    Draws of windows with several labels are stratified by each label; by row, each window counts for its rarest label.
    A sampling rate at which no heart rate is plausible is a warning (`plausibility.doubts`).

    With more than two classes, or several labels, `warnings` names those that validation or test lacks.

    Recordings with the same signal (`Source.near_duplicates`) in two splits are an error, or a warning with
    `allow_duplicates`. So are groups of windows (`near_duplicate_groups`); in a split of the file they are a warning.

    Raises DataError when a split lacks a class (of more than two, or of labels: when training does, or a split has
    none to measure) or there are fewer groups than splits. Raises SettingError for fractions that are not three
    positive numbers with the sum 1, a label fraction outside (0, 1] or a negative seed.
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
            "split by row: the file names no patient or recording, so windows of one person may be in several"
            " splits, and results may be too optimistic"
        )
    split = Split(train, val, test, unit, origin, tuple(warnings), 0)
    warnings += _check_classes(dataset, split)
    warnings += _check_near_duplicates(dataset, split, allow_duplicates)
    warnings += doubts(dataset, split.train)
    found = duplicate_windows(dataset, split)
    if found:
        pairs = ", ".join(f"{a} and {b}" for a, b in found[:3]) + (", ..." if len(found) > 3 else "")
        warnings.append(
            f"{counted(len(found), 'pair')} of identical windows in different splits (rows {pairs}): results may be "
            "too optimistic"
        )
    return replace(split, warnings=tuple(warnings), duplicates=len(found))


def draw_split(dataset: Dataset, settings: DataSettings) -> Split:
    """The split that the settings ask for; raises what `split_dataset` raises."""
    return split_dataset(
        dataset,
        fractions=settings.fractions,
        seed=settings.split_seed,
        label_fraction=settings.label_fraction,
        allow_duplicates=settings.allow_duplicates,
    )


def _from_file(dataset: Dataset, fractions: tuple[float, float, float], seed: int, unit: str, warnings: list[str]):
    """The splits of the file's split column, with validation drawn when it has only two."""
    column = dataset.split
    rows = {name: np.flatnonzero(column == name) for name in SPLITS}
    present = [name for name in SPLITS if len(rows[name])]
    if present == list(SPLITS):
        return rows["train"], rows["val"], rows["test"], dataset.source.split_origin or "from the file's split column"
    if "train" not in present or len(present) == 1:
        raise DataError(
            f"{dataset.source.path}: its split column has only {' and '.join(present)}; train and at least"
            " one of val and test are needed, or no split column"
        )
    other = present[1]
    fraction = fractions[1] / (fractions[0] + fractions[1])
    train, val = _draw(dataset, rows["train"], (1 - fraction, fraction), seed)
    stated = "" if dataset.source.split_origin is None else f"{dataset.source.split_origin}; "
    origin = (
        f"{stated}test: the file's {other} windows; validation: {100 * fraction:.3g} % of the file's training windows,"
        f" drawn by {unit}, stratified by label, seed {seed}"
    )
    warnings.append(
        f"the file has only train and {other}: its {other} windows are the test windows here, and validation"
        " windows (for the best epoch and the threshold) were drawn from its training windows"
    )
    return train, val, rows[other], origin


def _labelled(dataset: Dataset, name: str, rows: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """The rows of a split that keep their labels."""
    units = rows if dataset.group is None else np.unique(dataset.group[rows])
    kept = _draw(dataset, rows, (fraction, 1 - fraction), seed)[0] if len(units) > 1 else rows[:0]
    if not np.array_equal(decided(dataset.label[kept], dataset.classes), decided(dataset.label[rows], dataset.classes)):
        raise DataError(
            f"{dataset.source.path}: label_fraction {fraction:g} leaves the {name} split without a window of each"
            " class; use a larger one, or 1 for all labels"
        )
    return kept


def _draw(
    dataset: Dataset, rows: NDArray[np.int64], fractions: tuple[float, ...], seed: int
) -> list[NDArray[np.int64]]:
    """Divide `rows` into splits of the given fractions, by group where there are groups."""
    rng = np.random.default_rng(seed)
    label = dataset.label[rows]
    if dataset.group is None:
        split = _assign_rows(strata(label), fractions, rng)
    else:
        names, codes = np.unique(dataset.group[rows], return_inverse=True)
        if len(names) < len(fractions):
            kind = dataset.group_name or "group"
            raise DataError(
                f"{dataset.source.path}: {counted(len(names), kind)} cannot fill {len(fractions)} splits; at least one"
                f" {kind} for each split is needed"
            )
        counts = group_counts(label, dataset.classes, codes, len(names))
        split = assign_groups(counts, fractions, rng)[codes]
    return [rows[split == index] for index in range(len(fractions))]


def _assign_rows(
    stratum: NDArray[np.int64], fractions: tuple[float, ...], rng: np.random.Generator
) -> NDArray[np.int64]:
    split = np.empty(len(stratum), dtype=np.int64)
    for value in range(int(stratum.max()) + 1):
        members = rng.permutation(np.flatnonzero(stratum == value))
        sizes = proportional_counts(len(members), np.asarray(fractions))
        if len(members) >= len(fractions):
            while (sizes == 0).any():  # few windows: every split gets one, from the largest
                sizes[sizes.argmin()] += 1
                sizes[sizes.argmax()] -= 1
        split[members] = np.repeat(np.arange(len(fractions)), sizes)
    return split


def assign_groups(
    counts: NDArray[np.int64], fractions: tuple[float, ...], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Assign each group to a split so that each class is divided by `fractions`; counts: (groups, classes) windows.

    Greedy from large to small: each group goes to the split where it lowers the chi-squared distance between actual and
    wanted numbers of windows the most. So splits fill at the same pace, and small groups at the end even out the rest.
    The last groups of a class are kept for splits that lack it.
    """
    totals = counts.sum(axis=0)
    weight = [[n / total if total else 0.0 for n, total in zip(row, totals, strict=True)] for row in counts.tolist()]
    order = np.argsort(-np.log(counts.sum(axis=1)) + rng.normal(0, _SIZE_JITTER, len(counts)))
    have = [[0.0] * len(totals) for _ in fractions]
    left = (counts > 0).sum(axis=0).tolist()
    split = np.zeros(len(counts), dtype=np.int64)
    for group in order.tolist():
        row = weight[group]
        classes = [c for c, n in enumerate(row) if n > 0]
        allowed: Iterable[int] = range(len(fractions))
        for c in classes:
            lacking = [p for p in range(len(fractions)) if have[p][c] == 0]
            if lacking and left[c] <= len(lacking):
                allowed = [p for p in allowed if p in lacking] or lacking
            left[c] -= 1
        best = min(allowed, key=lambda p: _distance_change(row, have[p], fractions[p], classes))
        for c in classes:
            have[best][c] += row[c]
        split[group] = best
    return split


def _distance_change(row: list[float], have: list[float], fraction: float, classes: list[int]) -> float:
    """Change of sum((have - fraction)^2 / fraction) when a group joins a split; all in fractions of the class."""
    return sum(row[c] * (2 * (have[c] - fraction) + row[c]) / fraction for c in classes)


def _check_classes(dataset: Dataset, split: Split) -> list[str]:
    """Warnings about classes or labels that validation or test cannot measure. Raises DataError, see split_dataset."""
    what = f"{dataset.group_name}s" if dataset.group is not None else "windows"
    warnings = []
    for name, rows in split.by_name().items():
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
                f"{dataset.source.path}: the {name} split has no windows both with and without"
                f" {', '.join(map(shown, lacking))}; use more {what}, other split fractions, or fewer labels"
            )
        warnings.append(
            f"the {name} split has no windows both with and without {', '.join(map(shown, lacking))}: absent there, and"
            " left out of every mean over labels"
        )
    return warnings


def near_duplicates_across(dataset: Dataset, rows_of: Rows) -> tuple[tuple[str, str], ...]:
    """Return the known pairs of recordings, else of groups, in different splits (rows by name) with the same signal."""
    units = dataset.group if dataset.recording is None else dataset.recording
    if not dataset.source.near_duplicates or units is None:
        return ()
    split_of = {}
    for name, rows in rows_of.items():
        split_of |= dict.fromkeys(np.unique(units[rows]).tolist(), name)
    return tuple(
        (first, second)
        for first, second in dataset.source.near_duplicates
        if first in split_of and second in split_of and split_of[first] != split_of[second]
    )


def _check_near_duplicates(dataset: Dataset, split: Split, allow_duplicates: bool) -> list[str]:
    group, warnings = dataset.group_name or "group", []
    pairs = near_duplicates_across(dataset, split.by_name())
    what = f"{group}s" if dataset.recording is None else "recordings"
    if dataset.source.near_duplicates is None:
        found = near_duplicate_groups(dataset, split.by_name())
        pairs = () if found is None else found.pairs
        if found is not None and found.windows is not None:
            warnings.append(
                f"near-duplicates across splits were searched in the first {counted(found.windows, 'window')} of "
                f"each {group}"
                " only, because there are so many"
            )
    if not pairs:
        return warnings
    named = ", ".join(f"{first} and {second}" for first, second in pairs[:3]) + (", ..." if len(pairs) > 3 else "")
    finding = f"{counted(len(pairs), 'pair')} of {what} with the same signal in different splits ({named})"
    # Results on a split that others use too are wanted on that split; a drawn one can be drawn without them.
    published = dataset.recording is None and dataset.split is not None
    if not allow_duplicates and not published:
        raise DataError(
            f"{dataset.source.path}: {finding}; leave one of each out, give both the same patient, or give"
            " --allow-duplicates"
        )
    return [*warnings, f"{finding}, so results may be too optimistic"]


def duplicate_windows(dataset: Dataset, split: Split) -> tuple[tuple[int, int], ...]:
    """Return a pair of rows for each window that occurs in several splits, by a hash of the bytes."""
    split_of = np.full(len(dataset), -1, dtype=np.int8)
    for index, rows in enumerate(split.by_name().values()):
        split_of[rows] = index
    first: dict[bytes, int] = {}
    pairs: dict[bytes, tuple[int, int]] = {}
    for row in np.flatnonzero(split_of >= 0).tolist():
        key = hashlib.blake2b(np.ascontiguousarray(dataset.signal[row]).data, digest_size=16).digest()
        earlier = first.setdefault(key, row)
        if split_of[earlier] != split_of[row]:
            pairs.setdefault(key, (earlier, row))
    return tuple(pairs.values())


def _percent(fractions: tuple[float, ...]) -> str:
    return "/".join(f"{100 * f:.3g}" for f in fractions)
