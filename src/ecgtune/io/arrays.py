"""Arrays of a Python session to a `Dataset`, and a dataset to an NPZ file that reads back."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtune.config.base import check_settings
from ecgtune.config.reading import Layout, Unit
from ecgtune.data.dataset import Dataset, Source, check_rate
from ecgtune.data.leads import leads_in_file
from ecgtune.errors import DataError
from ecgtune.io.labels import class_notes
from ecgtune.io.readers.base import WindowBlock, WindowColumns, WindowHeader
from ecgtune.io.readers.bounded import as_text
from ecgtune.io.readers.column_names import group_kind
from ecgtune.io.readers.numpy_files import window_leads
from ecgtune.io.window_files import parse_blocks
from ecgtune.text import shown
from ecgtune.utils.files import write_atomically
from ecgtune.utils.formatting import counted

#: Begins the messages, where a file would be named.
ARRAYS = Path("arrays")
_ROWS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySettings:
    """How arrays are read, beside the arguments of `read_arrays`."""

    unit: Unit | None = None
    """Unit of the samples; they become millivolts. None leaves them as they are, with `unit == "unknown"`."""
    split: ArrayLike | None = None
    """(windows,): "train", "val" or "test"."""
    group_name: str = "patient"
    """Kind of the groups, "patient" or "record"."""
    positive: str | None = None
    """Positive class of two."""
    layout: Layout | None = None
    """Axes of `signal`: "NCT" for (windows, leads, samples), "NTC" for (windows, samples, leads)."""
    drop_invalid: bool = False
    """Leave out windows with samples that are no number and windows in which no lead changes."""


DEFAULTS = ArraySettings()


def read_arrays(
    signal: ArrayLike,
    label: ArrayLike,
    *,
    sampling_rate: float,
    leads: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    group: ArrayLike | None = None,
    settings: ArraySettings = DEFAULTS,
) -> Dataset:
    """Make a dataset of arrays, with the checks of `read_dataset`.

    Parameters
    ----------
    signal
        Windows, (windows, samples) of one lead or (windows, leads, samples): integers or floats. Copied.
    label
        (windows,): text, or whole numbers; 2 to 50 values. Or (windows, labels): 0, 1, and nan or -1 for a missing
        label, with the labels' names as `classes`.
    sampling_rate
        Hz, 20 to 10,000.
    leads
        Names of the leads in order, "I" to "V6"; ("II",) by default for one lead, required for several.
    classes
        Names of the labels; with numbers (windows,) the name of 0, of 1, and so on. Of two the second is positive.
    group
        (windows,): the patient (or record) of each window; a group is never divided by a split.
    settings
        Unit, split, positive class and more.

    Raises DataError, one line with the window, for arrays that cannot be used.
    """
    if isinstance(sampling_rate, bool) or not isinstance(sampling_rate, (int, float, np.integer, np.floating)):
        raise DataError(f"{ARRAYS}: sampling_rate is {sampling_rate!r}; a number in Hz is needed, such as 500")
    check_rate(float(sampling_rate), f"{ARRAYS}: sampling_rate")
    check_settings(settings, ArraySettings)
    columns = WindowColumns(layout=settings.layout, drop_invalid=settings.drop_invalid)
    values, names = _windows(signal, leads, columns)
    texts = {name: _column(name, given, len(values)) for name, given in (("group", group), ("split", settings.split))}
    flags = np.ndim(label) == 2
    text = _flags(label, classes, len(values)) if flags else _column("label", label, len(values))
    assert text is not None
    if classes is not None and not flags:
        text = _named(np.asarray(label), text, tuple(map(str, classes)))
    header = WindowHeader(
        leads=names,
        sampling_rate=None,
        unit=None,
        group_name=None if group is None else group_kind(settings.group_name),
        place="window",
        sample=lambda lead, sample: f"lead {names[lead] if names else lead}, sample {sample} (counted from 0)",
        labels=tuple(map(str, classes or ())) if flags else None,
    )
    blocks: list[NDArray[np.float32]] = []
    parsed = parse_blocks(ARRAYS, header, _blocks(values, text, **texts), columns, settings.unit, blocks.append)
    order = parsed.classes if classes is None or flags else tuple(map(str, classes))
    codes = parsed.label if flags else np.array([order.index(name) for name in parsed.classes])[parsed.label]
    dataset = Dataset(
        signal=np.concatenate(blocks),
        label=codes,
        classes=order,
        sampling_rate=float(sampling_rate),
        leads=parsed.leads or ("II",),
        unit=parsed.unit,
        group=parsed.group,
        group_name=parsed.group_name,
        split=parsed.split,
        source=Source(str(ARRAYS), "", notes=(*class_notes(order), *parsed.notes)),
    )
    second = order[1] if classes is not None and dataset.task == "binary" else None
    dataset = dataset.with_positive(settings.positive or second)
    return replace(dataset, source=replace(dataset.source, sha256=content_sha256(dataset)))


def _windows(
    signal: ArrayLike, leads: Sequence[str] | None, columns: WindowColumns
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """The samples (windows, leads, samples) and the leads; None for one lead without a name."""
    values = np.asarray(signal)
    if values.dtype.kind not in "iuf" or values.ndim not in (2, 3) or 0 in values.shape:
        raise DataError(
            f"{ARRAYS}: signal is {values.dtype} of shape {values.shape}; numbers (windows, samples) or (windows,"
            " leads, samples), none of them 0, are needed"
        )
    if isinstance(leads, str):
        raise DataError(f"{ARRAYS}: leads is {leads!r}; a list of names is needed, leads=[{leads!r}]")
    if leads is None and values.ndim == 3 and min(values.shape[1:]) > 1:
        raise DataError(
            f"{ARRAYS}: signal has shape {values.shape}; name its leads in order, such as leads=['I', 'II', 'V1']"
        )
    known = None if leads is None else leads_in_file(ARRAYS, map(str, leads))
    named, swapped = window_leads(ARRAYS, values.shape, known, columns)
    values = values[:, None] if values.ndim == 2 else values.swapaxes(1, 2) if swapped else values
    return values if named is None else values[:, list(named.values())], None if named is None else tuple(named)


def _column(name: str, given: ArrayLike | None, windows: int) -> NDArray[np.str_] | None:
    """One text per window, "" for None and nan in an array of objects, as data frames have them."""
    if given is None:
        return None
    values = np.asarray(given)
    if values.shape != (windows,):
        kind = ", or (windows, labels)" if name == "label" else ""
        raise DataError(
            f"{ARRAYS}: {name} has shape {values.shape}; one value for each of the {counted(windows, 'window')},"
            f" ({windows},){kind}, is needed"
        )
    if values.dtype.kind == "O":
        values = np.array(["" if value is None or value != value else str(value) for value in values.tolist()])
    return as_text(ARRAYS, name, values)


def _flags(label: ArrayLike, classes: Sequence[str] | None, windows: int) -> NDArray[np.str_]:
    """Labels (windows, labels) as text."""
    values = np.asarray(label)
    names = tuple(map(str, classes or ()))
    if values.shape != (windows, len(names)) or len(set(names)) != len(names):
        raise DataError(
            f"{ARRAYS}: label has shape {values.shape}, and classes names {counted(len(set(names)), 'label')}; one row"
            f" for each of the {counted(windows, 'window')} and one name for each column are needed"
        )
    if values.dtype.kind not in "biuf":
        raise DataError(f"{ARRAYS}: label is {values.dtype} of several columns; 0, 1 and nan or -1 are needed")
    return as_text(ARRAYS, "label", values)


def _named(label: NDArray[Any], text: NDArray[np.str_], classes: tuple[str, ...]) -> NDArray[np.str_]:
    """Labels (windows,) as names of `classes`, of which numbers are indices."""
    if len(set(classes)) != len(classes):
        raise DataError(f"{ARRAYS}: classes are {', '.join(map(shown, classes))}; name each class once")
    numbers = label.dtype.kind in "biuf"
    fits = np.isin(label, np.arange(len(classes))) if numbers else np.isin(text, classes)
    if not fits.all():
        allowed = f"0 to {len(classes) - 1}, indices into classes" if numbers else ", ".join(map(shown, classes))
        window = int(fits.argmin())
        raise DataError(f"{ARRAYS}: window {window} has label {shown(text[window])}; allowed are {allowed}")
    names = np.array(classes)[label.astype(int)] if numbers else text
    absent = sorted({*classes} - {*names.tolist()})
    if absent:
        raise DataError(f"{ARRAYS}: no window has class {shown(absent[0])}; leave it out of classes")
    return names


def _blocks(
    values: NDArray[Any], label: NDArray[np.str_], group: NDArray[np.str_] | None, split: NDArray[np.str_] | None
) -> Generator[WindowBlock]:
    for first in range(0, len(values), _ROWS):
        yield WindowBlock.of_array(values[first : first + _ROWS], first, label, group, split)


def content_sha256(dataset: Dataset) -> str:
    """The sha256 of the arrays and the names of a dataset."""
    digest = hashlib.sha256(repr((dataset.classes, dataset.sampling_rate, dataset.leads, dataset.unit)).encode())
    for values in (dataset.signal, dataset.label, dataset.group, dataset.split):
        if values is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def write_npz(dataset: Dataset, path: Path) -> None:
    """Write a dataset as an NPZ file for `read_dataset`, whole or not at all; of two classes name the positive one."""
    several = dataset.task == "multilabel"
    arrays: dict[str, Any] = {
        "signal": dataset.signal,
        "label": dataset.label if several else np.array(dataset.classes)[dataset.label],
        "sampling_rate": dataset.sampling_rate,
        "leads": np.array(dataset.leads),
    }
    if several:
        arrays["classes"] = np.array(dataset.classes)
    if dataset.unit == "mV":
        arrays["unit"] = "mV"
    if dataset.split is not None:
        arrays["split"] = dataset.split
    if dataset.group is not None:
        arrays["record" if dataset.group_name == "record" else "patient"] = dataset.group

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, **arrays)

    write_atomically(path, write)
