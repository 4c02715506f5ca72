"""`ecgtune predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MOST_USED, RECORDINGS, Members, Out, Wait, given, optional
from ecgtune.cli.output import complain, say
from ecgtune.config.commands import PredictSettings
from ecgtune.errors import SettingError
from ecgtune.utils.formatting import counted

if TYPE_CHECKING:
    PredictFlags = PredictSettings
else:
    PredictFlags = optional(PredictSettings, "PredictFlags", RECORDINGS, recipe=False)


def predict(
    run: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *data: Annotated[Path, Parameter(group=MOST_USED)],
    out: Out = Path("predictions"),
    ensemble: Members = (),
    settings: PredictFlags = PredictFlags(),
    wait: Wait = False,
) -> None:
    """Predict new signals with a finished run or an exported file.

    OUT/predictions.csv has probability and decision of each window, OUT/recordings.csv those of each recording. Labels
    are not needed, and not read where there are any. Recordings go through the signal path of the training, in windows
    of its length. Exit status 3: some recordings could not be used (OUT/skipped.csv), the others were predicted.

    Parameters
    ----------
    run
        Folder of a run that fine-tune or compare wrote, or a file of ecgtune export, which needs no torch.
    data
        CSV or NPZ files of windows, recordings, or folders of recordings; with --records one table that names
        recordings.
    """
    for each in data:
        if (each / "metrics.json").is_file() or each.suffix == ".onnx":
            raise SettingError(f"{each} is a run or an export, which comes first: `ecgtune predict {each} {run}`")
    headers = [each.with_name(f"{each.name}.hea") for each in data]  # the name of a WFDB record has no suffix
    files = [header if header.exists() else each for header, each in zip(headers, data, strict=True)]
    check_exists(*files, None if settings.records is None else Path(settings.records))
    for folder in (run, *ensemble):
        if not folder.is_file():
            from ecgtune.training.run_folder import RunFolder

            RunFolder(folder).check_finished()
    import ecgtune

    found = ecgtune.predict([run, *ensemble], data, PredictSettings(**given(settings)), out=out, wait=wait)
    say(*(f"note: {text}" for text in found.notes))
    of = f" of {counted(len(found.recordings), 'recording')}" if found.recordings else ""
    say(f"{counted(len(found.window), 'window')}{of}: {out / 'predictions.csv'}")
    if found.repeated:
        say(f"{counted(len(found.repeated), 'recording')} shorter than a window, repeated to fill it: column note")
    if found.abstained is not None:
        say(found.abstained)
    if found.skipped:
        complain(f"{counted(len(found.skipped), 'recording')} could not be used: {out / 'skipped.csv'}")
        sys.exit(3)
