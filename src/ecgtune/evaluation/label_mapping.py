"""Labels of another data set as the classes or labels of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.positive import POSITIVE
from ecgtune.data.tasks import MISSING, Task
from ecgtune.errors import SettingError
from ecgtune.text import shown, shown_name

#: In a mapping, all names that it does not list.
OTHERS = "*"


@dataclass(frozen=True, eq=False)
class MappedLabels:
    """Labels of the windows that the run can be measured on.

    label: as in `evaluate`, of the run's classes, for the windows `rows`. left_out: number of windows without a class
    of the run, by their own label. absent: classes or labels of the run that the data do not have. unused: names of the
    data that are no class of the run.
    """

    rows: NDArray[np.int64]
    label: NDArray
    left_out: dict[str, int]
    absent: tuple[str, ...]
    unused: tuple[str, ...]


def parsed_mapping(text: str) -> dict[str, str]:
    """Return `{"AFIB": "AF", "AFL": "AF"}` of "AFIB=AF,AFL=AF". Raises SettingError for another form."""
    result: dict[str, str] = {}
    for part in text.split(","):
        source, sign, target = (piece.strip() for piece in part.partition("="))
        if not (source and sign and target):
            raise SettingError(f"--map: {shown(part.strip())} is no pair; write DATA=RUN, such as AFIB=AF,AFL=AF")
        if result.setdefault(source, target) != target:
            both = f"{shown(result[source])} and {shown(target)}"
            raise SettingError(f"--map: {shown(source)} has two classes, {both}; give one")
    return result


def map_labels(
    label: NDArray, names: Sequence[str], mapping: Mapping[str, str], classes: Sequence[str], task: Task
) -> MappedLabels:
    """Map labels of a data set with the classes or labels `names` to those of a run.

    label: as of `data.dataset.Dataset`. mapping: from names of the data to classes of the run; "*" stands for all that
    are not listed. Names that are classes of the run need no entry. Of several labels, a window has a label of the run
    if any that is mapped to it is there. A run of two classes takes the label of its positive class, a run of more
    classes the windows with exactly one of them. Raises SettingError for a mapping of names that do not exist, and
    where no class is left.
    """
    unknown = [name for name in mapping if name not in (*names, OTHERS)]
    if unknown:
        raise SettingError(
            f"--map: the data have no label {shown_name(unknown[0])}; allowed: {', '.join(names)}, and {OTHERS}"
        )
    wrong = [name for name in mapping.values() if name not in classes]
    if wrong:
        raise SettingError(f"--map: the run has no class {shown_name(wrong[0])}; allowed: {', '.join(classes)}")
    targets = [mapping.get(name, name if name in classes else mapping.get(OTHERS)) for name in names]
    if not any(targets):
        raise SettingError(
            f"the data have {', '.join(names)}, the run {', '.join(classes)}, and none is the same; map them, such as "
            f'--map "{names[0]}={classes[0]}"'
        )
    unused = tuple(name for name, target in zip(names, targets, strict=True) if target is None)
    absent = tuple(name for name in classes if name not in targets)
    columns = _columns(label, targets, classes)
    if task == "multilabel":
        known = (columns != MISSING).any(axis=1)
        return MappedLabels(np.flatnonzero(known), columns[known].astype(np.int8), {}, absent, unused)
    if label.ndim == 2 and task == "binary" and classes[POSITIVE] in targets:
        chosen = columns[:, POSITIVE]
        absent = ()
        known, mapped = chosen != MISSING, chosen
    else:
        known, mapped = (columns == 1).sum(axis=1) == 1, columns.argmax(axis=1)
    left_out = _left_out(label, names, ~known)
    return MappedLabels(np.flatnonzero(known), mapped[known].astype(np.int64), left_out, absent, unused)


def _columns(label: NDArray, targets: Sequence[str | None], classes: Sequence[str]) -> NDArray:
    """Labels (windows, classes) of 1, 0 and -1; a class that no name is mapped to is -1 throughout."""
    several = label if label.ndim == 2 else (label[:, None] == np.arange(len(targets))).astype(np.int8)
    result = np.full((len(label), len(classes)), MISSING, np.int8)
    for index, name in enumerate(classes):
        own = several[:, [target == name for target in targets]]
        if own.shape[1]:
            there, known = (own == 1).any(axis=1), (own != MISSING).all(axis=1)
            result[:, index] = np.where(there, 1, np.where(known, 0, MISSING))
    return result


def _left_out(label: NDArray, names: Sequence[str], left: NDArray[np.bool_]) -> dict[str, int]:
    """Number of windows that are left out, by their class, or by their labels."""
    if label.ndim == 1:
        counts = np.bincount(label[left], minlength=len(names))
        return {name: int(count) for name, count in zip(names, counts, strict=True) if count}
    found: dict[str, int] = {}
    for row in label[left]:
        phrase = " and ".join(name for name, value in zip(names, row, strict=True) if value == 1) or "no label"
        found[phrase] = found.get(phrase, 0) + 1
    return found
