"""Recordings that two data sets have in common, and test recordings that an encoder was pretrained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecgtune.data.beat_prints import SERIES, BeatPrints, Overlap, matching_pairs, overlap
from ecgtune.data.dataset import Dataset
from ecgtune.data.near_duplicates import compared_lead
from ecgtune.errors import DataError
from ecgtune.io.beat_prints import PRETRAINING, prints_of, read_prints, windows_prints, write_prints
from ecgtune.io.readers.base import ReadOptions
from ecgtune.models.classifier import Classifier
from ecgtune.models.registry import find_model
from ecgtune.utils.csv_cells import csv_text
from ecgtune.utils.files import write_text
from ecgtune.utils.formatting import counted

#: Test windows that are compared with a pretraining: about ten seconds of one core.
MOST_WINDOWS = 20_000
#: Intervals that all windows of a test recording share with one of the pretraining, from which it counts as seen: four
#: in a window of six seconds match some recording of 6,000 by chance in one window of twenty.
SURE = 6
#: Fraction of the test recordings, below which those that count as seen are no more than chance makes them.
CHANCE = 0.01


@dataclass(frozen=True)
class DataOverlap:
    """Recordings of a first data set with the same beats as one of a second.

    pairs: of both. seen: recordings of the first that are in a pair. recordings, comparable: how many the first has,
    and of these with enough beats; the same of the second.
    """

    pairs: tuple[Overlap, ...]
    seen: tuple[str, ...]
    recordings: tuple[int, int]
    comparable: tuple[int, int]

    def sentences(self, first: str, second: str) -> list[str]:
        """What was found, for the terminal."""
        lines = [
            f"{len(self.seen)} of {counted(self.recordings[0], 'recording')} of {first} "
            f"{'has' if len(self.seen) == 1 else 'have'} the beats of a recording of {second}."
        ]
        for name, total, enough in zip((first, second), self.recordings, self.comparable, strict=True):
            if enough < total:
                lines.append(
                    f"{total - enough} of {name} could not be compared: fewer than {SERIES + 1} beats on the lead."
                )
        return lines


def fingerprint(
    data: str | Path,
    out: str | Path,
    *,
    lead: str | None = None,
    names: bool = False,
    options: ReadOptions | None = None,
) -> BeatPrints:
    """Write the fingerprints of a data set, from which its signals cannot be rebuilt, and return them.

    data: a file of windows, or recordings as for `pretrain`. out: NPZ file. lead: that is compared; II, else I, else
    the first when not given. names: keep the names of recordings, which may identify patients; else numbers. Raises
    DataError for data that cannot be used.
    """
    found = prints_of(Path(data), lead=lead, options=options)
    found = found if names else found.without_names()
    write_prints(Path(out), found)
    return found


def data_overlap(
    first: str | Path,
    second: str | Path,
    *,
    out: str | Path | None = None,
    lead: str | None = None,
    options: ReadOptions | None = None,
) -> DataOverlap:
    """Find the recordings of a first data set that are in a second; each is data or a file of `fingerprint`.

    Windows count as the recording that they are of; a pair has the intervals of all its windows.

    out: CSV file of the pairs. Other arguments as for `fingerprint`. Raises DataError for files that cannot be used.
    """
    prints = [prints_of(Path(each), lead=lead, options=options) for each in (first, second)]
    try:
        found = overlap(*prints)
    except DataError as error:
        raise DataError(f"{first} and {second}: {error}") from None
    total: Counter[tuple[str, str]] = Counter()
    for pair in found:
        total[pair.first, pair.second] += pair.intervals
    pairs = tuple(Overlap(*names, intervals) for names, intervals in total.items())
    if out is not None:
        rows = [(pair.first, pair.second, pair.intervals) for pair in pairs]
        write_text(Path(out), csv_text([("first", "second", "intervals"), *rows]))
    return DataOverlap(
        pairs,
        tuple(dict.fromkeys(pair.first for pair in pairs)),
        (_recordings(prints[0].name), _recordings(prints[1].name)),
        (_recordings(prints[0].name[prints[0].comparable]), _recordings(prints[1].name[prints[1].comparable])),
    )


def _recordings(name: NDArray[np.str_]) -> int:
    return len(np.unique(name))


def pretraining_warnings(model: Classifier, dataset: Dataset, test: NDArray[np.int64]) -> list[str]:
    """A warning where test windows come from recordings that the encoder of `model` was pretrained on.

    It needs the fingerprints of the pretraining beside the weights (`pretraining.beats.npz`); the bundled encoder has
    them. test: rows of the test windows, of which at most 20,000 are compared.
    """
    file = pretraining_file(model)
    if file is None or not len(test):
        return []
    if len(test) > MOST_WINDOWS:
        test = test[np.unique(np.linspace(0, len(test) - 1, MOST_WINDOWS).astype(np.int64))]
    signal = dataset.signal[test, compared_lead(dataset.leads)]  # of the other leads nothing is read
    names = np.arange(len(test)).astype(str) if dataset.group is None else dataset.group[test]
    found = windows_prints(signal[:, None], 0, dataset.sampling_rate, names)
    seen = recordings_seen(names, *matching_pairs(found, _kept_prints(file)))
    recordings = len(np.unique(names))
    if len(seen) < max(1, CHANCE * recordings):
        return []
    unit = "window" if dataset.group is None else dataset.group_name or "record"
    return [
        f"{len(seen)} of {counted(recordings, f'test {unit}')} have the beats of a recording that "
        f"{Path(model.name).name} was pretrained on ({', '.join(seen[:3])}{', ...' if len(seen) > 3 else ''}); if they "
        "are the same, scores of this encoder are too high. See ecgtune data overlap"
    ]


def recordings_seen(names: NDArray[np.str_], pairs: NDArray[np.int64], shared: NDArray[np.int64]) -> NDArray[np.str_]:
    """The recordings whose windows share six or more intervals with one recording of another set.

    names: of the recording of each window. pairs, shared: of the windows, as from `matching_pairs`.
    """
    own, index = np.unique(names, return_inverse=True)
    units, place = np.unique(np.stack([index[pairs[:, 0]], pairs[:, 1]], axis=1), axis=0, return_inverse=True)
    total = np.bincount(place.ravel(), weights=shared, minlength=len(units))
    return own[np.unique(units[total >= SURE, 0])]


def pretraining_file(model: Classifier) -> Path | None:
    """The fingerprints of the recordings that the encoder of `model` was pretrained on, where there are any."""
    if model.weights.kind == "random":
        return None
    entry, place = find_model(model.name), Path(model.name)
    if entry is None:
        folder: Path | None = place if place.is_dir() else place.parent
    else:
        folder = getattr(entry[1], "folder", None)
    return folder / PRETRAINING if folder is not None and (folder / PRETRAINING).is_file() else None


@lru_cache(maxsize=4)
def _kept_prints(file: Path) -> BeatPrints:
    """With their search tree, which takes longer than a comparison."""
    return read_prints(file)
