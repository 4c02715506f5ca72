"""`ecgtune evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from ecgtune.cli.inputs import InputFlags, LabelledFlags, SignalFlags, check_exists, read_data
from ecgtune.cli.options import MOST_USED, DataFile, Members, Out, Wait, given, optional
from ecgtune.cli.output import print_columns, say
from ecgtune.config.commands import EvaluateSettings
from ecgtune.errors import SettingError

if TYPE_CHECKING:
    from ecgtune.data.dataset import Dataset
    from ecgtune.runtime.predictor import Predictor

    EvaluateFlags = EvaluateSettings
else:
    EvaluateFlags = optional(EvaluateSettings, "EvaluateFlags", MOST_USED, recipe=False)


def evaluate(
    run: Annotated[Path, Parameter(group=MOST_USED)],
    data: DataFile,
    /,
    *,
    out: Out = Path("evaluation"),
    ensemble: Members = (),
    settings: EvaluateFlags = EvaluateFlags(),
    inputs: LabelledFlags = LabelledFlags(),
    wait: Wait = False,
) -> None:
    """Evaluate a finished run on another data set, beside its own test split.

    Recordings are read with the signal path of the run's training. All windows of other data are evaluated,
    whatever their fold or split. Nothing is tuned on the data. OUT/table.md and OUT/external.json have the metrics
    of both with their difference and its interval, thresholds that keep a sensitivity, and subgroups.

    Parameters
    ----------
    run
        Folder of a run that fine-tune or compare wrote, or a file of ecgtune export.
    """
    chosen = EvaluateSettings(**given(settings))
    predictor, dataset = read_for_run((run, *ensemble), data, inputs)
    import ecgtune
    from ecgtune.io.subgroup_columns import read_columns
    from ecgtune.reporting.external import comparison_rows, gap_sentence, promise_sentences, sentences

    columns = read_columns(data, dataset, chosen.by, inputs.records.recording_column) if chosen.by else {}
    found = ecgtune.evaluate(predictor, dataset, chosen, out=out, columns=columns, wait=wait)
    say(*sentences(found))
    level = "recording" if found["recording"] else "window"
    print_columns((f"Per {level}", "internal", "external", "difference"), comparison_rows(found, level))
    say(*promise_sentences(found["certainty"]))
    say(*(f"{name}: {gap_sentence(column['gap'])}" for name, column in found["subgroups"].items()))
    say(f"table: {out / 'table.md'}")


def read_for_run(runs: tuple[Path, ...], data: Path, inputs: LabelledFlags) -> tuple[Predictor, Dataset]:
    """Open an exported file, a run or an ensemble, and read labelled data with its signal path, as the flags say."""
    reading, records, signal = inputs.reading, inputs.records, SignalFlags()
    check_exists(*runs, data, records.records)
    for run in runs:
        if not run.is_file():
            from ecgtune.training.run_folder import RunFolder

            RunFolder(run).check_finished()
    from ecgtune.workflows.predict import open_predictor

    predictor = open_predictor(runs)
    if records.used:
        for name, value in {"lead": reading.lead, "leads": records.leads}.items():
            if value is not None:
                raise SettingError(f"--{name}: the leads of recordings are those of the run's training; leave it out")
        path = predictor.signal_path()
        signal = SignalFlags(
            resample=path.sampling_rate,
            window=path.window,
            step=path.step,
            short=path.short,
            band=path.band,
            mains=None if path.mains is None else cast(Any, f"{path.mains:g}"),
            recording_zscore=path.zscore,
            longest_gap=path.longest_gap,
        )
        records = replace(records, leads=path.leads)
    return predictor, read_data(data, InputFlags(reading, records, signal), [])
