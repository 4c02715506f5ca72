"""Read a dataset again, by what its `Source` says about how it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, NotRequired, TypedDict

from ecgtune.config.base import from_table
from ecgtune.data.dataset import HIGHEST_RATE, LOWEST_RATE, Dataset, limited
from ecgtune.data.simulation import simulate
from ecgtune.errors import DataError, EcgtuneError
from ecgtune.io.label_table import TableColumns
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.records.reading import RecordFiles, RecordSettings, read_records
from ecgtune.io.windows import WindowFiles, read_window_files
from ecgtune.text import shown
from ecgtune.utils.schema import DAMAGED, Count, check_schema

#: `kind` of the reading of a run that was published without its data.
WITHOUT_DATA = "without data"
#: Simulated samples at most: a run folder may come from others, and must not fill the memory by a number.
MOST_SIMULATED = 1 << 26
_Texts = list[str] | str | None


class _Kind(TypedDict):
    kind: str


class _Simulated(TypedDict):
    windows: Annotated[int, 2, MOST_SIMULATED]
    sampling_rate: Annotated[float, LOWEST_RATE, HIGHEST_RATE]
    seconds: Annotated[float, 0, MOST_SIMULATED]
    patients: Count | None
    seed: Count
    leads: NotRequired[list[str]]


class _Windows(TypedDict):
    path: str
    val_file: NotRequired[str | None]
    test_file: NotRequired[str | None]
    sampling_rate: NotRequired[float | None]
    label: NotRequired[str | None]
    labels: NotRequired[_Texts]
    label_separator: NotRequired[str | None]
    missing: NotRequired[list[str] | str]
    positive: NotRequired[str | None]
    group: NotRequired[str | None]
    lead: NotRequired[str | None]
    unit: NotRequired[str | None]
    lead_names: NotRequired[_Texts]
    layout: NotRequired[str | None]
    drop_invalid: NotRequired[bool]


class _Records(TypedDict):
    table: str
    records: str
    columns: dict[str, Any]
    options: dict[str, Any]
    settings: dict[str, Any]


class _Limit(TypedDict):
    limit: NotRequired[list[Count] | None]


_SETTINGS: dict[str, type] = {"columns": TableColumns, "options": ReadOptions, "settings": RecordSettings}
_KINDS: dict[str, Any] = {"simulated": _Simulated, "windows": _Windows, "records": _Records}


def read_again(reading: Mapping[str, Any] | None, sha256: str | None = None) -> Dataset:
    """The dataset that `Source.reading` describes, also after a round trip through JSON.

    sha256: of the content then; None for any content. Raises DataError, one line, when nothing is described, the
    description is damaged, files are gone, or their content has changed.
    """
    if reading is None:
        raise DataError("its arrays came from a Python session, not from a file")
    check_reading(reading)
    given = dict(reading)
    kind, limit = given.pop("kind"), given.pop("limit", None)
    if kind == "simulated":
        dataset = simulate(**given)
    elif kind == "windows":
        dataset = read_window_files(WindowFiles.of(given))
    else:
        files = RecordFiles.of(given)
        settings = replace(files.settings, workers=None)  # which is for this machine to decide
        dataset = read_records(
            files.table, files.records, columns=files.columns, options=files.options, settings=settings
        )
    if limit is not None:
        dataset = limited(dataset, *limit)
    if sha256 not in (None, dataset.source.sha256):
        raise DataError(f"{dataset.source.path}: its content has changed since the training")
    return dataset


def check_reading(
    reading: Mapping[str, Any],
    what: str = "how the data were read",
    error: type[EcgtuneError] = DataError,
    remedy: str = DAMAGED,
) -> None:
    """Raise `error`, one line with `what` and `remedy`, where the description is not what `Source` writes."""
    check_schema(reading, _Kind, what, error, remedy)
    kind = reading["kind"]
    if kind == WITHOUT_DATA:
        raise error("the run was published without its data")
    if kind not in _KINDS:
        raise error(f"{what}: kind is {shown(kind)}, but is one of {', '.join(_KINDS)}; {remedy}")
    for schema in (_Limit, _KINDS[kind]):
        check_schema(reading, schema, what, error, remedy)
    unknown = reading.keys() - {*_Kind.__annotations__, *_Limit.__annotations__, *_KINDS[kind].__annotations__}
    if unknown or len(reading.get("limit") or (0, 0)) != 2:
        raise error(f"{what}: {shown(min(unknown, default='limit'))} is not what ecgtune writes; {remedy}")
    if kind == "simulated":
        leads = len(reading.get("leads", ("II",)))
        samples = leads * reading["windows"] * reading["seconds"] * reading["sampling_rate"]
        if samples > MOST_SIMULATED:
            raise error(
                f"{what}: {samples:.3g} samples are more than the {MOST_SIMULATED} that are simulated; {remedy}"
            )
    try:
        for name, cls in _SETTINGS.items() if kind == "records" else ():
            from_table(cls, reading[name], name)
    except EcgtuneError as problem:
        raise error(f"{what}: {problem}; {remedy}") from None
