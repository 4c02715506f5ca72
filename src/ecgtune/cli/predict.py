"""`ecgtune predict`: a finished run's answers to new signals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class SignalFlags:
    """What the files do not say themselves; all else is as in the training of the run."""

    sampling_rate: float | None = None
    """Sampling rate of the files in Hz; needed unless they hold it."""
    unit: Literal["mV", "uV", "V"] | None = None
    """Unit of the samples; needed only where the run needs it, or for recordings that do not say it."""
    lead: str | None = None
    """Lead to take, for a run of one lead; the run's when not given."""
    lead_names: Annotated[tuple[str, ...] | None, Parameter(consume_multiple=True)] = None
    """Leads of the recordings' channels in order, where the files do not name them; - leaves one out."""
    ignore_checksums: bool = False
    """Read files whose samples do not have the checksum that their header states."""
    group: str | None = None
    """Name of the column that says which windows of a file belong to one recording; `patient` or `record` when not
    given."""
    recording_column: str | None = None
    """Column of the table that names the recordings."""
    step: float | None = None
    """Seconds from one window of a recording to the next; as in the training when not given, less overlaps."""
    max_skipped: float = 0.01
    """Share of recordings that may be unusable; they are listed in OUT/skipped.csv."""
    workers: int | None = None
    """Processes that read recordings; as many as cores when not given."""


def predict(
    run: Path,
    data: Path,
    /,
    *,
    records: Path | None = None,
    out: Path = Path("predictions"),
    signals: SignalFlags = SignalFlags(),
    recording: Literal["mean", "maximum"] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    quiet: bool = False,
) -> None:
    """Answer new signals with a finished run: probabilities and decisions per window and per recording, as CSV.

    Labels are not needed, and not looked at where there are any. Recordings go through the signal path that the run was
    trained on, in windows of its length.

    Parameters
    ----------
    run
        Folder of a run that train or compare wrote.
    data
        CSV or NPZ file of windows, or a folder of recordings; with --records a table that names recordings.
    records
        Folder of recordings (WFDB, EDF, DICOM, HDF5, ...); DATA is then a table that names those to answer.
    out
        Folder for predictions.csv (a row per window), recordings.csv and skipped.csv.
    recording
        A recording's probability: the mean or the maximum over its windows; as the run was measured when not given.
    device
        Where to compute; auto takes CUDA, then MPS, then the CPU.
    quiet
        Show no progress.
    """
    import ecgtune
    from ecgtune.io.readers.base import ReadOptions

    options = ReadOptions(
        sampling_rate=signals.sampling_rate,
        unit=signals.unit,
        lead_names=signals.lead_names,
        ignore_checksums=signals.ignore_checksums,
    )
    found = ecgtune.predict(
        run,
        data,
        out=out,
        records=records,
        recording_column=signals.recording_column,
        options=options,
        group=signals.group,
        lead=signals.lead,
        step=signals.step,
        pooled=recording,
        max_skipped=signals.max_skipped,
        workers=signals.workers,
        device=device,
        quiet=quiet,
    )
    if found.skipped:
        print(f"{len(found.skipped)} recordings could not be used: {out / 'skipped.csv'}")
    of = f" of {len(found.recordings)} recordings" if found.recordings else ""
    print(f"{len(found.window)} windows{of}: {out / 'predictions.csv'}")
