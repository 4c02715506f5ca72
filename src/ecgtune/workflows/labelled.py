"""Labelled windows as a finished run takes them: rows, labels, channels, probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.dataset import Dataset
from ecgtune.data.positive import POSITIVE
from ecgtune.errors import DataError, RunError
from ecgtune.evaluation.label_mapping import MappedLabels, map_labels, parsed_mapping
from ecgtune.runtime.predictor import Predictor
from ecgtune.training.run_folder import RunFolder, read_split
from ecgtune.utils.formatting import counted
from ecgtune.utils.progress import ProgressBar
from ecgtune.utils.stored import ELSEWHERE
from ecgtune.workflows.predict import BATCH

Signal = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelledWindows:
    """Windows of a data set that have a class of a run.

    rows: of the data set. labels: of these rows, in the run's classes. channels: of the run's leads. own: whether the
    run was trained on the data, whose test split the rows are then of. mapping: of labels, as given.
    """

    dataset: Dataset
    rows: NDArray[np.int64]
    labels: MappedLabels
    channels: list[int]
    own: bool
    mapping: Mapping[str, str]

    @property
    def group(self) -> NDArray[np.str_] | None:
        """Patient or recording of each row."""
        return None if self.dataset.group is None else self.dataset.group[self.rows]

    @property
    def recording(self) -> NDArray[np.str_] | None:
        """Recording of each row, where a patient may have several."""
        return self.dataset.pooled(self.rows)

    def raw(self, start: int, stop: int) -> Signal:
        """Windows `start` to `stop` of the rows, with all leads of the data."""
        return self.dataset.signal[self.rows[start:stop]]

    def taken(self, start: int, stop: int) -> Signal:
        """Windows `start` to `stop` of the rows, with the leads of the run."""
        return np.ascontiguousarray(self.raw(start, stop)[:, self.channels])


def labelled_windows(run: Predictor, dataset: Dataset, labels: str | None) -> LabelledWindows:
    """The windows of `dataset` that `run` can be measured on; labels: a mapping as of `--map`.

    Raises DataError for other leads, rates, lengths or units, and where no window has a class of the run; RunError for
    the data of the training where the run does not know its split.
    """
    own = dataset.source.sha256 in run.trained_on_files
    rows = _test_rows(run, dataset) if own else np.arange(len(dataset))
    mapping = parsed_mapping(labels) if labels else {}
    mapped = map_labels(dataset.label[rows], dataset.classes, mapping, run.classes, run.task)
    rows = rows[mapped.rows]
    if not len(rows):
        raise DataError(f"{dataset.source.path}: no window has a class of the run; see --map")
    return LabelledWindows(dataset, rows, mapped, _channels(run, dataset), own, mapping)


def probabilities(
    run: Predictor, windows: Callable[[int, int], Signal], count: int, sampling_rate: float, bar: ProgressBar
) -> NDArray[np.float64]:
    """Probabilities of `count` windows, in batches by `windows(start, stop)`; of two classes of the positive one."""
    parts = []
    for start in range(0, count, BATCH):
        batch = windows(start, min(start + BATCH, count))
        parts.append(run.predict(batch, sampling_rate))
        bar.advance(len(batch))
    probability = np.clip(np.concatenate(parts).astype(np.float64), 0, 1)
    return probability[:, POSITIVE] if run.task == "binary" else probability


def _test_rows(run: Predictor, dataset: Dataset) -> NDArray[np.int64]:
    """Rows of the test split in the data of the training, which all runs of an ensemble must share.

    Raises RunError where they do not, and for an exported file, which does not know them.
    """
    runs: tuple[Any, ...] = getattr(run, "runs", ())
    folders: list[Path] = [each.folder for each in runs]
    if not folders:
        raise RunError(f"{dataset.source.path} is the file that the run was trained on; give the run's folder")
    file = RunFolder(folders[0])
    rows = read_split(file)["test"]
    for each, folder in zip(runs[1:], folders[1:], strict=True):
        same = each.trained_on_files == runs[0].trained_on_files
        if not same or not np.array_equal(read_split(RunFolder(folder))["test"], rows):
            raise RunError(
                f"{folder} has another test split of {dataset.source.path} than {folders[0]}, and was perhaps trained "
                "on its windows; evaluate each run alone"
            )
    if run.trained_on["windows"] != len(dataset):
        raise RunError(
            f"{dataset.source.path} has {counted(len(dataset), 'window')}, but the run was trained on "
            f"{run.trained_on['windows']} of it; read it with the same options"
        )
    if not len(rows) or rows.max() >= len(dataset):
        raise RunError(f"{file.split} has no rows of the test split below {len(dataset)}; {ELSEWHERE}")
    return rows


def _channels(run: Predictor, dataset: Dataset) -> list[int]:
    """The channels of the run's leads. Raises DataError for other leads, rates, lengths or units."""
    absent = [lead for lead in run.leads if lead not in dataset.leads]
    if absent:
        raise DataError(
            f"{dataset.source.path}: has the leads {', '.join(dataset.leads)}, but the run needs {', '.join(run.leads)}"
            "; name them with --lead or --lead-names"
        )
    run.check_length(dataset.samples, dataset.sampling_rate, dataset.source.path)
    if dataset.unit == "unknown" and run.amplitude_matters:
        raise DataError(
            f"{dataset.source.path}: does not say its unit, but without a z-score per window the amplitude matters to "
            "this run; give it, for example --unit uV"
        )
    return [dataset.leads.index(lead) for lead in run.leads]
