"""Files of ECG windows in, checked windows out: reading, splitting, preprocessing, simulating."""

from ecgtune.data.dataset import Dataset, Source, read_dataset
from ecgtune.data.preprocessing import Preprocessing, ecg_fm_record, resample, segments, zscore
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import Duplicates, Split, duplicate_windows, split_dataset
from ecgtune.data.writing import write_csv

__all__ = [
    "Dataset",
    "Duplicates",
    "Preprocessing",
    "Source",
    "Split",
    "duplicate_windows",
    "ecg_fm_record",
    "read_dataset",
    "resample",
    "segments",
    "simulate",
    "split_dataset",
    "write_csv",
    "zscore",
]
