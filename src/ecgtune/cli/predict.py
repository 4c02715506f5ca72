"""`ecgtune predict`: predictions of finished runs for new signals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.flags import given, optional
from ecgtune.config.commands import PredictSettings

if TYPE_CHECKING:
    PredictFlags = PredictSettings
else:
    PredictFlags = optional(PredictSettings, "PredictFlags", recipe=False)


def predict(
    run: Path,
    data: Path,
    /,
    *,
    ensemble: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = (),
    out: Path = Path("predictions"),
    settings: PredictFlags = PredictFlags(),
    quiet: bool = False,
) -> None:
    """Predict new signals with a finished run: probabilities and decisions per window and per recording, as CSV.

    Labels are not needed, and not read where there are any. Recordings go through the signal path that the run was
    trained on, in windows of its length.

    Parameters
    ----------
    run
        Folder of a run that fine-tune or compare wrote.
    data
        CSV or NPZ file of windows, or a folder of recordings; with --records a table that names recordings.
    ensemble
        Folders of further runs on the same windows and classes; probabilities are averaged.
    out
        Folder for predictions.csv (a row per window), recordings.csv and skipped.csv.
    quiet
        Show no progress.
    """
    import ecgtune

    found = ecgtune.predict([run, *ensemble], data, PredictSettings(**given(settings)), out=out, quiet=quiet)
    if found.skipped:
        print(f"{len(found.skipped)} recordings could not be used: {out / 'skipped.csv'}")
    of = f" of {len(found.recordings)} recordings" if found.recordings else ""
    print(f"{len(found.window)} windows{of}: {out / 'predictions.csv'}")
