"""`ecgtune explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MOST_USED, RECORDINGS, given, optional
from ecgtune.cli.output import say
from ecgtune.config.commands import ExplainSettings, PredictSettings

if TYPE_CHECKING:
    ExplainFlags = ExplainSettings
    ReadingFlags = PredictSettings
else:
    ExplainFlags = optional(ExplainSettings, "ExplainFlags", MOST_USED, recipe=False)
    ReadingFlags = optional(
        PredictSettings,
        "ReadingFlags",
        RECORDINGS,
        recipe=False,
        skip=(
            "recording",
            "abstain",
            "sets",
            "max_skipped",
            "workers",
            "device",
            "records",
            "recording_column",
            "match_numbers",
        ),
    )


def explain(
    run: Annotated[Path, Parameter(group=MOST_USED)],
    file: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    out: Annotated[Path, Parameter(group=MOST_USED)] = Path("explanation.svg"),
    settings: ExplainFlags = ExplainFlags(),
    reading: ReadingFlags = ReadingFlags(),
) -> None:
    """Draw a window on ECG paper, with its most influential stretches.

    Those that raise the probability of the class most are shaded, darker for larger values. A shaded stretch is what
    the model reads, not what is wrong with a patient.

    Parameters
    ----------
    run
        Folder of a run that fine-tune or compare wrote, or a file of ecgtune export, for which occlusion works.
    file
        A recording, or a CSV or NPZ file of windows.
    out
        SVG file of the picture.
    """
    header = file.with_name(f"{file.name}.hea")  # the name of a WFDB record has no suffix
    check_exists(run, header if header.exists() else file)
    import ecgtune

    data = header if header.exists() else file
    found = ecgtune.explain(run, data, ExplainSettings(**given(settings)), PredictSettings(**given(reading)), out=out)
    say(*(f"note: {text}" for text in found.notes))
    say(*found.sentences(), f"picture: {out}")
