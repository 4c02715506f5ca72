"""Step look: the files -> fingerprint.json, which holds what is in them and how they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.config.base import to_table
from ecgtune.data.dataset import Dataset
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.near_duplicates import near_duplicate_groups
from ecgtune.data.plausibility import doubts, fitting_rates
from ecgtune.data.signal.quality import saturated_leads
from ecgtune.data.tasks import decided, label_counts, task_of
from ecgtune.errors import DataError, QuestionError, RunError
from ecgtune.io.again import check_reading, read_again
from ecgtune.io.label_table import LabelTable, TableColumns, read_label_table
from ecgtune.io.published_labels import SCP_COLUMN
from ecgtune.io.readers.base import WindowColumns
from ecgtune.io.readers.column_names import LABEL_NAMES
from ecgtune.io.readers.csv_table import read_table
from ecgtune.io.records.reading import Inspection, RecordFiles, inspect_records
from ecgtune.io.window_files import read_cached
from ecgtune.io.windows import WindowFiles
from ecgtune.utils.files import write_json
from ecgtune.utils.formatting import counted
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import REMOVE, is_there, read_json
from ecgtune.workflows.auto.schemas import Fingerprint

FILE = "fingerprint.json"
FORMAT = 1
_EXAMPLES = 10  # of recordings that were left out
_MOST_PAIRS = 100_000  # of duplicates: a larger file could not be read again
_SAMPLED = 256  # windows whose quality is measured
#: Findings of recordings that are counted.
_FINDINGS = ("derived", "zeroed", "constant", "saturated", "filled", "interrupted", "repeated", "still")


def look(request: Mapping[str, Any], out: Path, *, progress: ProgressBar) -> dict[str, Any]:
    """Read the files that `request` describes, as `Source.reading` does, and write fingerprint.json.

    A file that exists is kept. Facts that the files leave open are asked for in one QuestionError, with the flag of
    each. What was assumed instead, because the files allow one answer only, is listed under "assumed".

    Raises RunError where `out` holds a fingerprint of other files or flags.
    """
    file = out / FILE
    if is_there(file):
        found = read_fingerprint(out)
        if found["request"] != dict(request):
            raise RunError(f"{out} holds another auto (other files, or other flags of reading); choose another --out")
        return found
    progress.describe("look")
    kind = request["kind"]
    found = _recordings(request, out, progress) if kind == "records" else _windows(request, progress)
    pairs = len(found["duplicates"])
    if pairs > _MOST_PAIRS:
        raise DataError(f"{counted(pairs, 'pair')} of {found['group']}s have the same signal; leave the copies out")
    found = {"format": FORMAT, "request": dict(request), **found}
    write_json(file, found)
    return found


def read_fingerprint(out: Path) -> dict[str, Any]:
    """Read fingerprint.json of a folder. Raises RunError, one line."""
    file = out / FILE
    found = read_json(file, Fingerprint, REMOVE)
    for name in ("request", "reading"):
        check_reading(found[name], f"{file}: {name}", RunError, REMOVE)
        if found[name]["kind"] != found["kind"]:
            raise RunError(f"{file}: {name}.kind is not {found['kind']}; {REMOVE}")
    return found


def _windows(request: Mapping[str, Any], progress: ProgressBar) -> dict[str, Any]:
    """The fingerprint of a file of windows, or of simulated ones."""
    assumed: list[str] = []
    reading = dict(request)
    if request["kind"] == "windows":
        try:
            dataset = read_again(reading)
        except QuestionError as question:
            reading, sentence = _with_fitting_rate(reading, question)
            dataset = read_again(reading)
            assumed.append(sentence)
    else:
        dataset = read_again(request)
    for note in dataset.source.notes:
        progress.note(note)
    found = near_duplicate_groups(dataset)
    notes = [*dataset.source.notes, *_quality(dataset)]
    if found is not None and found.windows is not None:
        first = counted(found.windows, "window")
        notes.append(f"near-duplicates were searched in the first {first} of each {dataset.group_name or 'group'} only")
    return {
        "kind": request["kind"],
        "reading": reading,
        "assumed": assumed,
        "sha256": dataset.source.sha256,
        "sampling_rates": {f"{dataset.sampling_rate:g}": len(dataset)},
        "leads": {" ".join(dataset.leads): len(dataset)},
        "seconds": _spread([dataset.samples / dataset.sampling_rate]),
        "recordings": None,
        "unit": dataset.unit,
        **_labels(dataset.label, dataset.classes),
        "positive": dataset.positive_sentence or None,
        "group": dataset.group_name,
        "groups": None if dataset.group is None else len(np.unique(dataset.group)),
        "sites": None,
        "split": None if dataset.split is None else dict(Counter(dataset.split.tolist())),
        "duplicates": [] if found is None else [list(pair) for pair in found.pairs],
        "quality": {"notes": notes},
        "problems": [],
    }


def _with_fitting_rate(reading: dict[str, Any], question: QuestionError) -> tuple[dict[str, Any], str]:
    """The reading with the sampling rate that alone is plausible, and a sentence.

    Raises the question where no rate or several are plausible, else what is open beside the rate.
    """
    if reading.get("sampling_rate") is not None:
        raise question
    others = None
    try:
        signal = read_again({**reading, "sampling_rate": 100.0}).signal  # at any rate: only samples are needed
    except QuestionError as open_questions:
        others, signal = open_questions, _without_labels(reading, question)
    rates = fitting_rates(signal[:, 0])
    if len(rates) != 1:
        raise question
    if others is not None:
        raise others from None
    samples = signal.shape[2]
    return {**reading, "sampling_rate": rates[0]}, (
        f"the sampling rate is {rates[0]:g} Hz, which the file does not state: of the usual rates it is the only one "
        f"at which windows of {samples} samples last whole seconds ({samples / rates[0]:g}) and the heart rate is "
        f"plausible; --sampling-rate changes it"
    )


def _without_labels(reading: dict[str, Any], question: QuestionError) -> np.ndarray:
    """The signal of a file of which the labels are not known; raises the question where more is open."""
    settings = WindowFiles.of(reading).settings
    facts = {"lead_names": settings.lead_names, "layout": settings.layout, "drop_invalid": settings.drop_invalid}
    try:
        return read_cached(Path(reading["path"]), WindowColumns(labelled=False, **facts), settings.unit).signal
    except DataError:
        raise question from None


def _quality(dataset: Dataset) -> list[str]:
    rows = np.unique(np.linspace(0, len(dataset) - 1, _SAMPLED).astype(int))
    cut = [bool(saturated_leads(np.asarray(dataset.signal[row]), dataset.sampling_rate).any()) for row in rows]
    notes = doubts(dataset, rows)
    if any(cut):
        notes.append(f"{sum(cut)} of {counted(len(rows), 'window')} looked at are saturated (cut off by the recorder)")
    return notes


def _recordings(request: Mapping[str, Any], out: Path, progress: ProgressBar) -> dict[str, Any]:
    """The fingerprint of recordings with a table of labels, or with labels in their headers."""
    files = RecordFiles.of(request)
    table, folder = Path(files.table), Path(files.records)
    columns, assumed = _assumed_columns(table, files.columns)

    def advance(done: int, total: int) -> None:
        progress.describe(f"look: recording {done} of {total}")

    facts_of = {"columns": columns, "options": files.options, "settings": files.settings}
    found = inspect_records(table, folder, **facts_of, skipped=out / "skipped.csv", progress=advance)
    facts = list(found.facts.values())
    if not facts:
        raise DataError("; ".join(found.problems) or f"{folder}: no recording of the table can be read")
    patients = found.table.patient
    return {
        "kind": "records",
        "reading": {**request, "columns": to_table(columns)},
        "assumed": assumed,
        "sha256": found.table.sha256,
        "sampling_rates": dict(Counter(f"{known.sampling_rate:g}" for known in facts)),
        "leads": dict(Counter(" ".join(sorted(known.leads, key=STANDARD_LEADS.index)) for known in facts)),
        "seconds": _spread([known.seconds for known in facts]),
        "recordings": len(facts),
        "unit": "mV",
        **_labels(found.table.label, found.table.classes),
        "positive": None if found.dataset is None else found.dataset.positive_sentence or None,
        "group": "record" if patients is None else "patient",
        "groups": len(facts) if patients is None else len(np.unique(patients)),
        "sites": None if found.table.site is None else dict(Counter(found.table.site.tolist())),
        "split": None if found.table.split is None else dict(Counter(found.table.split.tolist())),
        "duplicates": [[pair.first, pair.second] for pair in found.near_duplicates],
        "quality": _findings(found),
        "problems": [_without_remedy(text, found.table.path) for text in found.problems],
    }


def _without_remedy(problem: str, table: str) -> str:
    """The difference between recordings that `problem` states, without the flag: step decide makes them equal."""
    return problem.removeprefix(f"{table}: ").partition("; give ")[0]


def _assumed_columns(table: Path, columns: TableColumns) -> tuple[TableColumns, list[str]]:
    """The columns with the statements and the folds of the table, where it has them and nothing else is said."""
    assumed = []
    asked = (columns.label, columns.labels, columns.label_separator, columns.scp)
    if not columns.headers and all(value is None for value in asked):
        names = list(read_table(table, (SCP_COLUMN,))[0])
        if SCP_COLUMN in names and not {name.casefold() for name in names} & set(LABEL_NAMES):
            columns = replace(columns, scp="superclass")
            assumed.append(f"the labels are the diagnostic superclasses of column {SCP_COLUMN}; --scp or --label")
    if columns.fold is None and columns.published is None and not columns.headers:
        fold = ""
        if columns.val_file is columns.test_file is None:
            with suppress(QuestionError):  # which `inspect_records` asks, with what the recordings leave open
                fold = read_label_table(table, columns).unused_fold
        by_fold = replace(columns, fold=fold or None)
        if fold and _has_all_classes(read_label_table(table, by_fold)):
            columns = by_fold
            assumed.append(f"the folds of column {fold} are the split; --fold names another column")
        elif fold:
            assumed.append(f"a split by the folds of column {fold} would lack a class, so one is drawn; --fold {fold}")
    return columns, assumed


def _has_all_classes(table: LabelTable) -> bool:
    """Whether training has windows with and without each class or label, and the other splits those of one label."""
    for side in ("train", "val", "test"):
        usable = decided(table.label[table.split == side], table.classes)
        if not (usable.all() if side == "train" or table.task == "binary" else usable.any()):
            return False
    return True


def _labels(label: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    positives, known = label_counts(label, classes)
    pairs = zip(classes, positives.tolist(), known.tolist(), strict=True)
    return {
        "task": task_of(label, classes),
        "windows": len(label),
        "labels": {name: {"positives": count, "known": of} for name, count, of in pairs},
    }


def _spread(values: Iterable[float]) -> dict[str, float]:
    """Smallest, fifth percentile, median and largest."""
    array = np.array(list(values))
    names = {"min": 0, "p5": 5, "median": 50, "max": 100}
    return {name: float(np.percentile(array, at)) for name, at in names.items()}


def _findings(found: Inspection) -> dict[str, Any]:
    facts = found.facts.values()
    counts = {name: sum(bool(getattr(known, name)) for known in facts) for name in _FINDINGS}
    notes = [] if found.dataset is None else list(found.dataset.source.notes)
    return {
        "notes": notes,
        "skipped": [f"{one.recording}: {one.reason}" for one in found.skipped[:_EXAMPLES]],
        "skipped_recordings": len(found.skipped),
        **{name: count for name, count in counts.items() if count},
    }
