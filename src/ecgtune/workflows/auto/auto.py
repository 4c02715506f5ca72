"""`auto`: the five steps one after the other, each from files to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecgtune.config.auto import STEPS, AutoSettings
from ecgtune.config.base import to_table
from ecgtune.data.dataset import Dataset
from ecgtune.errors import RunError, SettingError
from ecgtune.io.label_table import TableColumns
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.records.reading import RecordSettings
from ecgtune.utils import formatting
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.choose import TESTED, choose
from ecgtune.workflows.auto.decide import decide
from ecgtune.workflows.auto.do import do
from ecgtune.workflows.auto.hand_over import hand_over
from ecgtune.workflows.auto.look import look
from ecgtune.workflows.auto.plan_file import read_plan
from ecgtune.workflows.environment import command_line

DEFAULTS = AutoSettings()
NO_COLUMNS, NO_OPTIONS, NO_RECORD_SETTINGS = TableColumns(), ReadOptions(), RecordSettings()


def auto(
    data: str | Path | Dataset,
    settings: AutoSettings = DEFAULTS,
    *,
    records: str | Path | None = None,
    columns: TableColumns = NO_COLUMNS,
    options: ReadOptions = NO_OPTIONS,
    record_settings: RecordSettings = NO_RECORD_SETTINGS,
    reading: Mapping[str, Any] | None = None,
    out: str | Path = "runs/auto",
    wait: bool = False,
    quiet: bool = False,
) -> Path:
    """Look at the data, decide, train, choose and hand over within a budget; returns the path of answer.md.

    data: a CSV or NPZ file of windows; a table of labels, with `records` as the folder of recordings; a folder of WFDB
    recordings with diagnoses in their headers; or a dataset from `read_dataset`, `read_records` or `simulate`, which is
    read again by its source. columns, options, record_settings: as of `read_records`. reading: further arguments of
    `read_dataset` for a file of windows, such as `{"sampling_rate": 100}`.

    `out` holds fingerprint.json, plan.toml, do/, choice.json, model/, answer.md, next.md, report.html, model.onnx and
    page.html. Rerun to resume; time that was spent before counts. Raises QuestionError with all questions that the
    files leave open, and DataError, SettingError or RunError, one line each.
    """
    if not isinstance(settings, AutoSettings):
        raise SettingError(f"settings is {settings!r}; give ecgtune.AutoSettings(...)")
    out = Path(out)
    request = request_of(data, records, columns, options, record_settings, reading or {})
    steps = STEPS[: STEPS.index(settings.until) + 1]
    with exclusive(out, command_line(), wait=wait), ProgressBar(quiet=quiet) as progress:
        budget = Budget(out, progress)
        found = look(request, out, progress=progress)
        for sentence in found["assumed"]:
            progress.note(f"assumed: {sentence}")
        if "decide" not in steps:
            return out / "fingerprint.json"
        if (out / TESTED).is_file():
            _check_budget(out, settings)
        plan = decide(out, settings)
        if "do" not in steps:
            budget.tick(now=True)
            return out / "plan.md"
        budget.limit(plan.budget.seconds)
        do(out, plan, budget, progress, settings.jobs)
        if "choose" in steps:
            choose(out, plan, budget, progress)
        if "hand-over" in steps:
            hand_over(out, plan, budget, progress)
        budget.tick(now=True)
    return out / "answer.md"


def _check_budget(out: Path, settings: AutoSettings) -> None:
    """Raise RunError where more time is asked for after the test split was used: the choice is made."""
    before = read_plan(out).budget.seconds
    if settings.budget is not None and settings.seconds != before:
        raise RunError(
            f"{out} is finished with a budget of {formatting.duration(before)}, and its test split was used; choose "
            "another --out"
        )


def request_of(
    data: str | Path | Dataset,
    records: str | Path | None,
    columns: TableColumns,
    options: ReadOptions,
    record_settings: RecordSettings,
    reading: Mapping[str, Any],
) -> dict[str, Any]:
    """How the data are read, as plain values; see `Source.reading`."""
    if isinstance(data, Dataset):
        if data.source.reading is None:
            raise SettingError("the arrays of the dataset came from a Python session; write them to an NPZ file first")
        return dict(data.source.reading)
    path = Path(data)
    if records is None and not path.is_dir():
        return {"kind": "windows", "path": str(path.resolve()), **_plain(reading)}
    if reading:
        raise SettingError(f"reading is for a file of windows, but {data} names recordings; give columns and options")
    if records is None:
        columns, records = TableColumns(**{**to_table(columns), "headers": True}), path
    return {
        "kind": "records",
        "table": str(path.resolve()),
        "records": str(Path(records).resolve()),
        "columns": to_table(columns),
        "options": to_table(options),
        "settings": to_table(record_settings),
    }


def _plain(reading: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in reading.items()}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
