"""`ecgtune export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ecgtune.cli.options import MOST_USED, Members, given, optional
from ecgtune.cli.output import say
from ecgtune.config.commands import ExportSettings
from ecgtune.training.run_folder import RunFolder

if TYPE_CHECKING:
    ExportFlags = ExportSettings
else:
    ExportFlags = optional(ExportSettings, "ExportFlags", MOST_USED, recipe=False)


def export(
    run: Annotated[Path, Parameter(group=MOST_USED)],
    model: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    ensemble: Members = (),
    settings: ExportFlags = ExportFlags(),
) -> None:
    """Export a run as one file that needs no torch, and verify it.

    The file takes raw windows and gives probabilities. It is compared with the run on the run's own test windows, and
    refused where it does not predict the same. The comparison is in the file and in <name>.verification.json beside it.

    Parameters
    ----------
    run
        Folder of a run that fine-tune or compare wrote.
    model
        The file to write: model.onnx, or model.pte for ExecuTorch on phones and small boards.
    """
    for folder in (run, *ensemble):
        RunFolder(folder).check_finished()
    import ecgtune

    found = ecgtune.export((run, *ensemble), model, ExportSettings(**given(settings)))
    say(*found.sentences(), f"exported: {found.path} ({found.path.stat().st_size / 1e6:.1f} MB)")
