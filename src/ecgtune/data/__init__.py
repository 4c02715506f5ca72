"""Files of ECG windows in, checked windows out: reading, splitting, preprocessing, simulating."""

from ecgtune.data.dataset import Dataset, Source, read_dataset
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.recording_files import held_out_records
from ecgtune.data.recordings import Recordings, read_recordings
from ecgtune.data.signal import ecg_fm_record, resample, segments, zscore
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import Duplicates, Split, duplicate_windows, split_dataset
from ecgtune.data.tasks import MISSING, Task, decided, label_counts, task_of
from ecgtune.data.writing import write_csv

__all__ = [
    "MISSING",
    "Dataset",
    "Duplicates",
    "Preprocessing",
    "Recordings",
    "Source",
    "Split",
    "Task",
    "decided",
    "duplicate_windows",
    "ecg_fm_record",
    "held_out_records",
    "label_counts",
    "read_dataset",
    "read_recordings",
    "resample",
    "segments",
    "simulate",
    "split_dataset",
    "task_of",
    "write_csv",
    "zscore",
]
