"""`ecgtune data get` and `ecgtune data check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from ecgtune.cli.inputs import Reading, RecordFlags, check_exists, inspect, read_data
from ecgtune.cli.options import MODEL, SPLIT, DataFile, Quiet, given, optional
from ecgtune.cli.output import say
from ecgtune.config.data import DataSettings
from ecgtune.config.model import ModelSettings
from ecgtune.models.names import check_model_name
from ecgtune.utils.formatting import counted

if TYPE_CHECKING:
    DataFlags = DataSettings
else:
    DataFlags = optional(DataSettings, "DataFlags", SPLIT, recipe=False)

app = App(name="data", help="Download public databases, and check recordings before training.")


@app.command
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
    say(f"{name}: {counted(fetched.fetched, 'file')} fetched, {fetched.kept} were there: {out}")


@app.command
def check(
    data: DataFile,
    /,
    *,
    model: Annotated[str | None, Parameter(group=MODEL)] = None,
    reading: Reading = Reading(),
    records: RecordFlags = RecordFlags(),
    split: DataFlags = DataFlags(),
    quiet: Quiet = False,
) -> None:
    """Check windows or recordings before training: counts, rates, leads, labels, splits, near-duplicates.

    All data are read, and cached for the training. Exit status 2 if they cannot be used.

    Parameters
    ----------
    data
        File of windows; with --records the table of labels, one row per recording; with --labels-from-headers the
        folder of recordings.
    model
        Check the leads for this model, and resample recordings to its rate, as fine-tune and compare do. By default
        recordings keep their rate.
    """
    from ecgtune.data.splits import split_dataset
    from ecgtune.errors import DataError
    from ecgtune.io.records.report import inspection_text, split_text, windows_text

    check_exists(data, records.records, reading.val_file, reading.test_file)
    if model is not None:
        check_model_name(model)
    settings = DataSettings(**given(split))
    if not records.used:
        dataset = read_data(data, reading, records, [], quiet=quiet)
        facts = windows_text(dataset)
        say(*facts.split("\n"))
    else:
        found = inspect(data, reading, records, [] if model is None else [model], quiet=quiet)
        facts = inspection_text(found)
        say(*facts.split("\n"))
        if found.dataset is None:
            raise DataError("; ".join(found.problems))
        dataset = found.dataset
    if model is not None or len(dataset.leads) > 1:  # the default model takes any one lead
        from ecgtune.models.loading import leads_problem

        asked = model or ModelSettings().name
        problem = "" if reading.copy_lead else leads_problem(asked, dataset.leads)
        if problem:
            say(f"warning: the leads do not fit {asked}{'' if model else ', the default model'}: {problem}")
    drawn = split_dataset(
        dataset,
        fractions=settings.fractions,
        seed=settings.split_seed,
        label_fraction=settings.label_fraction,
        allow_duplicates=settings.allow_duplicates,
    )
    said = split_text(dataset, drawn).split("\n")
    # The warnings of a split repeat the notes on the data.
    say(*(line for line in said if line.removeprefix("warning: ") not in facts))
