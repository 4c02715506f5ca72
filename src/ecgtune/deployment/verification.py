"""Windows on which an export is verified, and what the run itself gives for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecgtune.data.signal.filters import resample
from ecgtune.deployment.run import Ensemble, Run
from ecgtune.errors import EcgtuneError, SettingError
from ecgtune.io.again import read_again
from ecgtune.io.windows import read_dataset
from ecgtune.runtime.exported_file import References, digests
from ecgtune.runtime.verification import seconds_per_window, simulated_windows
from ecgtune.training.run_folder import RunFolder, read_split
from ecgtune.utils.formatting import counted

#: Windows whose digests and probabilities go into the file; more would make it larger than small models are.
KEPT = 4096


@dataclass(frozen=True, eq=False)
class VerificationWindows:
    """Windows to compare on.

    signal: float32 (windows, leads, samples) at `sampling_rate` Hz, as they were trained on. label, recording:
    (windows, ...), None where they are not known. origin: a sentence for the metadata.
    """

    signal: NDArray[np.float32]
    sampling_rate: float
    label: NDArray | None
    recording: NDArray[np.str_] | None
    origin: str

    def at(self, sampling_rate: float) -> NDArray[np.float32]:
        """The windows at the rate of the graph's input."""
        if sampling_rate == self.sampling_rate:
            return self.signal
        return resample(self.signal.astype(np.float64), self.sampling_rate, sampling_rate).astype(np.float32)

    def references(self, probability: NDArray, novelty: NDArray | None) -> References:
        """Digests, probabilities and novelty of at most `KEPT` of the windows, evenly spread."""
        rows, _ = _spread(np.arange(len(self.signal)), KEPT)
        unknown = np.full(len(rows), -1)
        recording = unknown if self.recording is None else np.unique(self.recording, return_inverse=True)[1][rows]
        return References(
            digests(self.signal[rows]),
            probability[rows].astype(np.float32),
            (unknown if self.label is None else self.label[rows]).astype(np.int8),
            recording.astype(np.int32),
            None if novelty is None else novelty[rows].astype(np.float32),
        )


def verification_windows(run: Run | Ensemble, file: Path | None = None, most: int | None = None) -> VerificationWindows:
    """The run's own test windows, read again, of an ensemble those of all its runs; or those of a stated file of
    labelled windows.

    most: windows, evenly spread, where there are more; None for all.

    Simulated windows where the run's data are gone or have changed, or runs of an ensemble share no test window of the
    same data, which `origin` says with the reason. Raises DataError or SettingError for a stated file that cannot be
    used.
    """
    if file is not None:
        return _of_file(run, file, most)
    data = run.trained_on
    try:
        dataset = read_again(data.get("reading"), data["sha256"])
    except (EcgtuneError, OSError) as error:
        reason = re.sub(r"/\S*/", "", str(error))  # the file is for others, to whom folders of this machine say nothing
        return _simulated(run, f"the data of the run cannot be read again: {reason}")
    test = _test_rows(run)
    if not len(test):
        return _simulated(run, "its runs share no test window of the same data")
    dataset = dataset.with_positive(run.positive)
    rows, of = _spread(test, most)
    runs = "the run" if len(run.runs) == 1 else "all runs"
    recording = dataset.recording if dataset.recording is not None else dataset.group
    return VerificationWindows(
        np.ascontiguousarray(dataset.signal[rows]),
        dataset.sampling_rate,
        dataset.label[rows],
        None if recording is None else recording[rows],
        f"{of}{counted(len(test), 'test window')} of {runs}, {Path(dataset.source.path).name}",
    )


def _test_rows(run: Run | Ensemble) -> NDArray[np.int64]:
    """Rows of the test windows that all runs of an ensemble share, in the data that all of them were trained on."""
    first, *others = ([each.metrics["data"].get(key) for key in ("sha256", "reading", "windows")] for each in run.runs)
    if any(each != first for each in others):
        return np.zeros(0, np.int64)
    return reduce(np.intersect1d, (read_split(RunFolder(each.folder))["test"] for each in run.runs))


def _simulated(run: Run | Ensemble, reason: str) -> VerificationWindows:
    rate = run.runs[0].sampling_rate
    signal = simulated_windows(len(run.leads), run.trained_on["samples"], rate)
    origin = f"{counted(len(signal), 'simulated window')}, because {reason}"
    return VerificationWindows(signal, rate, None, None, origin)


def _spread(rows: NDArray[np.int64], most: int | None) -> tuple[NDArray[np.int64], str]:
    """At most so many of the rows, evenly spread, and `1,024 of ` where these are not all."""
    if most is None or len(rows) <= most:
        return rows, ""
    chosen = np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))
    return rows[chosen], f"{len(chosen):,} of "


def calibration_windows(run: Run, sampling_rate: float, count: int = 128) -> NDArray[np.float32]:
    """Training windows of the run at the rate of the graph, evenly spread; simulated where they cannot be read."""
    data = run.metrics["data"]
    try:
        dataset = read_again(data.get("reading"), data["sha256"])
    except (EcgtuneError, OSError):
        signal, rate = simulated_windows(len(run.leads), data["samples"], run.sampling_rate), run.sampling_rate
    else:
        train = read_split(RunFolder(run.folder))["train"]
        rows = np.sort(train[np.unique(np.linspace(0, len(train) - 1, count).astype(np.int64))])
        signal, rate = np.ascontiguousarray(dataset.signal[rows]), dataset.sampling_rate
    return VerificationWindows(signal, rate, None, None, "").at(sampling_rate)


def original(run: Run | Ensemble, windows: NDArray[np.float32], sampling_rate: float) -> tuple[NDArray, NDArray | None]:
    """Probabilities (windows, classes) and novelty (windows,) of the run in float32; None for one without the score."""
    return run.assess_windows(*run.checked_windows(windows, sampling_rate), "fp32")


def original_seconds(run: Run | Ensemble, windows: NDArray[np.float32], sampling_rate: float) -> float:
    """Seconds of the run for one window, on one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return seconds_per_window(lambda one: run.predict(one, sampling_rate, precision="fp32"), windows)
    finally:
        torch.set_num_threads(threads)


def _of_file(run: Run | Ensemble, file: Path, most: int | None) -> VerificationWindows:
    dataset = read_dataset(file)
    if run.positive in dataset.classes and dataset.task == "binary":
        dataset = dataset.with_positive(run.positive)
    if dataset.classes != run.classes or dataset.leads != run.leads:
        got = f"{', '.join(dataset.classes)} of {', '.join(dataset.leads)}"
        raise SettingError(
            f"{file}: has the labels {got}, but the run has {', '.join(run.classes)} of {', '.join(run.leads)}; give"
            " a file of windows like those of the training"
        )
    run.check_length(dataset.samples, dataset.sampling_rate, str(file))
    rows, of = _spread(np.arange(len(dataset)), most)
    return VerificationWindows(
        np.ascontiguousarray(dataset.signal[rows]),
        dataset.sampling_rate,
        dataset.label[rows],
        None if dataset.group is None else dataset.group[rows],
        f"{of}{counted(len(dataset), 'window')} of {file.name}",
    )
