"""The command group `ecgtune data`: getting recordings and looking at them before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from ecgtune.cli.flags import given, optional
from ecgtune.cli.inputs import Reading, RecordFlags, inspect
from ecgtune.config.data import DataSettings

if TYPE_CHECKING:
    DataFlags = DataSettings
else:
    DataFlags = optional(DataSettings, "DataFlags", recipe=False)

data = App(name="data", help="Get public databases of recordings, and look at recordings before training.")


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
    from ecgtune.io.download import get_database
    from ecgtune.utils.progress import ProgressBar

    with ProgressBar(quiet=quiet) as bar:
        bar.describe(name)
        fetched = get_database(name, out, source=source, expect=bar.expect, done=bar.advance)
    print(f"{name}: {fetched.fetched} files fetched, {fetched.kept} were there: {out}")


@data.command
def check(
    labels: Path,
    /,
    *,
    model: str | None = None,
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    split: DataFlags = DataFlags(),
    quiet: bool = False,
) -> None:
    """Check recordings before training: counts, rates, leads, lengths, labels, splits, near-duplicates.

    Everything is read, and kept in the cache for the training. What cannot be used ends with exit status 2.

    Parameters
    ----------
    labels
        CSV table with one row per recording; the folder is --records.
    model
        Make the windows at the rate of this model, as train and compare do; else at the recordings' own.
    quiet
        Show no progress.
    """
    from ecgtune.data.splits import split_dataset
    from ecgtune.errors import DataError
    from ecgtune.io.records.report import inspection_text, split_text

    settings = DataSettings(**given(split))
    found = inspect(labels, reading, records, [] if model is None else [model], quiet=quiet)
    print(inspection_text(found))
    if found.dataset is None:
        raise DataError("; ".join(found.problems))
    drawn = split_dataset(
        found.dataset,
        fractions=settings.fractions,
        seed=settings.split_seed,
        label_fraction=settings.label_fraction,
        allow_duplicates=settings.allow_duplicates,
    )
    print(split_text(found.dataset, drawn))
