"""A finished run's answers to new signals: probabilities and decisions per window and per recording, as tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ecgtune.config.base import from_table
from ecgtune.data.signal.path import SignalPath
from ecgtune.deployment.run import Run, answers, load_run
from ecgtune.errors import DataError, RunError, SettingError
from ecgtune.evaluation.groups import pooled_probability
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.unlabelled import Unlabelled, read_unlabelled, read_unlabelled_records
from ecgtune.training.inference import choose_device
from ecgtune.utils.files import write_text
from ecgtune.utils.progress import ProgressBar

BATCH = 256
WINDOWS, RECORDINGS, SKIPPED = "predictions.csv", "recordings.csv", "skipped.csv"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of a run, as in the tables that were written into `folder`.

    probability: (windows, classes), and `answer` a class name per window, or a tuple of the labels that are there, at
    the run's thresholds. recording, window: as in `data.Unlabelled`. recordings: the same per recording, by its name,
    or empty where the file names none. skipped: recordings that could not be used, and why.
    """

    folder: Path
    recording: np.ndarray | None
    window: np.ndarray
    probability: np.ndarray
    answer: list[str] | list[tuple[str, ...]]
    recordings: Mapping[str, tuple[np.ndarray, str | tuple[str, ...]]]
    skipped: Mapping[str, str]


