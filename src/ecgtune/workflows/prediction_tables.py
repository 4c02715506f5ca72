"""Predictions of new signals, and their tables: predictions.csv per window, recordings.csv per recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecgtune.data.positive import POSITIVE
from ecgtune.evaluation.certainty import UnitCertainty, set_names, set_texts
from ecgtune.evaluation.groups import pooled_probability
from ecgtune.runtime.predictor import Predictor, decided
from ecgtune.training.predictions import probability_names
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import write_text
from ecgtune.utils.formatting import counted

WINDOWS, RECORDINGS, SKIPPED = "predictions.csv", "recordings.csv", "skipped.csv"
#: The note on windows and recordings whose novelty is above 1.
NOVEL = "unlike the training windows"

Prediction = str | tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class UnitPredictions:
    """Predictions of windows, or of recordings.

    probability: (windows, classes). prediction: a class name, or a tuple of labels, at the thresholds of the run; None
    where the run abstains. confidence: (windows,), the probability that the prediction is right. sets: cells of the
    prediction sets, empty lists where the run has none. novelty: (windows,) or None: above 1, a window is unlike those
    of the training.
    """

    probability: np.ndarray
    prediction: Sequence[Prediction]
    confidence: np.ndarray
    sets: list[list[str]]
    novelty: np.ndarray | None

    @property
    def abstained(self) -> np.ndarray:
        """Where the run abstains: (windows,)."""
        return np.array([each is None for each in self.prediction], bool)


def unit_predictions(
    run: Predictor,
    probability: np.ndarray,
    novelty: np.ndarray | None,
    unit: UnitCertainty | None,
    abstain: float | None,
    by_class: bool,
) -> UnitPredictions:
    """Decisions, confidence and prediction sets of probabilities (windows, classes).

    unit: thresholds of windows or recordings; None where the run has none. abstain: fraction of validation that has no
    answer; None answers all. by_class: sets that cover every class alike.
    """
    values = probability[:, POSITIVE] if run.task == "binary" else probability
    sure = run.decision.confidence(np.asarray(values, np.float64))
    prediction: Sequence[Prediction] = decided(run.decision, run.classes, probability)
    if abstain is not None and unit is not None:
        least = unit.least_confidence(abstain)
        prediction = [each if own >= least else None for each, own in zip(prediction, sure, strict=True)]
    sets: list[list[str]] = [[] for _ in sure]
    if unit is not None:
        sets = set_texts(unit.sets(values, run.task, by_class=by_class), run.classes, run.task)
    return UnitPredictions(probability, prediction, sure, sets, novelty)


@dataclass(frozen=True, eq=False)
class PredictionResult:
    """Predictions for new signals, as in the tables that were written into `folder`.

    windows: predictions of the windows. recording, window: as in `io.unlabelled.Unlabelled`. names: recordings, empty
    where the file names none, and `of_recordings` their predictions. skipped: why a recording was not used, by its
    name. repeated: seconds of each recording that is shorter than a window and was repeated to fill it, by its name.
    notes: what the readers say, such as an implausible amplitude, and windows that were left out.
    """

    folder: Path
    recording: np.ndarray | None
    window: np.ndarray
    windows: UnitPredictions
    names: Sequence[str]
    of_recordings: UnitPredictions
    skipped: Mapping[str, str]
    repeated: Mapping[str, float]
    notes: tuple[str, ...] = field(default=())

    @property
    def probability(self) -> np.ndarray:
        """Probabilities of the windows, (windows, classes)."""
        return self.windows.probability

    @property
    def prediction(self) -> Sequence[Prediction]:
        """A class name per window, or a tuple of its labels; None where the run abstains."""
        return self.windows.prediction

    @property
    def abstained(self) -> str | None:
        """How many windows and recordings have no answer, as a sentence; None where all have one."""
        units = {"window": self.windows, "recording": self.of_recordings}
        counts = [
            f"{int(each.abstained.sum())} of {counted(len(each.abstained), name)}"
            for name, each in units.items()
            if each.abstained.any()
        ]
        return f"no answer for {' and '.join(counts)}" if counts else None

    @property
    def recordings(self) -> dict[str, tuple[np.ndarray, Prediction]]:
        """Probability and prediction of each recording by its name."""
        own = zip(self.of_recordings.probability, self.of_recordings.prediction, strict=True)
        return dict(zip(self.names, own, strict=True))


def pooled_novelty(novelty: np.ndarray | None, recording: np.ndarray) -> np.ndarray | None:
    """The mean novelty of each recording's windows, in the order of their first windows."""
    return None if novelty is None else _means(novelty, recording)


