"""The command group `ecgtune data`: getting recordings and looking at them before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

data = App(name="data", help="Get public databases of recordings.")


@data.command
def get(
    name: Literal["ptb-xl", "cinc2017", "mitdb"],
    /,
    *,
    out: Path,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    quiet: bool = False,
) -> None:
    """Fetch a public database from its home, each file held against its published checksum.

    Run it again to go on where it was stopped; files that are there and right are not fetched again.

    Parameters
    ----------
    name
        ptb-xl (the recordings at 500 Hz), cinc2017 (training set) or mitdb.
    out
        Folder that the files go into.
    source
        URL of a mirror's folder, the one that holds SHA256SUMS.txt.
    quiet
        Show no progress.
    """
    from ecgtune.data.download import get_database
    from ecgtune.training import ProgressBar

    with ProgressBar(quiet=quiet) as bar:
        bar.describe(name)
        fetched = get_database(name, out, source=source, expect=bar.expect, done=bar.advance)
    print(f"{name}: {fetched.fetched} files fetched, {fetched.kept} were there: {out}")