def predict(
    run: Run | str | Path,
    data: str | Path,
    *,
    out: str | Path,
    records: str | Path | None = None,
    recording_column: str | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
    group: str | None = None,
    lead: str | None = None,
    step: float | None = None,
    pooled: Literal["mean", "maximum"] | None = None,
    max_skipped: float = 0.01,
    workers: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Predictions:
    """Answer the windows of a file, or those of recordings, and write the tables into the folder `out`.

    run: a run folder, or what `load_run` gave. data: a CSV or NPZ file of windows, a folder of recordings, or with
    `records` (the folder) a table that names recordings; labels are not needed and not looked at. options: what the
    files do not say themselves (rate, unit, names of the leads). Recordings go through the signal path that the run
    was trained on, are cut into windows of its length, `step` seconds apart (default: as in the training). lead: the
    lead to take for a run of one lead. group: which column of a file of windows names the recording. pooled: a
    recording's probability from its windows' (default: as the run was measured).

    `predictions.csv` has a row per window, `recordings.csv` one per recording, `skipped.csv` what could not be used;
    each appears whole or not at all. Raises DataError, SettingError or RunError, one line each, for signals whose
    leads, rate or length are not the run's.
    """
    run = run if isinstance(run, Run) else load_run(run)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; choose another folder with --out")
    target = choose_device(device)
    with ProgressBar(quiet=quiet) as bar:
        if records is None and not Path(data).is_dir():
            _only_for_windows(run, recording_column, step, options)
            windows = _windows(run, Path(data), options, group, lead)
        else:
            if group is not None:
                raise SettingError("--group is for files of windows; recordings are named by their files")
            bar.describe("recordings")
            windows = read_unlabelled_records(
                data if records is None else records,
                _signal_path(run, lead, step),
                table=None if records is None else data,
                recording_column=recording_column,
                options=options,
                max_skipped=max_skipped,
                workers=workers,
                skipped=folder / SKIPPED,
                progress=_counter(bar),
            )
        bar.expect(len(windows))
        bar.describe("windows")
        run.model.to(target)
        parts = []
        for start in range(0, len(windows), BATCH):
            batch = windows.batch(start, start + BATCH)
            parts.append(run.predict(batch, windows.sampling_rate))
            bar.advance(len(batch))
    probability = np.concatenate(parts)
    names: np.ndarray = np.array([], dtype=np.str_)
    of_recording = probability[:0]
    if windows.recording is not None:
        evaluated = run.metrics.get("evaluation", {}).get("recording", "mean")
        names, of_recording = _of_recordings(run, probability, windows.recording, pooled or evaluated)
    found = Predictions(
        folder=folder,
        recording=windows.recording,
        window=windows.window,
        probability=probability,
        answer=answers(run.decision, run.classes, probability),
        recordings=dict(
            zip(
                names.tolist(),
                zip(of_recording, answers(run.decision, run.classes, of_recording), strict=True),
                strict=True,
            )
        ),
        skipped={each.recording: each.reason for each in windows.skipped},
    )
    _write(run, found)
    return found


def _windows(run: Run, data: Path, options: ReadOptions, group: str | None, lead: str | None) -> Unlabelled:
    """The windows of a file. Raises DataError for those that are not like the run's."""
    windows = read_unlabelled(
        data, run.model.leads, sampling_rate=options.sampling_rate, group=group, lead=lead, unit=options.unit
    )
    trained_on = run.metrics["data"]
    seconds = trained_on["samples"] / trained_on["sampling_rate"]
    if abs(windows.seconds - seconds) > 1 / min(windows.sampling_rate, trained_on["sampling_rate"]):
        raise DataError(
            f"{data}: windows of {windows.seconds:g} s, but the run was trained on windows of {seconds:g} s; cut them"
            " like those, or check the sampling rate"
        )
    if run.preprocessing.normalisation != "zscore" and windows.unit == "unknown":
        raise DataError(
            f"{data}: does not say its unit, but without a z-score per window the amplitude matters to this run; give"
            " it, for example --unit uV"
        )
    return windows


def _only_for_windows(run: Run, recording_column: str | None, step: float | None, options: ReadOptions) -> None:
    """Raise SettingError for what a file of windows cannot be given, or a run that it cannot be given to."""
    asked = {"recording-column": recording_column, "step": step, "lead-names": options.lead_names}
    for name, value in asked.items():
        if value is not None:
            raise SettingError(f"--{name} is about recordings; give their folder, alone or with --records")
    signal_path = run.metrics["data"]["signal_path"] or {}
    done = [name for name in ("band", "mains", "zscore") if signal_path.get(name)]
    if done:
        raise SettingError(
            f"the run was trained on recordings that went through {' and '.join(done)} as a whole, which a file of"
            " windows has not; give the recordings"
        )


def _signal_path(run: Run, lead: str | None, step: float | None) -> SignalPath:
    """How recordings become windows: as for the training, in windows of the same length."""
    trained_on = run.metrics["data"]
    leads = run.model.leads
    if lead is not None:
        if len(leads) > 1:
            raise SettingError(f"--lead {lead} is for runs of one lead, but this one has {', '.join(leads)}")
        leads = (lead,)
    window = trained_on["samples"] / trained_on["sampling_rate"]
    stored = trained_on["signal_path"]
    if stored is None:
        return SignalPath(trained_on["sampling_rate"], leads, window=window, step=step)
    made = from_table(SignalPath, stored, f"the signal path of {run.folder}")
    return replace(made, leads=leads, window=window, step=step or made.step)


def _counter(bar: ProgressBar) -> Callable[[int, int], None]:
    """What a first pass tells its progress to."""
    done = 0

    def progress(count: int, total: int) -> None:
        nonlocal done
        if not done:
            bar.expect(total)
        bar.advance(count - done)
        done = count

    return progress


def _of_recordings(
    run: Run, probability: np.ndarray, recording: np.ndarray, pooled: Literal["mean", "maximum"]
) -> tuple[np.ndarray, np.ndarray]:
    """Names and probabilities (recordings, classes); of two classes it is the second one's that is pooled."""
    if run.task != "binary":
        return pooled_probability(probability, recording, pooled)
    names, second = pooled_probability(probability[:, 1], recording, pooled)
    return names, np.stack([1 - second, second], axis=1)


def _write(run: Run, found: Predictions) -> None:
    """Both tables; the one of recordings first, so that who sees predictions.csv finds both. What an earlier call left
    there and these answers do not have goes.
    """
    if not found.skipped:
        (found.folder / SKIPPED).unlink(missing_ok=True)
    if found.recording is None:
        (found.folder / RECORDINGS).unlink(missing_ok=True)
    else:
        counts = dict(zip(*np.unique(found.recording, return_counts=True), strict=True))
        rows = [([name, counts[name]], *entry) for name, entry in found.recordings.items()]
        write_text(found.folder / RECORDINGS, _table(run, ["recording", "windows"], rows))
    recording = [""] * len(found.window) if found.recording is None else found.recording.tolist()
    keys = [list(key) for key in zip(recording, found.window.tolist(), strict=True)]
    rows = list(zip(keys, found.probability, found.answer, strict=True))
    write_text(found.folder / WINDOWS, _table(run, ["recording", "window"], rows))


def _table(run: Run, names: list[str], rows: list[tuple[list[Any], np.ndarray, Any]]) -> str:
    """CSV text: the keys, a probability per class or label (of two classes: of the second), the answer."""
    several = run.task == "multilabel"
    columns = ["probability"] if run.task == "binary" else [f"probability_{name}" for name in run.classes]
    columns += [f"answer_{name}" for name in run.classes] if several else ["answer"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, *columns])
    for key, probability, answer in rows:
        values = probability[1:] if run.task == "binary" else probability
        writer.writerow(
            [*key, *values.tolist(), *([int(name in answer) for name in run.classes] if several else [answer])]
        )
    return out.getvalue()
