"""The table of labels of a folder of recordings: one row per recording, checked column by column."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ecgtune.config.base import choose, suggest
from ecgtune.data.tasks import Task, task_of
from ecgtune.errors import DataError, QuestionError, SettingError, answered
from ecgtune.io.joining import Table, files_by_split, read_tables
from ecgtune.io.label_cells import Labels, labels_in
from ecgtune.io.labels import Where, check_no_leak, distinct, identifiers, split_names
from ecgtune.io.published_labels import SCP_COLUMN, SCP_KINDS, header_labels
from ecgtune.io.published_splits import LEFT_OUT, folds_as_splits, published_split
from ecgtune.io.readers.base import MAX_TEXT
from ecgtune.io.readers.column_names import (
    FILE_NAMES,
    FOLD_NAMES,
    LABEL_NAMES,
    PATIENT_NAMES,
    RECORD_NAMES,
    RECORDING_NAMES,
    SITE_NAMES,
    SPLIT_NAME,
    label_candidates,
)
from ecgtune.io.readers.csv_table import read_table
from ecgtune.text import shown
from ecgtune.utils.formatting import counted, listed

logger = logging.getLogger(__name__)

MAX_FOLD = 1_000_000


@dataclass(frozen=True)
class TableColumns:
    """Names of the table's columns; None: the usual names are searched, and a fold column is not used.

    recording (--recording-column), patient (--patient), site (--site). label (--label): one column of classes. labels
    (--labels): several columns of 0 and 1. label_separator (--label-separator): between several labels in the column
    `label`. scp (--scp): the kind of statements in PTB-XL's column `scp_codes`, see `published_labels`; with either,
    `labels` are the labels to use. missing (--missing): labels that mean a missing one. headers
    (--labels-from-headers): the table is a folder, and the lines `# Dx:` of its headers are the labels. positive
    (--positive): the positive class of two. fold (--fold): a column of train / val / test or of fold numbers. val_fold,
    test_fold: the folds of these two splits (PTB-XL's `strat_fold` 9 and 10; else the two highest). published
    (--published): the name of a published split by recording, see `published_splits`.
    """

    recording: str | None = None
    patient: str | None = None
    site: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    label_separator: str | None = None
    scp: str | None = None
    missing: tuple[str, ...] = ()
    headers: bool = False
    positive: str | None = None
    fold: str | None = None
    val_fold: int | None = None
    test_fold: int | None = None
    published: str | None = None
    val_file: Path | None = None
    test_file: Path | None = None

    def __post_init__(self) -> None:
        if self.scp is not None:
            choose(self.scp, SCP_KINDS, "--scp")
            if self.label_separator is not None:
                raise SettingError("--scp and --label-separator are both given; a column is read in one way")
        if self.headers:
            without = ("recording", "patient", "site", "label", "label_separator", "scp", "fold", "published")
            given = [name.replace("_", "-") for name in without if getattr(self, name) is not None]
            if given:
                raise SettingError(f"--{given[0]} is about a table; --labels-from-headers reads none, leave one out")
        if self.label_separator == "":
            raise SettingError("--label-separator is empty; give the character between two labels, such as '|'")
        if self.label is not None and self.labels is not None and not self.several:
            raise SettingError("--label and --labels are both given; one column of classes, or several of 0 and 1")
        if self.labels is not None and (not self.labels or len(set(self.labels)) < len(self.labels)):
            raise SettingError(f"--labels {' '.join(self.labels)}; name one or more columns, each once")
        given = [name for name in ("fold", "published", "headers") if getattr(self, name)]
        if given and (self.val_file is not None or self.test_file is not None):
            raise SettingError(f"--{given[0]} and --val-file or --test-file are both given; leave one of them out")
        if self.fold is not None and self.published is not None:
            raise SettingError("--fold and --published are both given; one of them gives the split of a recording")
        if self.fold is None and (self.val_fold is not None or self.test_fold is not None):
            raise SettingError("--val-fold and --test-fold need the column of folds; name it with --fold")

    @property
    def several(self) -> bool:
        """Whether one column names several labels of a recording; `labels` are then those to use."""
        return self.scp is not None or self.label_separator is not None


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Rows of a table that have a label, as arrays (rows,).

    recording: as written in the table, or its id in the folder once `matched`. row: of the file, for messages. patient,
    site: None without such a column. split: "train", "val", "test", or None; split_origin: a phrase about its source.
    label: int64 index into `classes`, or int8 (rows, labels) of 1, 0 and -1 (missing) with the labels' names as
    `classes`. unlabelled: recordings without any label, which are not in the arrays. left_out: recordings that a
    published split leaves out. unused_fold: the name of a column of folds that is not used, "" without one. notes: on
    other columns that name recordings.
    """

    path: str
    sha256: str
    row: NDArray[np.int64]
    recording: NDArray[np.str_]
    patient: NDArray[np.str_] | None
    site: NDArray[np.str_] | None
    split: NDArray[np.str_] | None
    split_origin: str | None
    label: NDArray[np.int64] | NDArray[np.int8]
    classes: tuple[str, ...]
    unlabelled: tuple[str, ...]
    left_out: tuple[str, ...]
    unused_fold: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.recording)

    @property
    def task(self) -> Task:
        """ "binary", "multiclass" or "multilabel"."""
        return task_of(self.label, self.classes)

    def matched(self, identifiers: Sequence[str | None]) -> LabelTable:
        """Return the rows with a recording, named by its id in the folder: `identifiers` has one per row, or None."""
        found = self.select(np.array([identifier is not None for identifier in identifiers]))
        return replace(found, recording=np.array([name for name in identifiers if name is not None], dtype=np.str_))

    def select(self, rows: NDArray) -> LabelTable:
        """Return the table with these rows (indices or a mask)."""
        names = ("row", "recording", "patient", "site", "split", "label")
        chosen = {name: values[rows] for name in names if (values := getattr(self, name)) is not None}
        return replace(self, **chosen)


