"""Files of ECG windows, or recordings and their labels, in; checked windows out."""

from ecgtune.data.augmentation import Disturbance, WindowAugmentation, cropped_samples, read_at
from ecgtune.data.dataset import Dataset, Source, limited, read_dataset
from ecgtune.data.download import get_database
from ecgtune.data.folds import k_folds, leave_one_site_out
from ecgtune.data.formats import ReadOptions, Recording, find_recordings, read_recording
from ecgtune.data.label_table import LabelTable, TableColumns, read_label_table
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.recording_files import held_out_records
from ecgtune.data.recordings import Recordings, read_recordings
from ecgtune.data.records import Inspection, RecordSettings, inspect_records, inspection_text, read_records, split_text
from ecgtune.data.seeds import generator
from ecgtune.data.signal import SignalPath, ecg_fm_record, resample, segments, zscore
from ecgtune.data.simulation import simulate
from ecgtune.data.splits import Duplicates, Split, duplicate_windows, split_dataset, twins_across
from ecgtune.data.tasks import MISSING, Task, decided, label_counts, task_of
from ecgtune.data.unlabelled import Unlabelled, read_unlabelled, read_unlabelled_records
from ecgtune.data.writing import write_csv

__all__ = [
    "MISSING",
    "Dataset",
    "Disturbance",
    "Duplicates",
    "Inspection",
    "LabelTable",
    "Preprocessing",
    "ReadOptions",
    "RecordSettings",
    "Recording",
    "Recordings",
    "SignalPath",
    "Source",
    "Split",
    "TableColumns",
    "Task",
    "Unlabelled",
    "WindowAugmentation",
    "cropped_samples",
    "decided",
    "duplicate_windows",
    "ecg_fm_record",
    "find_recordings",
    "generator",
    "get_database",
    "held_out_records",
    "inspect_records",
    "inspection_text",
    "k_folds",
    "label_counts",
    "leave_one_site_out",
    "limited",
    "read_at",
    "read_dataset",
    "read_label_table",
    "read_recording",
    "read_recordings",
    "read_records",
    "read_unlabelled",
    "read_unlabelled_records",
    "resample",
    "segments",
    "simulate",
    "split_dataset",
    "split_text",
    "task_of",
    "twins_across",
    "write_csv",
    "zscore",
]
