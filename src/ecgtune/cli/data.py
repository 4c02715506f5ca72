"""`ecgtune data get`, `check`, `fingerprint` and `overlap`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from ecgtune.cli.inputs import InputFlags, check_exists, inspect, read_data
from ecgtune.cli.options import MODEL, MOST_USED, SPLIT, DataFile, ReadFlags, given, optional
from ecgtune.cli.output import say
from ecgtune.config.data import DataSettings
from ecgtune.config.model import ModelSettings
from ecgtune.models.names import check_model_name
from ecgtune.utils.formatting import counted

if TYPE_CHECKING:
    from ecgtune.io.readers.base import ReadOptions

    DataFlags = DataSettings
else:
    DataFlags = optional(DataSettings, "DataFlags", SPLIT, recipe=False)

app = App(name="data", help="Download public databases, check recordings, and compare data sets.")


@app.command
def get(
    name: Literal["ptb-xl", "cinc2017", "mitdb"],
    /,
    *,
    out: Path,
    source: Annotated[str | None, Parameter(name="--from")] = None,
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

    with ProgressBar() as bar:
        bar.describe(name)
        fetched = get_database(name, out, source=source, expect=bar.expect, done=bar.advance)
    say(f"{name}: {counted(fetched.fetched, 'file')} fetched, {fetched.kept} were there: {out}")


@app.command
def check(
    data: DataFile,
    /,
    *,
    model: Annotated[str | None, Parameter(group=MODEL)] = None,
    inputs: InputFlags = InputFlags(),
    split: DataFlags = DataFlags(),
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
    from ecgtune.data.splits import draw_split
    from ecgtune.errors import DataError
    from ecgtune.io.records.report import inspection_text, split_text, windows_text

    reading, records = inputs.reading, inputs.records
    check_exists(data, records.records, reading.val_file, reading.test_file)
    if model is not None:
        check_model_name(model)
    settings = DataSettings(**given(split))
    if not records.used:
        dataset = read_data(data, inputs, [])
        facts = windows_text(dataset)
        say(*facts.split("\n"))
    else:
        found = inspect(data, inputs, [] if model is None else [model])
        facts = inspection_text(found)
        say(*facts.split("\n"))
        if found.dataset is None:
            raise DataError("; ".join(found.problems))
        dataset = found.dataset
    if model is not None or len(dataset.leads) > 1:  # the default model takes any one lead
        from ecgtune.models.loading import leads_problem

        asked = model or ModelSettings().name
        problem = leads_problem(asked, dataset.leads)
        if problem:
            say(f"warning: the leads do not fit {asked}{'' if model else ', the default model'}: {problem}")
    said = split_text(dataset, draw_split(dataset, settings)).split("\n")
    # The warnings of a split repeat the notes on the data.
    say(*(line for line in said if line.removeprefix("warning: ") not in facts))


@app.command
def fingerprint(
    data: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    out: Annotated[Path, Parameter(group=MOST_USED)],
    lead: Annotated[str | None, Parameter(group=MOST_USED)] = None,
    names: Annotated[bool, Parameter(group=MOST_USED, negative="")] = False,
    reading: ReadFlags = ReadFlags(),
) -> None:
    """Write fingerprints of recordings, to be shared without the signals.

    A fingerprint holds intervals and relative heights of beats, from which the signal cannot be rebuilt. `ecgtune data
    overlap` compares it with other data.

    Parameters
    ----------
    data
        File of windows, folder of recordings, or NPZ file of recordings as for pretrain.
    out
        File of the fingerprints (NPZ).
    lead
        Lead to compare; II, else I, else the first when not given.
    names
        Keep the names of recordings, which may identify patients.
    """
    check_exists(data)
    from ecgtune.workflows.overlap import fingerprint as write

    found = write(data, out, lead=_lead(lead), names=names, options=_options(reading))
    size = out.stat().st_size / 1000
    say(f"{counted(len(found), 'recording')}, {int(found.comparable.sum())} with beats enough, {size:.0f} kB: {out}")


@app.command
def overlap(
    first: Annotated[Path, Parameter(group=MOST_USED)],
    second: Annotated[Path, Parameter(group=MOST_USED)],
    /,
    *,
    out: Annotated[Path | None, Parameter(group=MOST_USED)] = None,
    lead: Annotated[str | None, Parameter(group=MOST_USED)] = None,
    reading: ReadFlags = ReadFlags(),
) -> None:
    """Find recordings that two data sets have in common, whatever their names, rates, gains and lengths.

    Parameters
    ----------
    first
        Data as for `ecgtune data fingerprint`, or a file that it wrote.
    second
        The same; such as the data of a pretraining.
    out
        CSV file of the pairs.
    lead
        Lead to compare; II, else I, else the first when not given.
    """
    check_exists(first, second)
    from ecgtune.workflows.overlap import data_overlap

    found = data_overlap(first, second, out=out, lead=_lead(lead), options=_options(reading))
    say(*found.sentences(str(first), str(second)))
    say(*(f"  {pair.first} = {pair.second}, {pair.intervals} intervals" for pair in found.pairs[:10]))
    if out is not None:
        say(f"pairs: {out}")


def _lead(name: str | None) -> str | None:
    from ecgtune.data.leads import lead_argument

    return None if name is None else lead_argument(name)


def _options(flags: ReadFlags) -> ReadOptions:
    from ecgtune.config.reading import ReadSettings
    from ecgtune.io.readers.base import ReadOptions

    return ReadOptions.of(ReadSettings(**given(flags)))