def read_label_table(path: str | Path, columns: TableColumns = TableColumns()) -> LabelTable:
    """Read and check a table of labels: CSV with a header, separated by commas, semicolons or tabs.

    An empty label is missing, not negative; rows without any label are left out. Without `label` and `labels` the
    column `label` is used, or else the only column without another meaning; several are an error that lists them.
    Raises DataError, one line with row and column, for missing or unknown columns, cells that are no labels, a
    recording twice, a patient in two splits.
    """
    path = Path(path)
    labels = None
    if columns.headers:
        recording, sets, digest = header_labels(path)
        table = Table(str(path), {RECORD_NAMES[0]: recording}, np.arange(len(recording)), digest)
        labels = Labels(("# Dx",), np.array([not own for own in sets]), sets=sets, wanted=columns.labels)
    elif path.is_dir():
        raise DataError(
            f"{path}: is a folder; give the table of labels, and the folder with --records, or read the labels of WFDB"
            " headers with --labels-from-headers"
        )
    else:
        whole = (columns.label or SCP_COLUMN, *LABEL_NAMES) if columns.several else ()
        table = read_tables(files_by_split(path, columns.val_file, columns.test_file), whole)
    names = tuple(table.text)
    patient_name = _column(path, names, columns.patient, PATIENT_NAMES, "--patient")
    site_name = _column(path, names, columns.site, SITE_NAMES, "--site")
    fold_name = _column(path, names, columns.fold, () if columns.published else (SPLIT_NAME,), "--fold")
    text, where = table.text, table.where()
    usual = _column(path, names, columns.recording, RECORDING_NAMES, "--recording-column")
    taken = {usual, patient_name, site_name, fold_name, SPLIT_NAME}
    recording_name, asked = answered(
        lambda: usual or _no_recording_column(path, text),
        lambda: () if labels is not None else _label_columns(path, names, columns, taken),
    )
    if labels is None:
        labels = labels_in(
            [text[name] for name in asked],
            asked,
            where,
            scp=columns.scp,
            separator=columns.label_separator,
            wanted=columns.labels if columns.several else None,
            missing=columns.missing,
        )
    recording = _complete(text[recording_name], recording_name, where)
    _check_unique(recording, where)
    keep = ~labels.missing
    unlabelled = recording[~keep]
    left_out = recording[:0]
    split, origin = table.split, table.origin
    if split is not None and fold_name is not None:
        raise DataError(f"{path}: has a column {fold_name}, and the files give the splits; leave one of them out")
    if columns.published is not None:
        split, origin = published_split(columns.published, recording, where)
        left_out = recording[keep & (split == LEFT_OUT)]
        keep &= split != LEFT_OUT
    if not keep.any():
        raise DataError(
            f"{table.path}: no row has a value in {listed(labels.names)}; labels are needed to train"
            f" on{labels.left_out}"
        )
    where = table.where(keep)
    if split is not None:
        split = split[keep]
    elif fold_name is not None:
        split, origin = _split(_complete(text[fold_name][keep], fold_name, where), fold_name, columns, where)
    patient = None if patient_name is None else identifiers(_complete(text[patient_name][keep], patient_name, where))
    if patient is not None and split is not None and columns.published is None:
        check_no_leak(patient, "patient", split, where)
    label, classes = labels.of(keep, where)
    return LabelTable(
        path=table.path,
        sha256=table.sha256,
        row=table.row[keep],
        recording=recording[keep],
        patient=patient,
        site=None if site_name is None else _complete(text[site_name][keep], site_name, where),
        split=split,
        split_origin=origin,
        label=label,
        classes=classes,
        unlabelled=tuple(unlabelled.tolist()),
        left_out=tuple(left_out.tolist()),
        unused_fold=next((name for name in names if split is None and name.casefold() in FOLD_NAMES), ""),
        notes=_other_names(text, recording_name, columns.recording),
    )


