"""Predict new signals with finished runs or an exported file: probabilities and decisions per window and per recording,
as tables. torch is imported for runs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.config.commands import PredictSettings
from ecgtune.config.reading import OF_RECORDINGS, flag_of
from ecgtune.data.positive import POSITIVE
from ecgtune.errors import DataError, SettingError
from ecgtune.evaluation.groups import pooled_probability
from ecgtune.io.readers.base import ReadOptions
from ecgtune.io.readers.registry import common_folder, is_recording, path_in
from ecgtune.io.unlabelled import Unlabelled, read_unlabelled, read_unlabelled_records
from ecgtune.runtime.model import Model
from ecgtune.runtime.predictor import Predictor, decided
from ecgtune.training.predictions import probability_names
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import file_sha256, write_text
from ecgtune.utils.formatting import counted
from ecgtune.utils.locks import exclusive
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.environment import command_line

BATCH = 256
WINDOWS, RECORDINGS, SKIPPED = "predictions.csv", "recordings.csv", "skipped.csv"
DEFAULTS = PredictSettings()


@dataclass(frozen=True, eq=False)
class PredictionResult:
    """Predictions for new signals, as in the tables that were written into `folder`.

    probability: (windows, classes). prediction: a class name per window, or a tuple of its labels, at the thresholds of
    the run. recording, window: as in `io.unlabelled.Unlabelled`. recordings: probability and prediction of each
    recording by its name; empty where the file names none. skipped: why a recording was not used, by its name.
    repeated: seconds of each recording that is shorter than a window and was repeated to fill it, by its name. notes:
    what the readers say, such as an implausible amplitude, and windows that were left out.
    """

    folder: Path
    recording: np.ndarray | None
    window: np.ndarray
    probability: np.ndarray
    prediction: list[str] | list[tuple[str, ...]]
    recordings: Mapping[str, tuple[np.ndarray, str | tuple[str, ...]]]
    skipped: Mapping[str, str]
    repeated: Mapping[str, float]
    notes: tuple[str, ...] = ()


def predict(
    run: Predictor | str | Path | Iterable[str | Path],
    data: str | Path | Iterable[str | Path],
    settings: PredictSettings = DEFAULTS,
    *,
    out: str | Path,
    wait: bool = False,
    quiet: bool = False,
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
    if not isinstance(settings, PredictSettings):
        raise SettingError(f"settings is {settings!r}; give ecgtune.PredictSettings(...)")
    run = run if isinstance(run, Predictor) else open_predictor(run)
    places = [Path(data)] if isinstance(data, (str, Path)) else [Path(each) for each in data]
    folder = Path(out)
    with exclusive(folder, command_line(), wait=wait):
        found = _predicted(run, places, settings, folder, quiet)
        windows = [each for each, _ in found]
        probability = np.concatenate([each for _, each in found])
        recording, notes = _recording_names(windows, places)
        names: np.ndarray = np.array([], dtype=np.str_)
        pooled = probability[:0]
        if recording is not None:
            names, pooled = _pooled(run, probability, recording, settings)
        of_recordings = zip(pooled, decided(run.decision, run.classes, pooled), strict=True)
        result = PredictionResult(
            folder=folder,
            recording=recording,
            window=np.concatenate([each.window for each in windows]),
            probability=probability,
            prediction=decided(run.decision, run.classes, probability),
            recordings=dict(zip(names.tolist(), of_recordings, strict=True)),
            skipped={skipped.recording: skipped.reason for each in windows for skipped in each.skipped},
            repeated={name: seconds for each in windows for name, seconds in each.repeated.items()},
            notes=(*(note for each in windows for note in each.notes), *notes, *_seen(run, places, names)),
        )
        _write(run, result, windows[0].seconds)
    return result


def open_predictor(run: str | Path | Iterable[str | Path]) -> Predictor:
    """An exported file, or the run or ensemble of one or more folders. Raises what `Model` and `load_run` raise."""
    paths = [Path(run)] if isinstance(run, (str, Path)) else [Path(each) for each in run]
    files = [path for path in paths if path.is_file() or path.suffix == ".onnx"]
    if len(paths) == 1 and files:
        return Model(files[0])
    if files:
        raise SettingError(f"{files[0]} is an exported file, which predicts alone; give the run folders of an ensemble")
    from ecgtune.deployment.run import load_run

    return load_run(paths)


def _predicted(
    run: Predictor, data: list[Path], settings: PredictSettings, folder: Path, quiet: bool
) -> list[tuple[Unlabelled, np.ndarray]]:
    """The windows of each file of windows, then of all recordings, with probabilities (windows, classes)."""
    run.to(settings.device)
    if not data:
        raise SettingError("no data are given; name files of windows, recordings or folders of recordings")
    if settings.records is not None and len(data) > 1:
        raise SettingError(f"{data[1]}: with --records, DATA is one table that names recordings; give one")
    of_recordings = [each for each in data if _of_recordings(each, settings)]
    sources = [[each] for each in data if each not in of_recordings] + ([of_recordings] if of_recordings else [])
    with ProgressBar(quiet=quiet) as bar:
        common = common_folder(data)
        windows = [read_windows(run, each, settings, folder / SKIPPED, bar, common) for each in sources]
        bar.expect(sum(len(each) for each in windows))
        bar.describe("windows")
        return [(each, _probability(run, each, bar)) for each in windows]


def _probability(run: Predictor, windows: Unlabelled, bar: ProgressBar) -> np.ndarray:
    parts = []
    for start in range(0, len(windows), BATCH):
        batch = windows.batch(start, start + BATCH)
        parts.append(run.predict(batch, windows.sampling_rate))
        bar.advance(len(batch))
    return np.concatenate(parts)


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
        f"{len(known)} of {counted(len(names), 'recording')} trained the run or chose its epoch ({some}); their "
        "predictions do "
        "not show how well it predicts new ones"
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
    return _recordings(run, data, settings, skipped, folder, _counter(bar))


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
    options = ReadOptions.of(settings)
    windows = read_unlabelled(
        data,
        run.leads,
        sampling_rate=settings.sampling_rate,
        usual_rate=trained_on["sampling_rate"],
        usual_seconds=trained_on["samples"] / trained_on["sampling_rate"],
        group=settings.group,
        lead=settings.lead,
        unit=settings.unit,
        lead_names=options.lead_names,
        layout=options.layout,
        drop_invalid=settings.drop_invalid,
    )
    run.check_length(windows.signal.shape[2], windows.sampling_rate, str(data))
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
    return read_unlabelled_records(
        data if settings.records is None else [Path(settings.records)],
        run.signal_path(settings.lead, settings.step, settings.longest_gap),
        folder=folder,
        table=None if settings.records is None else data[0],
        recording_column=settings.recording_column,
        match_numbers=settings.match_numbers,
        options=ReadOptions.of(settings),
        max_skipped=settings.max_skipped,
        workers=settings.workers,
        skipped=skipped,
        progress=progress,
    )


def _counter(bar: ProgressBar) -> Callable[[int, int], None]:
    """A function of (done, total) that moves the bar."""
    done = 0

    def progress(count: int, total: int) -> None:
        nonlocal done
        if not done:
            bar.expect(total)
        bar.advance(count - done)
        done = count

    return progress


def _pooled(
    run: Predictor, probability: np.ndarray, recording: np.ndarray, settings: PredictSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Names and probabilities (recordings, classes); of two classes it is the positive one's that is pooled."""
    rule = settings.recording or run.recording_rule
    if run.task != "binary":
        return pooled_probability(probability, recording, rule)
    names, positive = pooled_probability(probability[:, POSITIVE], recording, rule)
    return names, np.stack([1 - positive, positive], axis=1)


