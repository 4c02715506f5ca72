"""Files of ECG windows and recordings in, checked arrays out: getting, reading, splitting, simulating."""

from ecgtune.data.augmentation import Disturbance, WindowAugmentation, cropped_samples, read_at
from ecgtune.data.dataset import Dataset, Source, read_dataset
from ecgtune.data.download import get_database
from ecgtune.data.formats import ReadOptions, Recording, find_recordings, read_recording
from ecgtune.data.preprocessing import Preprocessing, ecg_fm_record, resample, segments, zscore
from ecgtune.data.recording_files import held_out_records
from ecgtune.data.recordings import Recordings, read_recordings
from ecgtune.data.seeds import generator
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import Duplicates, Split, duplicate_windows, split_dataset
from ecgtune.data.writing import write_csv

__all__ = [
    "Dataset",
    "Disturbance",
    "Duplicates",
    "Preprocessing",
    "ReadOptions",
    "Recording",
    "Recordings",
    "Source",
    "Split",
    "WindowAugmentation",
    "cropped_samples",
    "duplicate_windows",
    "ecg_fm_record",
    "find_recordings",
    "generator",
    "get_database",
    "held_out_records",
    "read_at",
    "read_dataset",
    "read_recording",
    "read_recordings",
    "resample",
    "segments",
    "simulate",
    "split_dataset",
    "write_csv",
    "zscore",
]
