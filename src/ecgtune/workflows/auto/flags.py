"""The flags of the command line that read the data again, from the reading of a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune.config.reading import flag_of
from ecgtune.io.label_table import TableColumns
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.records.reading import RecordSettings
from ecgtune.workflows.auto.plan_file import AutoPlan

#: Settings whose flag has another name.
_NAMES = {"recording": "--recording-column", "headers": "--labels-from-headers", "zscore": "--recording-zscore"}
#: Settings of a file of windows that say what its columns mean.
_LABELS = ("label", "labels", "label_separator", "missing", "positive", "group")
#: Settings of a table that say which recordings train; another database has no such column.
_SPLIT = ("fold", "val_fold", "test_fold", "published", "val_file", "test_file")
#: Settings without a flag, or that belong to the plan.
_WITHOUT = ("kind", "path", "max_values", "resampling", "workers", "sampling_rate", "window", "step", "leads")


def flags_of(found: Mapping[str, Any], plan: AutoPlan) -> dict[str, list[str]]:
    """Return the flags by purpose.

    records: the folder. facts: what the files do not state. windows: how recordings become windows. labels: columns and
    classes, without those of a split. request: all that was given, without what was decided.
    """
    reading, request = found["reading"], found["request"]
    if found["kind"] != "records":
        labels = {name: reading[name] for name in _LABELS if name in reading}
        facts = {name: value for name, value in reading.items() if name not in (*_LABELS, "kind", "path", "limit")}
        given = {name: value for name, value in request.items() if name not in ("kind", "path")}
        given |= {"limit": given["limit"][0]} if given.get("limit") else {}  # without the seed, which no flag gives
        return {
            "records": [],
            "facts": _flags(facts),
            "windows": [],
            "labels": _flags(labels),
            "request": _flags(given),
        }
    columns, facts = _given(reading["columns"], TableColumns()), _given(reading["options"], ReadOptions())
    settings = _given(reading["settings"], RecordSettings())
    data = plan.data
    windows = {"window": data.window, "step": data.step, "resample": data.sampling_rate, "leads": data.leads}
    asked = {name: request["settings"].get(name) for name in ("window", "step", "leads")}
    asked["resample"] = request["settings"].get("sampling_rate")
    rate = request["options"].get("sampling_rate")
    facts = {**facts, **({} if rate is None else {"sampling_rate": rate})}
    folder = [] if columns.get("headers") else ["--records", reading["records"]]
    return {
        "records": folder,
        "facts": _flags(facts),
        "windows": _flags({**settings, **windows}),
        "labels": _flags({name: value for name, value in columns.items() if name not in _SPLIT}),
        "request": _flags({**facts, **settings, **asked, **_given(request["columns"], TableColumns())}),
    }


def _given(table: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    """The settings of a table that differ from the defaults and have a flag."""
    return {
        name: value
        for name, value in table.items()
        if name not in _WITHOUT and value != _plain(getattr(defaults, name))
    }


def _flags(values: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in values.items():
        flag = _NAMES.get(name) or flag_of(name)
        if value is True:
            words.append(flag)
        elif isinstance(value, (list, tuple)) and value:
            words += [flag, *map(str, value)]
        elif value not in (None, False, [], ()):
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
