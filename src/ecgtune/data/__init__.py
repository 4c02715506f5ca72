"""Files of ECG windows in, checked windows out: reading, splitting, preprocessing, simulating."""

from ecgtune.data.dataset import Dataset, Source, read_dataset
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.recording_files import held_out_records
from ecgtune.data.recordings import Recordings, read_recordings
from ecgtune.data.signal import ecg_fm_record, resample, segments, zscore
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import Duplicates, Split, duplicate_windows, split_dataset
from ecgtune.data.writing import write_csv

__all__ = [
    "Dataset",
    "Duplicates",
    "Preprocessing",
    "Recordings",
    "Source",
    "Split",
    "duplicate_windows",
    "ecg_fm_record",
    "held_out_records",
    "read_dataset",
    "read_recordings",
    "resample",
    "segments",
    "simulate",
    "split_dataset",
    "write_csv",
    "zscore",
]
