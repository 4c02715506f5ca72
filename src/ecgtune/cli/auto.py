"""`ecgtune auto`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ecgtune.cli.inputs import InputFlags, check_exists, record_arguments
from ecgtune.cli.options import MOST_USED, DataFile, Out, Wait, given, optional
from ecgtune.cli.output import say
from ecgtune.config.auto import AutoSettings

if TYPE_CHECKING:
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
        columns, options, windows = record_arguments(inputs)
        path = ecgtune.auto(
            data, chosen, records=inputs.records.records, columns=columns, options=options, record_settings=windows,
            out=out, wait=wait,
        )  # fmt: skip
    else:
        path = ecgtune.auto(data, chosen, reading=inputs.reading.arguments(), out=out, wait=wait)
    if path.suffix == ".md":
        say(*path.read_text(encoding="utf-8").split("\n"))
    say(f"{path.stem}: {path}")
