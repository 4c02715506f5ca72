"""Recordings and a table of labels into windows: the first pass, its cache, and what it met."""

from ecgtune.data.records.first_pass import Facts
from ecgtune.data.records.reading import Inspection, RecordSettings, inspect_records, read_records
from ecgtune.data.records.report import inspection_text, split_text
from ecgtune.data.twins import Twins, find_twins, fingerprint

__all__ = [
    "Facts",
    "Inspection",
    "RecordSettings",
    "Twins",
    "find_twins",
    "fingerprint",
    "inspect_records",
    "inspection_text",
    "read_records",
    "split_text",
]
