"""Predict new signals with finished runs or an exported file: probabilities and decisions per window and per recording,
as tables. torch is imported for runs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ecgtune.config.base import check_settings
from ecgtune.config.commands import PredictSettings
from ecgtune.config.reading import OF_RECORDINGS, flag_of
from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.certainty import check_certainty
from ecgtune.io.readers.base import MOST_CHANNELS
from ecgtune.io.readers.registry import common_folder, is_recording, path_in
from ecgtune.io.unlabelled import Unlabelled, read_unlabelled, read_unlabelled_records
from ecgtune.runtime.model import Model
from ecgtune.runtime.predictor import Predictor
from ecgtune.utils.files import file_sha256
from ecgtune.utils.formatting import counted
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.environment import command_line
from ecgtune.workflows.prediction_tables import (
    SKIPPED,
    PredictionResult,
    pooled,
    pooled_novelty,
    unit_predictions,
    write_tables,
)

BATCH = 256
DEFAULTS = PredictSettings()


def predict(
    run: Predictor | str | Path | Iterable[str | Path],
    data: str | Path | Iterable[str | Path],
    settings: PredictSettings = DEFAULTS,
    *,
    out: str | Path,
    wait: bool = False,
) -> PredictionResult:
    """Predict the windows of files, or those of recordings, and write the tables into the folder `out`.

    run: a run folder, several of them (their probabilities are averaged), the result of `load_run`, or an exported file
    or `runtime.Model`. data: CSV or NPZ files of windows, recordings, folders of recordings, one or several of each, or
    with `settings.records` one table that names recordings; labels are not needed and not read. Recordings go through
    the signal path that the run was trained on, in windows of its length. A file of windows without a sampling rate has
    that of the run, which is logged. Of several files and folders, recordings are named by their paths in the folder
    that all lie in; a file of windows that names no recordings is then one. wait: while another process
    uses the folder, instead of an error.

    `predictions.csv` has a row per window, `recordings.csv` one per recording, `skipped.csv` one per unusable
    recording; each appears whole or not at all. Of recordings, the column `note` of both says which are shorter than a
    window and were repeated. Raises DataError, SettingError or RunError, one line each, for signals whose leads, rate
    or length are not the run's.
    """
    check_settings(settings, PredictSettings)
    run = run if isinstance(run, Predictor) else open_predictor(run)
    places = [Path(data)] if isinstance(data, (str, Path)) else [Path(each) for each in data]
    return predict_files(run, places, settings, Path(out), ProgressBar(), wait=wait)


def predict_files(
    run: Predictor, places: list[Path], settings: PredictSettings, folder: Path, bar: ProgressBar, *, wait: bool = False
) -> PredictionResult:
    """`predict` with an open model and a progress bar that is not started."""
    check_certainty(run.certainty, settings.abstain, by_class := settings.sets == "class")
    with exclusive(folder, command_line(), result="predictions.csv", wait=wait):
        found = _predicted(run, places, settings, folder, bar)
        windows = [each for each, *_ in found]
        probability = np.concatenate([each for _, each, _ in found])
        scores = [each for *_, each in found if each is not None]
        novelty = np.concatenate(scores) if scores else None
        recording, notes = _recording_names(windows, places)
        names: np.ndarray = np.array([], dtype=np.str_)
        of_recordings, novelty_of = probability[:0], novelty if novelty is None else novelty[:0]
        rule = settings.recording or run.recording_rule
        if recording is not None:
            names, of_recordings = pooled(run, probability, recording, rule)
            novelty_of = pooled_novelty(novelty, recording)
        # Thresholds of recordings are those of the rule by which validation was pooled.
        whole = run.certainty.recording if run.certainty is not None and rule == run.recording_rule else None
        if settings.abstain is not None and recording is not None and whole is None:
            notes.append("no recording is abstained from: the run has no confidence of recordings on validation")
        result = PredictionResult(
            folder=folder,
            recording=recording,
            window=np.concatenate([each.window for each in windows]),
            windows=unit_predictions(
                run, probability, novelty, run.certainty and run.certainty.window, settings.abstain, by_class
            ),
            names=names.tolist(),
            of_recordings=unit_predictions(run, of_recordings, novelty_of, whole, settings.abstain, by_class),
            skipped={skipped.recording: skipped.reason for each in windows for skipped in each.skipped},
            repeated={name: seconds for each in windows for name, seconds in each.repeated.items()},
            notes=(
                *(note for each in windows for note in (*each.notes, *run.rate_notes(each.sampling_rate))),
                *notes,
                *_seen(run, places, names),
            ),
        )
        write_tables(run, result, settings.abstain is not None)
    return result


def open_predictor(run: str | Path | Iterable[str | Path]) -> Predictor:
    """An exported file, or the run or ensemble of one or more folders. Raises what `Model` and `load_run` raise."""
    names = [run] if isinstance(run, (str, Path)) else [*run]
    files = [path for path in map(Path, names) if path.is_file() or path.suffix == ".onnx"]
    if len(names) == 1 and files:
        return Model(files[0])
    if files:
        raise SettingError(f"{files[0]} is an exported file, which is used alone; give the run folders of an ensemble")
    from ecgtune.deployment.run import load_run

    return load_run(names)


def _predicted(
    run: Predictor, data: list[Path], settings: PredictSettings, folder: Path, bar: ProgressBar
) -> list[tuple[Unlabelled, np.ndarray, np.ndarray | None]]:
    """The windows of each file of windows, then of all recordings, each with what `_answered` returns."""
    run.to(settings.device)
    if not data:
        raise SettingError("no data are given; name files of windows, recordings or folders of recordings")
    if settings.records is not None and len(data) > 1:
        raise SettingError(f"{data[1]}: with --records, DATA is one table that names recordings; give one")
    of_recordings = [each for each in data if _of_recordings(each, settings)]
    sources = [[each] for each in data if each not in of_recordings] + ([of_recordings] if of_recordings else [])
    with bar:
        common = common_folder(data)
        windows = [read_windows(run, each, settings, folder / SKIPPED, bar, common) for each in sources]
        bar.expect(sum(len(each) for each in windows))
        bar.describe("windows")
        return [(each, *_answered(run, each, bar)) for each in windows]


def _answered(run: Predictor, windows: Unlabelled, bar: ProgressBar) -> tuple[np.ndarray, np.ndarray | None]:
    """Probabilities (windows, classes), and the novelty of each window where the run has a score."""
    parts = []
    for start in range(0, len(windows), BATCH):
        batch = windows.batch(start, start + BATCH)
        parts.append(run.assess(batch, windows.sampling_rate))
        bar.advance(len(batch))
    scores = [novelty for _, novelty in parts if novelty is not None]
    return np.concatenate([each for each, _ in parts]), np.concatenate(scores) if scores else None


def _recording_names(windows: list[Unlabelled], data: list[Path]) -> tuple[np.ndarray | None, list[str]]:
    """The recording of each window, None where one file names none; and notes on what was assumed."""
    if len(data) == 1:
        return windows[0].recording, []
    folder, names, notes = common_folder(data), [], []
    for each in windows:
        recording, file = each.recording, Path(each.path)
        if each.of_file:
            name = path_in(folder, file)
            if recording is None:
                notes.append(f"{file}: names no recordings; its windows are taken for one recording, {name}")
                recording = np.full(len(each), name)
            else:
                recording = np.array([f"{name}/{own}" for own in recording.tolist()])
        names.append(recording)
    return np.concatenate(names), notes


def _seen(run: Predictor, data: list[Path], names: np.ndarray) -> list[str]:
    """Notes about data on which the run was trained, whose predictions say nothing about new ones."""
    seen = [each for each in data if each.is_file() and file_sha256(each) in run.trained_on_files]
    if seen:
        return [
            f"{each} is the file that the run was trained on; most predictions are of its training windows"
            for each in seen
        ]
    known = run.known(names.tolist())
    if not known:
        return []
    some = f"{', '.join(known[:3])}{', ...' if len(known) > 3 else ''}"
    return [
        f"{len(known)} of {counted(len(names), 'recording')} may have trained the run or chosen its epoch: their names "
        f"are those of its training ({some}). Where they are the same, their predictions do not show how well it "
        "predicts new ones"
    ]


def _of_recordings(data: Path, settings: PredictSettings) -> bool:
    return settings.records is not None or data.is_dir() or is_recording(data)


def read_windows(
    run: Predictor,
    data: list[Path],
    settings: PredictSettings,
    skipped: Path | None,
    bar: ProgressBar,
    folder: Path | None = None,
) -> Unlabelled:
    """The windows of one file of windows, of recordings and folders of them, or of a table, as `run` takes them.

    folder: in which all data lie, by their paths in which recordings are named.
    """
    if not _of_recordings(data[0], settings):
        return _windows(run, data[0], settings)
    bar.describe("recordings")
    return _recordings(run, data, settings, skipped, folder, bar.count)


def _windows(run: Predictor, data: Path, settings: PredictSettings) -> Unlabelled:
    """The windows of a file. Raises SettingError for settings of recordings, DataError for windows unlike the run's."""
    for name in ("recording_column", "match_numbers", "step", "longest_gap", *OF_RECORDINGS):
        if getattr(settings, name) != getattr(DEFAULTS, name):
            raise SettingError(f"{flag_of(name)} is about recordings; give their folder, alone or with --records")
    trained_on = run.trained_on
    filtered = [name for name in ("band", "mains", "zscore") if (trained_on["signal_path"] or {}).get(name)]
    if filtered:
        raise SettingError(
            f"the run was trained on recordings that went through {' and '.join(filtered)} as a whole, which a file of"
            " windows has not; give the recordings"
        )
    windows = read_unlabelled(
        data,
        run.leads,
        settings,
        usual_rate=trained_on["sampling_rate"],
        usual_seconds=trained_on["samples"] / trained_on["sampling_rate"],
    )
    samples = windows.signal.shape[2]
    if samples <= MOST_CHANNELS < trained_on["samples"]:
        raise DataError(
            f"{data}: has {counted(samples, 'sample')} in a window; if these are the leads of a recording, give its"
            f" folder, {data.parent}, which is read as recordings"
        )
    run.check_length(samples, windows.sampling_rate, str(data))
    if windows.unit == "unknown" and run.amplitude_matters:
        raise DataError(
            f"{data}: does not say its unit, but without a z-score per window the amplitude matters to this run; give"
            " it, for example --unit uV"
        )
    return windows


def _recordings(
    run: Predictor,
    data: list[Path],
    settings: PredictSettings,
    skipped: Path | None,
    folder: Path | None,
    progress: Callable[[int, int], None],
) -> Unlabelled:
    """The windows of recordings and folders of recordings, or of those that one table names."""
    if settings.group is not None:
        raise SettingError("--group is for files of windows; recordings are named by their files")
    if settings.drop_invalid:
        raise SettingError("--drop-invalid is for files of windows; see --max-skipped for recordings")
    path = run.signal_path(settings.lead, settings.step, settings.longest_gap)
    return read_unlabelled_records(data, path, settings, folder=folder, skipped=skipped, progress=progress)
