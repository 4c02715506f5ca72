"""`ecgtune data get` and `ecgtune data check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from ecgtune.cli.inputs import Reading, RecordFlags, check_exists, inspect
from ecgtune.cli.options import MODEL, SPLIT, Quiet, given, optional
from ecgtune.config.data import DataSettings
from ecgtune.models.names import check_model_name

if TYPE_CHECKING:
    DataFlags = DataSettings
else:
    DataFlags = optional(DataSettings, "DataFlags", SPLIT, recipe=False)

data = App(name="data", help="Download public databases, and check recordings before training.")


@data.command
def get(
    name: Literal["ptb-xl", "cinc2017", "mitdb"],
    /,
    *,
    out: Path,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    quiet: Quiet = False,
) -> None:
    """Download a public database, with the published checksum of each file.

    Rerun the command to resume; complete files are not downloaded again.

    Parameters
    ----------
    name
        ptb-xl (the recordings at 500 Hz), cinc2017 (training set) or mitdb.
    out
        Folder of the files.
    source
        URL of a mirror's folder with SHA256SUMS.txt.
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
    model: Annotated[str | None, Parameter(group=MODEL)] = None,
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    split: DataFlags = DataFlags(),
    quiet: Quiet = False,
) -> None:
    """Check recordings before training: counts, rates, leads, lengths, labels, splits, near-duplicates.

    All recordings are read, and cached for the training. Exit status 2 if the data cannot be used.

    Parameters
    ----------
    labels
        CSV table with one row per recording; the folder is --records.
    model
        Resample to the rate of this model, as fine-tune and compare do; by default the rate of the recordings.
    """
    from ecgtune.data.splits import split_dataset
    from ecgtune.errors import DataError
    from ecgtune.io.records.report import inspection_text, split_text

    check_exists(labels, records.records)
    if model is not None:
        check_model_name(model)
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
