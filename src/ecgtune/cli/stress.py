"""`ecgtune stress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.evaluate import read_for_run
from ecgtune.cli.inputs import LabelledFlags
from ecgtune.cli.options import MOST_USED, DataFile, Members, Out, Wait, given, optional
from ecgtune.cli.output import say
from ecgtune.config.commands import StressSettings

if TYPE_CHECKING:
    StressFlags = StressSettings
else:
    StressFlags = optional(StressSettings, "StressFlags", MOST_USED, recipe=False)


def stress(
    run: Annotated[Path, Parameter(group=MOST_USED)],
    data: DataFile,
    /,
    *,
    out: Out = Path("stress"),
    ensemble: Members = (),
    settings: StressFlags = StressFlags(),
    inputs: LabelledFlags = LabelledFlags(),
    wait: Wait = False,
) -> None:
    """Measure a finished run on disturbed windows.

    Disturbances are noise, mains, wrong gains, leads and rates, clipping and short records. OUT/stress.md has
    AUROC, balanced accuracy at the run's threshold and mean confidence at each strength, with intervals over
    patients or recordings; OUT/stress.svg draws them, OUT/stress.csv and OUT/stress.json have the numbers. Nothing
    is tuned.

    Recordings are read with the signal path of the run's training.

    Parameters
    ----------
    run
        Folder of a run that fine-tune or compare wrote, or a file of ecgtune export.
    """
    predictor, dataset = read_for_run((run, *ensemble), data, inputs)
    import ecgtune
    from ecgtune.reporting.stress import stress_sentences

    found = ecgtune.stress(predictor, dataset, StressSettings(**given(settings)), out=out, wait=wait)
    say(*stress_sentences(found), f"table: {out / 'stress.md'}, figure: {out / 'stress.svg'}")
