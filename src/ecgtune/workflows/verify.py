"""Verify an exported file on this machine, by what its run gave for the same windows. Without torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.config.commands import PredictSettings
from ecgtune.errors import DataError, ModelFileError, VerificationError
from ecgtune.runtime.exported_file import References, digests
from ecgtune.runtime.model import Model
from ecgtune.runtime.verification import SIMULATED, Verified, measured, problems, simulated_windows
from ecgtune.utils.files import write_json
from ecgtune.utils.formatting import counted
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.predict import read_windows

DEFAULTS = PredictSettings()
_MOST_SIMULATED = 1 << 22  # values of a window: 1 GiB for all windows, 12 leads of 10 minutes at 500 Hz


def verify(
    path: str | Path,
    data: Iterable[str | Path] = (),
    settings: PredictSettings = DEFAULTS,
    *,
    out: str | Path | None = None,
) -> Verified:
    """Compare the predictions of an exported file on this machine with those of the run, which are in the file.

    data: files of windows, recordings or folders among which are test windows of the run, which are found by their
    digests; without any, the file's simulated windows are made again. out: JSON file for the report.

    Raises VerificationError where the differences are above the limits of `workflows.export.export`, DataError for
    files without a window that the export was verified on.
    """
    model = Model(path)
    report = _of_files(model, [Path(each) for each in data], settings) if data else _of_simulated(model)
    report = {"precision": model.metadata.get("precision", "float32"), **report}
    if out is not None:
        write_json(Path(out), report)
    wrong = [text for each in report["kernels"].values() for text in problems(each, report["precision"])]
    if wrong:
        raise VerificationError(
            f"{path}: does not predict on this machine as its run does ({report['processor']}): {'; '.join(wrong)}"
        )
    return Verified(model.path, report)


def _of_simulated(model: Model) -> dict[str, Any]:
    known, samples = model.references("simulated"), model.metadata["input"]["samples"]
    if known is None or len(known.digest) != SIMULATED:
        raise ModelFileError(f"{model.path}: lacks the probabilities of {SIMULATED} simulated windows; export it again")
    if samples * len(model.leads) > _MOST_SIMULATED:
        raise DataError(
            f"{model.path}: has windows of {counted(len(model.leads), 'lead')} and {samples} samples, too long to be"
            " simulated; verify it with the run's test data"
        )
    signal = simulated_windows(len(model.leads), samples, model.sampling_rate)
    found = measured(model.path, signal, known.probability, None, None, known.novelty)
    return {"windows": f"{counted(len(signal), 'simulated window')}", **found}


def _of_files(model: Model, files: list[Path], settings: PredictSettings) -> dict[str, Any]:
    known, count = model.references("test"), 0
    if known is None:
        raise DataError(
            f"{model.path}: was verified on simulated windows alone; verify it without files, or export it where the"
            " data of the run are"
        )
    rows: list[np.ndarray] = []
    signals: list[np.ndarray] = []
    with ProgressBar() as bar:
        for file in files:
            windows = read_windows(model, [file], settings, None, bar)
            count += len(windows)
            for start in range(0, len(windows), 1024):
                batch = windows.batch(start, start + 1024)
                row = _rows(known, digests(batch))
                rows.append(row[row >= 0])
                signals.append(model.at_input_rate(batch[row >= 0], windows.sampling_rate))
    row = np.concatenate(rows)
    if not len(row):
        raise DataError(
            f"none of the {counted(count, 'window')} of {', '.join(map(str, files))} is one that the export was "
            "verified on; give"
            " the test data of the run, or no file for the simulated windows"
        )
    label, recording = known.label[row], known.recording[row]
    found = measured(
        model.path,
        np.concatenate(signals),
        known.probability[row],
        None if (label < 0).all() else label,
        None if (recording < 0).all() else recording,
        None if known.novelty is None else known.novelty[row],
    )
    return {"windows": f"{counted(len(row), 'test window')} of the run in {', '.join(map(str, files))}", **found}


def _rows(known: References, digest: np.ndarray) -> np.ndarray:
    """Row of each digest among the known ones, -1 where it is none of them."""
    order = np.argsort(known.digest)
    place = np.minimum(np.searchsorted(known.digest, digest, sorter=order), len(order) - 1)
    row = order[place]
    return np.where(known.digest[row] == digest, row, -1)