def _other_names(text: Mapping[str, NDArray[np.str_]], used: str, asked: str | None) -> tuple[str, ...]:
    """Say which columns name other files than the one that is used without being asked for."""
    if asked is not None:
        return ()
    others = [name for name in text if name != used and name.casefold() in FILE_NAMES]
    stems = {name: [PurePosixPath(cell).stem for cell in text[name].tolist()] for name in (used, *others) if others}
    others = [name for name in others if stems[name] != stems[used]]
    return tuple(
        f"the recordings are those of column {used}; --recording-column {other} takes those of column {other}"
        for other in others
    )


def read_recording_names(path: Path, column: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the recordings that a table names, in its order, and notes; its other columns are ignored.

    Raises DataError for a table that does not name them, or names one twice.
    """
    text, row, _ = read_table(path)
    name = _column(path, tuple(text), column, RECORDING_NAMES, "--recording-column") or _no_recording_column(path, text)
    where = Where(str(path), "row", row)
    recording = _complete(text[name], name, where)
    _check_unique(recording, where)
    return tuple(recording.tolist()), _other_names(text, name, column)


def _no_recording_column(path: Path, text: Mapping[str, NDArray[np.str_]]) -> NoReturn:
    """Ask for the column that names the recordings."""
    if any(name in cells for name, cells in text.items()):
        raise DataError(
            f"{path}: its first row ({listed(tuple(text))}) looks like data; write one with the names of the columns"
            " above it, such as record,label"
        )
    raise QuestionError(
        path, f"no column names the recordings; its columns are {listed(tuple(text))}; name one: --recording-column"
    )


def _column(path: Path, names: Sequence[str], asked: str | None, usual: Sequence[str], flag: str) -> str | None:
    """Return the column that is asked for, or the first of the usual names in the table."""
    if asked is not None:
        if asked not in names:
            raise DataError(f"{path}: has no column {asked!r} ({flag}); {suggest(asked, names)}")
        return asked
    by_folded = {name.casefold(): name for name in reversed(names)}
    return next((by_folded[name] for name in usual if name in by_folded), None)


def _label_columns(path: Path, names: Sequence[str], columns: TableColumns, taken: set[str | None]) -> tuple[str, ...]:
    asked = (columns.label,) if columns.label is not None else columns.labels
    if columns.several:
        asked = (columns.label or SCP_COLUMN,) if columns.label or columns.scp else None
    if asked is not None:
        for name in asked:
            _column(path, names, name, (), "--label" if columns.label is not None else "--labels")
        return asked
    candidates = label_candidates(names, taken)
    if not candidates:
        raise QuestionError(path, f"has no column of labels beside {listed(names)}; name one: --label")
    if len(candidates) > 1:
        scp = f", or use PTB-XL's column {SCP_COLUMN} with --scp superclass" if SCP_COLUMN in candidates else ""
        raise QuestionError(
            path,
            f"which column has the labels? It may be {listed(candidates, 'or')}; name one with --label, or several"
            f" columns of 0 and 1 with --labels{scp}",
        )
    if candidates[0].casefold() not in LABEL_NAMES:
        _tell_labels(path, candidates[0])
    return (candidates[0],)


@cache
def _tell_labels(path: Path, column: str) -> None:
    """Log the column of labels that was taken; once, as a table is read several times."""
    logger.info("%s: the labels are those of column %s", path, shown(column))


def _split(text: NDArray[np.str_], name: str, columns: TableColumns, where: Where) -> tuple[NDArray[np.str_], str]:
    try:
        numbers = np.array([float(cell) for cell in text])
    except ValueError:
        return split_names(text, where), f"from the table's column {name}"
    odd = np.flatnonzero(~(np.abs(numbers) < MAX_FOLD) | (numbers != np.rint(numbers)))
    if len(odd):
        raise DataError(
            f"{where(odd[0])}: {name} is {shown(text[odd[0]])}, no number of a fold; name its column: --fold"
        )
    return folds_as_splits(numbers.astype(np.int64), name, columns.val_fold, columns.test_fold, where.path)


def _complete(text: NDArray[np.str_], name: str, where: Where) -> NDArray[np.str_]:
    """Return the column. Raises DataError for an empty or endless cell."""
    empty = np.flatnonzero(text == "")
    if len(empty):
        raise DataError(
            f"{where(int(empty[0]))}: {name} is empty (in {counted(len(empty), 'row')}); every row needs one"
        )
    long = np.flatnonzero(np.char.str_len(text) > MAX_TEXT)
    if len(long):
        raise DataError(f"{where(int(long[0]))}: {name} has more than {MAX_TEXT} characters; is it the right column?")
    return text


def _check_unique(recording: NDArray[np.str_], where: Where) -> None:
    names, first, codes = distinct(recording)
    twice = np.flatnonzero(np.bincount(codes) > 1)
    if len(twice):
        name = names[twice[0]]
        second = int(np.flatnonzero(recording == name)[1])
        raise DataError(
            f"{where(second)}: recording {shown(name)} is already in {where.short(int(first[twice[0]]))}"
            f" (recordings in several rows: {len(twice)}); one row per recording is needed"
        )