def _write(run: Predictor, found: PredictionResult, seconds: float) -> None:
    """Write both tables, that of recordings first: a complete predictions.csv has the other beside it.

    Tables of an earlier call that these predictions do not have are removed. seconds: of a window.
    """
    notes = {name: f"repeated: {own:g} s recorded, window of {seconds:g} s" for name, own in found.repeated.items()}
    if not found.skipped:
        (found.folder / SKIPPED).unlink(missing_ok=True)
    if found.recording is None:
        (found.folder / RECORDINGS).unlink(missing_ok=True)
    else:
        counts = dict(zip(*np.unique(found.recording, return_counts=True), strict=True))
        rows = [([name, counts[name]], *entry) for name, entry in found.recordings.items()]
        write_text(found.folder / RECORDINGS, _table(run, ["recording", "windows"], rows, notes))
    recording = [""] * len(found.window) if found.recording is None else found.recording.tolist()
    keys = [list(key) for key in zip(recording, found.window.tolist(), strict=True)]
    rows = list(zip(keys, found.probability, found.prediction, strict=True))
    write_text(found.folder / WINDOWS, _table(run, ["recording", "window"], rows, notes))


def _table(
    run: Predictor, names: list[str], rows: list[tuple[list[Any], np.ndarray, Any]], notes: Mapping[str, str]
) -> str:
    """CSV text: the keys, a probability per class or label (of two: of the positive class), the prediction, the note.

    notes: by the first key, the recording.
    """
    several = run.task == "multilabel"
    columns = probability_names(run.classes, run.task)
    columns += [f"prediction_{name}" for name in run.classes] if several else ["prediction"]
    lines: list[list[Any]] = [[*names, *columns, "note"]]
    for key, probability, prediction in rows:
        values = probability[POSITIVE:] if run.task == "binary" else probability
        decisions = [int(name in prediction) for name in run.classes] if several else [prediction]
        lines.append([*key, *values.tolist(), *decisions, notes.get(key[0], "")])
    return csv_text(lines)
