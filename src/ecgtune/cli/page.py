"""`ecgtune page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ecgtune.cli.export import ExportFlags
from ecgtune.cli.inputs import check_exists
from ecgtune.cli.options import MOST_USED, Members, given
from ecgtune.cli.output import say
from ecgtune.config.commands import ExportSettings


def page(
    model: Annotated[Path, Parameter(group=MOST_USED)],
    html: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    title: Annotated[str | None, Parameter(group=MOST_USED)] = None,
    ensemble: Members = (),
    settings: ExportFlags = ExportFlags(),
) -> None:
    """Write a model as one HTML page that reads ECGs in a browser, offline.

    The page holds the model and its runtime. It opens by double click, reads CSV, NumPy, WFDB, EDF, DICOM and HL7 aECG
    files, draws them on ECG paper, and sends nothing anywhere.

    Parameters
    ----------
    model
        A file of ecgtune export, or the folder of a run, which is exported first, with those of --ensemble.
    html
        The file to write, such as page.html.
    title
        Heading of the page; the labels when not given.
    """
    for each in (model, *ensemble):
        check_exists(each)
    import ecgtune

    path = ecgtune.page((model, *ensemble) if ensemble else model, html, ExportSettings(**given(settings)), title=title)
    say(f"page: {path} ({path.stat().st_size / 1e6:.1f} MB)")
