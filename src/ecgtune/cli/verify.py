"""`ecgtune verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MOST_USED, RECORDINGS, given, optional
from ecgtune.cli.output import say
from ecgtune.config.commands import PredictSettings

if TYPE_CHECKING:
    VerifyFlags = PredictSettings
else:
    VerifyFlags = optional(
        PredictSettings,
        "VerifyFlags",
        RECORDINGS,
        recipe=False,
        skip=("recording", "device", "max_skipped", "workers", "abstain", "sets"),
    )


def verify(
    model: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *data: Annotated[Path, Parameter(group=MOST_USED)],
    out: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    settings: VerifyFlags = VerifyFlags(),
) -> None:
    """Verify an exported file on this machine.

    The probabilities of the run for its test windows are in the file, the windows are not: they are found in DATA by
    their digests. Without DATA, simulated windows are compared.

    Parameters
    ----------
    model
        A file of ecgtune export.
    data
        Files of windows, recordings or folders with test windows of the run.
    out
        JSON file for the comparison.
    """
    check_exists(model, *data)
    import ecgtune

    found = ecgtune.verify(model, data, PredictSettings(**given(settings)), out=out)
    say(*found.sentences())
