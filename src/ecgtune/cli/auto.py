"""`ecgtune auto`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecgtune.cli.inputs import InputFlags, RecordFlags, check_exists, check_window_flags, record_files
from ecgtune.cli.options import MOST_USED, DataFile, Out, Wait, given, optional
from ecgtune.cli.output import say
from ecgtune.config.auto import AutoSettings
from ecgtune.errors import SettingError

if TYPE_CHECKING:
    from ecgtune.io.windows import WindowFiles

    AutoFlags = AutoSettings
else:
    AutoFlags = optional(AutoSettings, "AutoFlags", MOST_USED, recipe=False)


def auto(
    data: DataFile,
    /,
    *,
    out: Out = Path("runs/auto"),
    settings: AutoFlags = AutoFlags(),
    inputs: InputFlags = InputFlags(),
    wait: Wait = False,
) -> None:
    """From files to a model: look, decide, train, choose and hand over.

    Everything is decided from the files, with a reason in OUT/plan.md; a question that they leave open names its flag.
    A first answer comes in the first tenth of the budget, OUT/answer.md at its end. Rerun the command to resume; the
    time that was spent counts. Change a decision in OUT/plan.toml or by its flag.
    """
    check_exists(data, inputs.records.records, inputs.reading.val_file, inputs.reading.test_file)
    import ecgtune

    chosen = AutoSettings(**given(settings))
    if inputs.records.used or data.is_dir():
        if inputs.reading.limit is not None:
            raise SettingError("--limit is for files of windows; give a table with fewer recordings")
        if inputs.records.skipped != RecordFlags().skipped:
            raise SettingError(f"--skipped is not for auto, which writes {out / 'skipped.csv'}; leave it out")
        headers = inputs.records.labels_from_headers or inputs.records.records is None
        records = replace(inputs.records, labels_from_headers=headers)
        files = record_files(data, replace(inputs, records=records))
    else:
        files = _window_files(data, inputs)
    path = ecgtune.auto(files, chosen, out=out, wait=wait)
    if path.suffix == ".md":
        say(*path.read_text(encoding="utf-8").split("\n"))
    say(f"{path.stem}: {path}")


def _window_files(data: Path, inputs: InputFlags) -> WindowFiles:
    """The file of windows. Raises SettingError for flags of recordings; of the leads one can be taken."""
    check_window_flags(inputs)
    reading, leads = inputs.reading, inputs.records.leads
    if leads is None:
        return reading.window_files(data)
    if len(leads) != 1:
        raise SettingError(
            f"--leads {' '.join(leads)}: of the leads of a file of windows, auto takes one or all; name one, or leave"
            " the flag out"
        )
    return replace(reading, lead=leads[0]).window_files(data)