def _means(values: np.ndarray, recording: np.ndarray) -> np.ndarray:
    names, index = np.unique(recording, return_inverse=True)
    means = np.bincount(index, weights=values) / np.bincount(index)
    first = np.unique(index, return_index=True)[1]
    return means[np.argsort(first)] if len(names) else means


def pooled(run: Predictor, probability: np.ndarray, recording: np.ndarray, rule: Any) -> tuple[np.ndarray, np.ndarray]:
    """Names and probabilities (recordings, classes); of two classes it is the positive one's that is pooled."""
    if run.task != "binary":
        return pooled_probability(probability, recording, rule)
    names, positive = pooled_probability(probability[:, POSITIVE], recording, rule)
    return names, np.stack([1 - positive, positive], axis=1)


def write_tables(run: Predictor, found: PredictionResult, abstain: bool) -> None:
    """Write both tables, that of recordings first: a complete predictions.csv has the other beside it.

    Tables of an earlier call that these predictions do not have are removed.
    """
    if not found.skipped:
        (found.folder / SKIPPED).unlink(missing_ok=True)
    rows = tables(run, found, abstain)
    if RECORDINGS not in rows:
        (found.folder / RECORDINGS).unlink(missing_ok=True)
    for name, lines in rows.items():
        write_text(found.folder / name, csv_text(lines))


def tables(run: Predictor, found: PredictionResult, abstain: bool) -> dict[str, list[list[Any]]]:
    """Rows of the tables by file name, the first of each with the names of the columns.

    abstain: whether the tables have the column "abstained".
    """
    seconds = run.trained_on["samples"] / run.trained_on["sampling_rate"]
    repeated = {name: f"repeated: {own:g} s recorded, window of {seconds:g} s" for name, own in found.repeated.items()}
    made = {}
    if found.recording is not None:
        counts = dict(zip(*np.unique(found.recording, return_counts=True), strict=True))
        of_recordings = [[name, int(counts[name])] for name in found.names]
        made[RECORDINGS] = _table(run, ["recording", "windows"], of_recordings, found.of_recordings, repeated, abstain)
    recording = [""] * len(found.window) if found.recording is None else found.recording.tolist()
    keys = [list(key) for key in zip(recording, found.window.tolist(), strict=True)]
    made[WINDOWS] = _table(run, ["recording", "window"], keys, found.windows, repeated, abstain)
    return made


def _table(
    run: Predictor,
    names: list[str],
    keys: list[list[Any]],
    found: UnitPredictions,
    repeated: Mapping[str, str],
    abstain: bool,
) -> list[list[Any]]:
    """Rows of cells: keys, a probability per class or label (of two: of the positive class), prediction, confidence,
    sets, novelty, note. repeated: notes by the first key, the recording.
    """
    several = run.task == "multilabel"
    columns = [*names, *probability_names(run.classes, run.task)]
    columns += [f"prediction_{name}" for name in run.classes] if several else ["prediction"]
    has_sets = bool(found.sets) and bool(found.sets[0])
    columns += ["confidence", *(set_names(run.classes, run.task) if has_sets else [])]
    columns += [*(["abstained"] if abstain else []), *([] if found.novelty is None else ["novelty"]), "note"]
    lines: list[list[Any]] = [columns]
    novelty = [None] * len(keys) if found.novelty is None else found.novelty.tolist()
    rows = zip(keys, found.probability, found.prediction, found.confidence.tolist(), found.sets, novelty, strict=True)
    for key, probability, prediction, sure, sets, novel in rows:
        values = probability[POSITIVE:] if run.task == "binary" else probability
        notes = [repeated[key[0]]] if key[0] in repeated else []
        notes += [NOVEL] if novel is not None and novel > 1 else []
        cells: list[Any] = [*key, *values.tolist(), *_decisions(prediction, run.classes, several), sure, *sets]
        cells += [int(prediction is None)] if abstain else []
        lines.append([*cells, *([] if novel is None else [novel]), "; ".join(notes)])
    return lines


def _decisions(prediction: Prediction, classes: Sequence[str], several: bool) -> list[Any]:
    if prediction is None:
        return [""] * (len(classes) if several else 1)
    return [int(name in prediction) for name in classes] if several else [prediction]
