"""The predictions of a run for the test windows, small enough to stand beside its row: two bytes a window.

What is kept is how far the logit lies above that of the run's threshold, in half precision: ranks are kept to three
digits, which side of the threshold a window falls on exactly; what calibration needs is not kept. Labels and recordings
are those of the task's file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paired import Resampled, resample
from scipy.special import expit, logit

from ecgtune.data.dataset import Dataset
from ecgtune.utils.files import write_atomically

LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def judging_windows(dataset: Dataset) -> NDArray[np.int64]:
    """Rows of the test windows, as trainings take them: of a file with two parts, the second."""
    assert dataset.split is not None
    return np.flatnonzero(dataset.split == ("test" if "test" in dataset.split else "val"))


def file_of(results: Path, row: Mapping[str, str]) -> Path:
    """Where the predictions of a run are kept."""
    return results / "predictions" / f"{row['task']}-{row['settings']}-{row['data']}-{row['seed']}.npy"


def save(file: Path, probability: NDArray[np.float64], threshold: float) -> None:
    """Keep what was predicted for the test windows, in their order in the task's file."""
    score = np.clip(logit(probability) - logit(threshold), -LARGEST, LARGEST)
    # What would round to zero keeps its side: a window is positive from the threshold on.
    score = np.where((score < 0) & (score > -SMALLEST), -SMALLEST, score).astype(np.float16)

    def write(part: Path) -> None:
        with part.open("wb") as stream:  # a name would get an ending
            np.save(stream, score)

    write_atomically(file, write)


def resampled(files: Sequence[Path], dataset: Dataset, resamples: int) -> Resampled:
    """Decisions and ranks of the runs of one method, a file each, on the test windows and on resampled recordings."""
    rows = judging_windows(dataset)
    scores = np.stack([np.load(file) for file in files]).astype(np.float64)
    group = None if dataset.group is None else dataset.group[rows]
    return resample(dataset.label[rows], expit(scores), group, threshold=0.5, resamples=resamples)
